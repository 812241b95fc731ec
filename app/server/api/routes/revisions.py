"""Revisions: who changed what, and the way back."""

from typing import Annotated

from fastapi import Path

from app.server.api import v1
from app.server.api.auth import Reader, Writer
from app.server.api.pages import Page
from app.server.api.parameters import QueryInt
from app.server.api.problems import responses
from app.server.api.schemas.revision import (
    Restored,
    RevisionDetail,
    RevisionOut,
    RevisionPage,
)
from app.server.api.services import Control
from app.server.api.writing import Written

router = v1.router("revisions")

RevisionNumber = Annotated[
    QueryInt,
    Path(alias="n", ge=0, le=2**53, description="Number of a revision.", examples=[42]),
]
_ORDER = "revisions"


@router.get("/revisions", summary="List revisions")
async def list_revisions(_: Reader, services: Control, page: Page) -> RevisionPage:
    """Every revision that is kept, newest first."""
    rows = await services.store.revisions(page.limit + 1, page.after_number(_ORDER))
    keyed = [((row.revision,), RevisionOut.model_validate(row)) for row in rows]
    cut = page.page(_ORDER, keyed)
    return RevisionPage(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/revisions/{n}", summary="Read a revision", responses=responses(404, 410))
async def get_revision(_: Reader, services: Control, number: RevisionNumber) -> RevisionDetail:
    """Who, when, why, and what it changed: the first 1,000 differences, and how many there are."""
    row = await services.store.revision(number)
    return RevisionDetail.of(row, await services.store.changes(number))


@router.post(
    "/revisions/{n}/restore",
    summary="Restore a revision",
    responses=responses(404, 409, 410, 412, 424, 428),
)
async def restore_revision(
    _: Writer, services: Control, number: RevisionNumber, write: Written
) -> Restored:
    """Makes a new revision whose maps, tables and rules equal those of revision n.

    Credentials, states of relays, MTAs and tokens stay. Guard it with `If-Match: "<head>"`.
    """
    now = services.live.current()
    write.conditions.check_head(now)
    edited = await services.editor.restore(
        number,
        author=write.principal.name,
        message=write.message,
        dry_run=write.dry_run,
        expected=None if write.conditions.if_match is None else now.revision,
    )
    await write.noted(edited)
    await write.push_if_asked()
    return Restored(
        revision=edited.snapshot.revision,
        change_count=len(edited.changes),
        findings=int(write.response.headers["Relay-Findings"]),
    )
