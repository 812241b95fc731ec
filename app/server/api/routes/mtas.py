"""MTAs: which there are, how each stands, what it can do, and what its files would be."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import Body, Path, Query, Response
from pydantic import JsonValue

from app.routing.errors import LimitReached, NameTaken, Unknown
from app.routing.routing_table import RoutingTable
from app.server.api import v1
from app.server.api.auth import MtaWriter, Reader
from app.server.api.dry_run import DELETED, DryRun, deleted
from app.server.api.pages import Page
from app.server.api.parameters import QueryFlag
from app.server.api.preconditions import Conditions, Preconditions
from app.server.api.problems import responses
from app.server.api.refusals import AlreadyThere, NothingMatches
from app.server.api.schemas.mta import (
    Capabilities,
    MtaIn,
    MtaOut,
    MtaPage,
    MtaPatch,
    MtaStatus,
    Preview,
)
from app.server.api.schemas.texts import Name
from app.server.api.services import Control, Services
from app.server.api.writing import patched, same_name
from app.server.confirmed import NothingConfirmed
from app.server.fleet import MtaNeverSeen, ability_of, version_of
from app.server.preview import capability_rows, preview, preview_live, target_of
from app.server.storage import MAX_MTAS, MtaRow

router = v1.router("mtas")

MtaPath = Annotated[Name, Path(description="Name of an MTA.", examples=["mx-out-1"])]
VersionQuery = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9]{1,2}\.[0-9]{1,3}$",
        description="Render for this version of OpenSMTPD, whatever the agent reported.",
        examples=["6.8"],
    ),
]
DiffQuery = Annotated[QueryFlag, Query(description="Only what differs from what is live.")]
_ORDER = "mtas"
_MERGE_PATCH = "application/merge-patch+json"


@router.get("/mtas", summary="List MTAs")
async def list_mtas(_: Reader, services: Control, page: Page) -> MtaPage:
    """Every MTA, by name."""
    rows = await services.store.mtas()
    cut = page.cut(_ORDER, {row.name: MtaOut.of(row) for row in rows})
    return MtaPage(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/mtas/{mta}", summary="Read an MTA", responses=responses(404))
async def get_mta(_: Reader, services: Control, mta: MtaPath) -> MtaOut:
    """What clients wrote about an MTA; how it stands is its status."""
    return MtaOut.of(await services.store.mta(mta))


@router.put(
    "/mtas/{mta}",
    summary="Create or replace an MTA",
    responses={201: {"model": MtaOut, "description": "Created"}, **responses(409, 412)},
)
async def put_mta(
    _: MtaWriter,
    services: Control,
    mta: MtaPath,
    body: MtaIn,
    response: Response,
    dry_run: DryRun,
    conditions: Preconditions,
) -> MtaOut:
    """Creates the MTA (201) or replaces it (200). Nothing reaches it before a push names it."""
    same_name(body.name, mta)
    before = await _find(services, mta)
    _check(conditions, before)
    row = _row(mta, body, services.now())
    after = await _put(services, row, before, conditions, dry_run=dry_run)
    response.headers["Relay-Changed"] = "false" if after == before else "true"
    if before is None:
        response.status_code = 201
        if not dry_run:
            response.headers["Location"] = f"/v1/mtas/{mta}"
    return MtaOut.of(after)


@router.patch("/mtas/{mta}", summary="Change an MTA", responses=responses(404, 412))
async def patch_mta(
    _: MtaWriter,
    services: Control,
    mta: MtaPath,
    body: Annotated[MtaPatch, Body(media_type=_MERGE_PATCH)],
    response: Response,
    dry_run: DryRun,
    conditions: Preconditions,
) -> MtaOut:
    """A JSON merge patch (RFC 7396)."""
    before = await services.store.mta(mta)
    _check(conditions, before)
    written: dict[str, JsonValue] = {"driver": before.driver, "description": before.description}
    merged = patched(MtaIn, written, body)
    same_name(merged.name, mta)
    row = _row(mta, merged, services.now())
    after = await _put(services, row, before, conditions, dry_run=dry_run)
    response.headers["Relay-Changed"] = "false" if after == before else "true"
    return MtaOut.of(after)


@router.delete(
    "/mtas/{mta}",
    summary="Forget an MTA",
    status_code=204,
    response_class=Response,
    responses={**DELETED, **responses(404, 412)},
)
async def delete_mta(
    _: MtaWriter, services: Control, mta: MtaPath, dry_run: DryRun, conditions: Preconditions
) -> Response:
    """Its agent's tokens end with it. The MTA itself goes on serving what it serves."""
    _check(conditions, await services.store.mta(mta))
    if not dry_run:
        await services.store.delete_mta(mta, services.now())
        services.tokens.forget()
        services.pushes.left(mta)
    return deleted(dry_run=dry_run)


