"""Relays: the members of a relay map one by one, their states, and where each is used."""

from collections.abc import Callable, Sequence
from typing import Annotated, cast

from fastapi import Body, Query, Response
from pydantic import JsonValue

from app.routing.change import Kind, Subject
from app.routing.document import read_relay, relay_document
from app.routing.errors import Unknown
from app.routing.names import parse_host
from app.routing.relay_map import OutOfService, Relay, RelayMap
from app.routing.routing_table import RoutingTable
from app.routing.writes import Delete, DeleteRelay, Put, PutRelay, Write
from app.server.api import v1
from app.server.api.auth import Operator, Reader, Writer
from app.server.api.pages import Page
from app.server.api.parameters import path, spelt
from app.server.api.preconditions import ReadingOf
from app.server.api.problems import responses
from app.server.api.routes.relay_maps import MapName, subject_of
from app.server.api.schemas.finding import FindingList
from app.server.api.schemas.model import State
from app.server.api.schemas.relay_map import (
    RelayIn,
    RelayOut,
    RelayPatch,
    RelayStateIn,
    RelayStateOut,
    RelayUse,
    RelayUsePage,
)
from app.server.api.schemas.texts import Label
from app.server.api.services import Current
from app.server.api.v1 import PREFIX
from app.server.api.writing import Written, patched, same_name
from app.server.edit import Edited
from app.server.live import Snapshot

router = v1.router("relay maps")

RelayName = Annotated[Label, path("relay", "Name of a relay in its map.", "mx1")]
_ORDER = "relays"


def relay_in(table: RoutingTable, name: str, relay: str) -> Relay:
    """The relay of that name in a map.

    Raises:
        Unknown: there is no such map, or no such relay in it.
    """
    relay_map = table.maps.get(name)
    if relay_map is None:
        raise Unknown("relay map")
    found = relay_map.relay(relay)
    if found is None:
        raise Unknown("relay")
    return found


def _shown(snapshot: Snapshot, name: str, relay: str) -> RelayOut:
    table = snapshot.table
    return RelayOut.of(relay_in(table, name, relay), table.states.get((name, relay)))


def _relay(body: RelayIn, name: str) -> Relay:
    return read_relay(body.model_dump(mode="json") | {"name": name})


def _was_made(name: str, relay: str) -> Callable[[Edited], bool]:
    """Whether an edit made that relay: its map is what changed."""

    def made(edited: Edited) -> bool:
        for change in edited.changes:
            if change.subject == subject_of(name) and isinstance(change.before, RelayMap):
                return change.before.relay(relay) is None
        return False

    return made


@router.get("/relays", summary="Where is a relay used?")
async def list_relays(
    _: Reader,
    snapshot: Current,
    page: Page,
    host: Annotated[
        str | None, spelt(parse_host), Query(description="Only those on this host.")
    ] = None,
    credential: Annotated[
        Label | None, Query(description="Only those that log in with this label.")
    ] = None,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
) -> RelayUsePage:
    """The relays of every map, by map and name."""
    table = snapshot.table
    uses = (
        ((name, relay.name), RelayUse.within(name, relay, table.states.get((name, relay.name))))
        for name, relay_map in table.maps.items()
        for relay in relay_map.relays
        if host in {None, relay.url.host} and credential in {None, relay.url.credential}
    )
    cut = page.among(_ORDER, (use for use in uses if state in {None, use[1].state}), str, str)
    return RelayUsePage(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/relay-maps/{map}/relays/{relay}", summary="Read a relay", responses=responses(404))
async def get_relay(
    name: MapName, relay: RelayName, _: Reader, snapshot: Current, reading: ReadingOf
) -> RelayOut:
    """A relay, its state, and what its URL means. Its entity tag is that of its map."""
    shown = _shown(snapshot, name, relay)
    reading.tag(subject_of(name))
    return shown


@router.put(
    "/relay-maps/{map}/relays/{relay}",
    summary="Create or replace a relay",
    responses={201: {"model": RelayOut, "description": "Created"}, **responses(404, 412, 428)},
)
async def put_relay(
    name: MapName, relay: RelayName, body: RelayIn, _: Writer, write: Written
) -> RelayOut:
    """Replace a relay in its place, or put a new one at the end of its map."""
    same_name(body.name, relay)
    value = _relay(body, relay)

    def plan(snapshot: Snapshot) -> Sequence[Write]:
        write.conditions.check(snapshot, subject_of(name))
        return [PutRelay(name, value)]

    snapshot = await write.run(
        plan,
        subject_of(name),
        created=_was_made(name, relay),
        location=f"{PREFIX}/relay-maps/{name}/relays/{relay}",
    )
    return _shown(snapshot, name, relay)


@router.patch(
    "/relay-maps/{map}/relays/{relay}", summary="Change a relay", responses=responses(404, 412, 428)
)
async def patch_relay(
    name: MapName,
    relay: RelayName,
    body: Annotated[RelayPatch, Body(media_type="application/merge-patch+json")],
    _: Writer,
    write: Written,
) -> RelayOut:
    """Change members of a relay (RFC 7396)."""
    same_name(body.name, relay)

    def plan(snapshot: Snapshot) -> Sequence[Write]:
        write.conditions.check(snapshot, subject_of(name))
        document = cast("JsonValue", relay_document(relay_in(snapshot.table, name, relay)))
        return [PutRelay(name, _relay(patched(RelayIn, document, body), relay))]

    return _shown(await write.run(plan, subject_of(name)), name, relay)


@router.delete(
    "/relay-maps/{map}/relays/{relay}",
    summary="Delete a relay",
    status_code=204,
    response_class=Response,
    responses={
        200: {"model": FindingList, "description": "What a dry run would leave behind"},
        **responses(404, 412, 428),
    },
)
async def delete_relay(name: MapName, relay: RelayName, _: Writer, write: Written) -> Response:
    """Take a relay out of its map for good; the last one of a map cannot be deleted."""

    def plan(snapshot: Snapshot) -> Sequence[Write]:
        write.conditions.check(snapshot, subject_of(name))
        relay_in(snapshot.table, name, relay)
        return [DeleteRelay(name, relay)]

    return await write.delete_by(plan)


@router.put(
    "/relay-maps/{map}/relays/{relay}/state",
    summary="Take a relay out of service, or back",
    responses=responses(404, 412, 428),
)
async def put_relay_state(
    name: MapName, relay: RelayName, body: RelayStateIn, _: Operator, write: Written
) -> RelayStateOut:
    """`out`: it gets nothing new, and queued mail goes to the others at its next attempt."""

    def plan(snapshot: Snapshot) -> Sequence[Write]:
        write.conditions.check(snapshot, subject_of(name))
        return state_writes(snapshot.table, name, relay, body.value())

    shown = _shown(await write.run(plan, subject_of(name)), name, relay)
    return RelayStateOut(state=shown.state, reason=shown.reason)


def state_writes(
    table: RoutingTable, name: str, relay: str, state: OutOfService | None
) -> Sequence[Write]:
    """What puts a relay into a state; None is `active`, which is kept as no state.

    Raises:
        Unknown: there is no such relay.
    """
    relay_in(table, name, relay)
    subject = Subject(Kind.RELAY_STATE, name, relay)
    if state is not None:
        return [Put(subject, state)]
    return [Delete(subject)] if table.is_out(name, relay) else []
