"""Import of a list of relay URLs into a relay map."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from fastapi import Request

from app.routing.errors import Fault, Invalid, Refused, Unknown
from app.routing.relay_map import MAX_RELAYS, Relay, RelayMap, faults_of, name_relays
from app.routing.relay_url import RelayURL, parse_relay_url
from app.routing.writes import Put, Write
from app.server.api import v1
from app.server.api.auth import Writer
from app.server.api.gate import is_json
from app.server.api.problems import responses
from app.server.api.refusals import EdgeError
from app.server.api.routes.relay_maps import MapName, shown, subject_of
from app.server.api.schemas.relay_map import RelayList, RelayMapOut
from app.server.api.strict_json import parse_json
from app.server.api.writing import Written, checked
from app.server.live import Snapshot

router = v1.router("relay maps")


@dataclass(frozen=True, slots=True)
class Listed:
    """One relay URL of a list.

    Attributes:
        pointer: of a fault in it; "" in a text, which has no pointers.
        place: what a fault's sentence begins with.
    """

    url: RelayURL
    pointer: str = ""
    place: str = ""

    def fault(self, fault: Fault) -> Fault:
        """A fault of the relay that comes of it."""
        return Fault(fault.code, self.place + fault.detail, self.pointer)


_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/RelayList"}},
        "text/plain": {
            "schema": {"type": "string"},
            "example": "# the exchangers of the shop\nsmtps://mx1.example.net\nsmtps://mx3.example.net\n",
        },
    },
}


@router.post(
    "/relay-maps/{map}/import",
    summary="Import a list of relay URLs",
    openapi_extra={"requestBody": _BODY},
    responses=responses(404, 412, 428),
)
async def import_relays(name: MapName, request: Request, _: Writer, write: Written) -> RelayMapOut:
    """Replace the relays of a map: as text, one relay URL a line, `#` begins a comment; or as JSON.

    A relay whose URL means the same stays the same relay: its name, weight, priority, comment and
    state are kept.
    """
    body, content_type = await request.body(), request.headers.get("content-type", "")
    listed = await asyncio.to_thread(_listed, body, content_type)

    def plan(snapshot: Snapshot) -> Sequence[Write]:
        write.conditions.check(snapshot, subject_of(name))
        relay_map = snapshot.table.maps.get(name)
        if relay_map is None:
            raise Unknown("relay map")
        return [Put(subject_of(name), with_relays(relay_map, [each.url for each in listed]))]

    try:
        snapshot = await write.run(plan, subject_of(name))
    except Invalid as invalid:
        raise _placed(invalid.faults, listed) from None
    found = await write.services.findings.by_subject(snapshot.table)
    return shown(snapshot, name, found)


def _listed(body: bytes, content_type: str) -> Sequence[Listed]:
    if not is_json(content_type):
        return read_lines(_text(body))
    urls = checked(RelayList, parse_json(body)).urls
    return [Listed(parse_relay_url(url), f"/urls/{n}") for n, url in enumerate(urls)]


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise EdgeError("the body is not UTF-8") from None


def read_lines(text: str) -> Sequence[Listed]:
    """The relay URLs of a list.

    Raises:
        Invalid: every line that holds none.
    """
    found: list[Listed] = []
    faults: list[Fault] = []
    lines = list(islice(_written(text), MAX_RELAYS + 1))
    if len(lines) > MAX_RELAYS:
        raise Invalid((Fault("bad-size", f"a map has 1 to {MAX_RELAYS} relays"),))
    for number, written in lines:
        place = f"line {number}: "
        try:
            found.append(Listed(parse_relay_url(written), place=place))
        except Refused as refused:
            faults.append(Fault(refused.fault.code, place + refused.fault.detail))
    if faults:
        raise Invalid(tuple(faults))
    return found


def _written(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        written = line.partition("#")[0].strip(" \t\r")
        if written:
            yield number, written


def with_relays(relay_map: RelayMap, urls: Sequence[RelayURL]) -> RelayMap:
    """The map with the relays of a list in place of its own.

    Raises:
        Invalid: what these may not be together; pointers are into the map.
    """
    changed = replace(relay_map, relays=_relays(relay_map, urls))
    faults = faults_of(changed)
    if faults:
        raise Invalid(tuple(faults))
    return changed


def _relays(relay_map: RelayMap, urls: Sequence[RelayURL]) -> tuple[Relay, ...]:
    known = {relay.url: relay for relay in relay_map.relays}
    kept = [known.get(url) for url in urls]
    names = name_relays(urls, [None if relay is None else relay.name for relay in kept])
    return tuple(
        Relay(name, url) if relay is None else replace(relay, url=url)
        for name, url, relay in zip(names, urls, kept, strict=True)
    )


def _placed(faults: Iterable[Fault], listed: Sequence[Listed]) -> Invalid:
    """Faults of members of the map, at what the members came from."""
    placed: list[Fault] = []
    for fault in faults:
        _, _, position = fault.pointer.removesuffix("/name").removesuffix("/url").rpartition("/")
        whole = Fault(fault.code, fault.detail)
        placed.append(listed[int(position)].fault(fault) if position.isdigit() else whole)
    return Invalid(tuple(placed))