@router.get("/mtas/{mta}/status", summary="How does an MTA stand?", responses=responses(404))
async def get_mta_status(_: Reader, services: Control, mta: MtaPath) -> MtaStatus:
    """What was pushed to it, what its agent sees, and whether that is the same."""
    return MtaStatus.of(await services.pushes.standing(mta))


@router.get("/mtas/{mta}/capabilities", summary="What can an MTA do?", responses=responses(404))
async def get_mta_capabilities(_: Reader, services: Control, mta: MtaPath) -> Capabilities:
    """What the version that its agent reported does of the grammar, and where it differs."""
    row = services.fleet.report(mta)
    report = None if row is None else row.report
    rows = capability_rows(None if report is None else ability_of(report))
    return Capabilities.of((await services.store.mta(mta)).driver, report, rows)


@router.get(
    "/mtas/{mta}/preview", summary="What would its files be?", responses=responses(404, 409)
)
async def get_mta_preview(
    _: Reader,
    services: Control,
    mta: MtaPath,
    version: VersionQuery = None,
    diff: DiffQuery = False,  # noqa: FBT002  a query parameter
) -> Preview:
    """The files as a push of the head would make them; what is secret shows as `********`."""
    row = services.fleet.report(mta)
    table = services.live.current().table
    said = None if row is None else row.report
    target = await asyncio.to_thread(target_of, said, table, version_of(version))
    if target is None:
        raise MtaNeverSeen
    live = await _table_live(services, mta)
    if said is not None and said.live:
        seen = await asyncio.to_thread(preview_live, target, table, live, said.actions)
    else:
        seen = await asyncio.to_thread(preview, target, table, live)
    return Preview.of(table.revision, seen, only_diff=diff)


async def _table_live(services: Services, mta: str) -> RoutingTable | None:
    """The routing that an MTA serves; None where that is not known."""
    try:
        return await services.confirmed.of(mta)
    except NothingConfirmed:
        return None


def _row(mta: str, body: MtaIn, now: datetime) -> MtaRow:
    return MtaRow(mta, body.driver.value, body.description, now, now)


def _check(conditions: Conditions, before: MtaRow | None) -> None:
    """Let a write of an MTA go on, or refuse it. Raises NothingMatches or AlreadyThere."""
    wanted = conditions.if_match
    if wanted is not None and (before is None or not wanted.any):
        raise NothingMatches
    if conditions.create_only and before is not None:
        raise AlreadyThere("MTA")


async def _put(
    services: Services,
    row: MtaRow,
    before: MtaRow | None,
    conditions: Conditions,
    *,
    dry_run: bool,
) -> MtaRow:
    """The MTA as it is then; what changes nothing is not written.

    Raises:
        AlreadyThere: it was only to be created, and somebody else was first.
        LimitReached: there are as many as are promised to work.
    """
    if before is not None:
        row = replace(row, created_at=before.created_at)
        if row == replace(before, updated_at=row.updated_at):
            return before
    elif len(services.fleet.names()) >= MAX_MTAS:
        raise LimitReached("MTAs", MAX_MTAS)
    if not dry_run:
        try:
            await services.store.put_mta(row, create_only=conditions.create_only)
        except NameTaken as taken:
            raise AlreadyThere("MTA") from taken
        services.fleet.joined(row)
    return row


async def _find(services: Services, name: str) -> MtaRow | None:
    try:
        return await services.store.mta(name)
    except Unknown:
        return None
