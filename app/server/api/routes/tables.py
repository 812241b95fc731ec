"""Tables: next hops looked up by one key of the envelope."""

from typing import Annotated

from fastapi import Body, Query, Response
from pydantic import JsonValue

from app.routing.change import Kind, Subject
from app.routing.errors import Unknown
from app.routing.table import Table, TableKey
from app.server.api import v1
from app.server.api.auth import Reader, Writer
from app.server.api.pages import Page
from app.server.api.parameters import path
from app.server.api.preconditions import ReadingOf
from app.server.api.problems import responses
from app.server.api.schemas.finding import FindingList
from app.server.api.schemas.table import (
    TableIn,
    TableNew,
    TableOut,
    TablePage,
    TablePatch,
    TableStats,
)
from app.server.api.schemas.texts import Name
from app.server.api.services import Current
from app.server.api.writing import Written, patched, same_name
from app.server.live import Snapshot

router = v1.router("tables")

TableName = Annotated[Name, path("table", "Name of a table.", "by-domain")]
_ORDER = "tables"


def subject_of(name: str) -> Subject:
    """The subject that a table is."""
    return Subject(Kind.TABLE, name)


def table_in(snapshot: Snapshot, name: str) -> Table:
    """The table of that name. Raises Unknown."""
    found = snapshot.table.tables.get(name)
    if found is None:
        raise Unknown("table")
    return found


def _shown(snapshot: Snapshot, name: str) -> TableOut:
    return TableOut.of(snapshot.table.tables[name], snapshot.marks[subject_of(name)])


@router.get("/tables", summary="List tables")
async def list_tables(
    _: Reader,
    snapshot: Current,
    page: Page,
    key: Annotated[TableKey | None, Query(description="Only those with this key.")] = None,
) -> TablePage:
    """Every table, by name, without its entries."""
    tables = snapshot.table.tables
    cut = page.cut(_ORDER, {name: name for name in tables if key in {None, tables[name].key}})
    items = [_shown(snapshot, name) for name in cut.items]
    return TablePage(items=items, next_cursor=cut.next_cursor)


@router.post("/tables", summary="Create a table", status_code=201, responses=responses(409, 412))
async def create_table(body: TableNew, _: Writer, write: Written) -> TableOut:
    """Create a table; 409 `exists` where the name is taken. Automation uses PUT."""
    snapshot = await write.create(subject_of(body.name), body.value(body.name))
    return _shown(snapshot, body.name)


@router.put(
    "/tables/{table}",
    summary="Create or replace a table",
    responses={201: {"model": TableOut, "description": "Created"}, **responses(412, 428)},
)
async def put_table(name: TableName, body: TableIn, _: Writer, write: Written) -> TableOut:
    """Create a table or replace its members; its entries stay."""
    same_name(body.name, name)
    return _shown(await write.put(subject_of(name), lambda _: body.value(name)), name)


@router.get("/tables/{table}", summary="Read a table", responses=responses(404))
async def get_table(name: TableName, _: Reader, snapshot: Current, reading: ReadingOf) -> TableOut:
    """A table, without its entries."""
    table_in(snapshot, name)
    reading.tag(subject_of(name))
    return _shown(snapshot, name)


@router.patch("/tables/{table}", summary="Change a table", responses=responses(404, 412, 428))
async def patch_table(
    name: TableName,
    body: Annotated[TablePatch, Body(media_type="application/merge-patch+json")],
    _: Writer,
    write: Written,
) -> TableOut:
    """Change members of a table (RFC 7396); its entries stay."""
    same_name(body.name, name)

    def change(document: JsonValue) -> Table:
        return patched(TableIn, document, body).value(name)

    return _shown(await write.patch(subject_of(name), change), name)


@router.delete(
    "/tables/{table}",
    summary="Delete a table",
    status_code=204,
    response_class=Response,
    responses={
        200: {"model": FindingList, "description": "What a dry run would leave behind"},
        **responses(404, 409, 412, 428),
    },
)
async def delete_table(name: TableName, _: Writer, write: Written) -> Response:
    """Delete a table with its entries; 409 `in-use` where a rule names it."""
    return await write.delete(subject_of(name))


@router.get("/tables/{table}/stats", summary="Count a table's entries", responses=responses(404))
async def get_table_stats(name: TableName, _: Reader, snapshot: Current) -> TableStats:
    """How many entries a table has."""
    table_in(snapshot, name)
    return TableStats(entries=len(snapshot.table.entries[name]))
