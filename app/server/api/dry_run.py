"""What `?dry_run=true` is on every write: everything is checked, nothing is stored."""

from typing import Annotated

from fastapi import Depends, Query, Response

from app.server.api.parameters import QueryFlag

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
