"""Relay maps: named pools of relays under one policy."""

from typing import Annotated

from fastapi import Body, Query, Response
from pydantic import JsonValue

from app.routing.change import Kind, Subject
from app.routing.errors import Unknown
from app.routing.relay_map import Policy, RelayMap
from app.server.api import v1
from app.server.api.auth import Reader, Writer
from app.server.api.pages import Page
from app.server.api.parameters import path
from app.server.api.preconditions import ReadingOf
from app.server.api.problems import responses
from app.server.api.schemas.finding import FindingList
from app.server.api.schemas.relay_map import (
    RelayMapIn,
    RelayMapNew,
    RelayMapOut,
    RelayMapPage,
    RelayMapPatch,
)
from app.server.api.schemas.texts import Name
from app.server.api.services import Control, Current
from app.server.api.writing import Written, patched, same_name
from app.server.findings import Found
from app.server.live import Snapshot

router = v1.router("relay maps")

MapName = Annotated[Name, path("map", "Name of a relay map.", "mxmap")]
_ORDER = "relay-maps"


def subject_of(name: str) -> Subject:
    """The subject that a relay map is."""
    return Subject(Kind.RELAY_MAP, name)


def shown(snapshot: Snapshot, name: str, found: Found) -> RelayMapOut:
    """The answer for a relay map that is there."""
    subject = subject_of(name)
    table = snapshot.table
    about = found.get(str(subject), ())
    return RelayMapOut.of(table.maps[name], table, snapshot.marks[subject], about)


@router.get("/relay-maps", summary="List relay maps")
async def list_relay_maps(
    _: Reader,
    services: Control,
    snapshot: Current,
    page: Page,
    policy: Annotated[Policy | None, Query(description="Only those with this policy.")] = None,
) -> RelayMapPage:
    """Every relay map, by name."""
    maps = snapshot.table.maps
    chosen = {name: name for name in maps if policy in {None, maps[name].policy}}
    cut = page.cut(_ORDER, chosen)
    found = await services.findings.by_subject(snapshot.table)
    items = [shown(snapshot, name, found) for name in cut.items]
    return RelayMapPage(items=items, next_cursor=cut.next_cursor)


@router.post(
    "/relay-maps", summary="Create a relay map", status_code=201, responses=responses(409, 412)
)
async def create_relay_map(body: RelayMapNew, _: Writer, write: Written) -> RelayMapOut:
    """Create a relay map; 409 `exists` where the name is taken. Automation uses PUT."""
    snapshot = await write.create(subject_of(body.name), body.value(body.name))
    found = await write.services.findings.by_subject(snapshot.table)
    return shown(snapshot, body.name, found)


@router.put(
    "/relay-maps/{map}",
    summary="Create or replace a relay map",
    responses={201: {"model": RelayMapOut, "description": "Created"}, **responses(412, 428)},
)
async def put_relay_map(name: MapName, body: RelayMapIn, _: Writer, write: Written) -> RelayMapOut:
    """Create a relay map or replace it whole; the states of relays that stay are kept."""
    same_name(body.name, name)
    snapshot = await write.put(subject_of(name), lambda present: body.value(name, present))
    found = await write.services.findings.by_subject(snapshot.table)
    return shown(snapshot, name, found)


@router.get("/relay-maps/{map}", summary="Read a relay map", responses=responses(404))
async def get_relay_map(
    name: MapName, _: Reader, services: Control, snapshot: Current, reading: ReadingOf
) -> RelayMapOut:
    """A relay map, its relays with what their URLs mean, and what looks wrong with it."""
    if name not in snapshot.table.maps:
        raise Unknown("relay map")
    reading.tag(subject_of(name))
    found = await services.findings.by_subject(snapshot.table)
    return shown(snapshot, name, found)


@router.patch("/relay-maps/{map}", summary="Change a relay map", responses=responses(404, 412, 428))
async def patch_relay_map(
    name: MapName,
    body: Annotated[RelayMapPatch, Body(media_type="application/merge-patch+json")],
    _: Writer,
    write: Written,
) -> RelayMapOut:
    """Change members of a relay map (RFC 7396); its relays are changed one by one."""
    same_name(body.name, name)

    def change(document: JsonValue) -> RelayMap:
        return patched(RelayMapIn, document, body).value(name)

    snapshot = await write.patch(subject_of(name), change)
    found = await write.services.findings.by_subject(snapshot.table)
    return shown(snapshot, name, found)


@router.delete(
    "/relay-maps/{map}",
    summary="Delete a relay map",
    status_code=204,
    response_class=Response,
    responses={
        200: {"model": FindingList, "description": "What a dry run would leave behind"},
        **responses(404, 409, 412, 428),
    },
)
async def delete_relay_map(name: MapName, _: Writer, write: Written) -> Response:
    """Delete a relay map; 409 `in-use` where a rule or a table names it."""
    return await write.delete(subject_of(name))
