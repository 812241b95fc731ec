"""What `?dry_run=true` is on every write: everything is checked, nothing is stored."""

from typing import Annotated, Any

from fastapi import Depends, Query, Response

from app.server.api.parameters import QueryFlag
from app.server.api.schemas.finding import FindingList
from app.server.api.v1 import Line

HEADER = "Dry-Run"


_Asked = Annotated[
    QueryFlag,
    Query(description="Check everything, answer as the real one would, and store nothing."),
]


async def _dry_run(
    response: Response,
    dry_run: _Asked = False,  # noqa: FBT002  a query parameter
) -> bool:
    if dry_run:
        response.headers[HEADER] = "true"
    return dry_run


DryRun = Annotated[bool, Depends(_dry_run)]
"""Whether nothing is to be stored; the answer says so in `Dry-Run: true`."""


def deleted(*, dry_run: bool) -> Response:
    """The answer to a delete of what routing does not use: 204, or 200 with no finding."""
    if not dry_run:
        return Response(status_code=204)
    return Line(FindingList(findings=[]).model_dump(mode="json"), headers={HEADER: "true"})


DELETED: dict[int | str, dict[str, Any]] = {
    200: {"model": FindingList, "description": "What a dry run would leave behind"}
}
