"""Export of the entries of a table, as a file that can be imported again."""

from typing import Annotated

from fastapi import Header, Request
from fastapi.responses import Response, StreamingResponse

from app.server.api import v1
from app.server.api.accept import preferred
from app.server.api.auth import Reader
from app.server.api.entry_export import exported
from app.server.api.entry_forms import Form
from app.server.api.gate import IS_HEAD
from app.server.api.preconditions import ReadingOf
from app.server.api.problems import responses
from app.server.api.routes.tables import TableName, table_in
from app.server.api.schemas.table_import import EntryList
from app.server.api.services import Current

router = v1.router("tables")

_TEXTS = {form.value: {"schema": {"type": "string"}} for form in Form if form is not Form.JSON}


@router.get(
    "/tables/{table}/export",
    summary="Export entries as a file",
    response_model=EntryList,
    responses={200: {"content": _TEXTS}, **responses(404)},
)
async def export_entries(
    name: TableName,
    request: Request,
    _: Reader,
    snapshot: Current,
    reading: ReadingOf,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """All entries of a table, by key, as `Accept` asks: JSON, NDJSON, CSV or text.

    They are those of one revision, however long it takes; its tag is that of the head, which an
    import takes in `If-Match`. A file that was exported can be imported again, and changes nothing.
    """
    table_in(snapshot, name)
    headers = {
        "ETag": reading.tag_head(),
        "Relay-Revision": str(snapshot.revision),
        "Vary": "Accept",
    }
    form = Form(preferred(accept, [form.value for form in Form]))
    if IS_HEAD in request.scope:
        answer = Response(None, 200, headers, form.value)
        del answer.headers["content-length"]  # the file is not made, so nobody knows
        return answer
    parts = exported(snapshot.table.entries_of(name), form)
    return StreamingResponse(parts, 200, headers, form.value)
