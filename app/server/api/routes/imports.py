"""Import of a list of relay URLs into a relay map."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fastapi import Request

from app.routing.change import Put, Write
from app.routing.errors import Fault, Invalid, Refused, Unknown
from app.routing.relay_map import Relay, RelayMap, faults_of, name_relays
from app.routing.relay_url import RelayURL, parse_relay_url
from app.server.api import v1
from app.server.api.auth import Writer
from app.server.api.problems import responses
from app.server.api.refusals import EdgeError
from app.server.api.routes.relay_maps import MapName, shown, subject_of
from app.server.api.schemas.relay_map import RelayMapOut
from app.server.api.writing import Written
from app.server.live import Snapshot

router = v1.router("relay maps")

Lines = Sequence[tuple[int, RelayURL]]
"""Relay URLs, each with the number of its line."""

_BODY = {
    "required": True,
    "content": {
        "text/plain": {
            "schema": {"type": "string"},
            "example": "# the exchangers of the shop\nsmtps://mx1.example.net\nsmtps://mx3.example.net\n",
        }
    },
}


@router.post(
    "/relay-maps/{map}/import",
    summary="Import a list of relay URLs",
    openapi_extra={"requestBody": _BODY},
    responses=responses(404, 412, 428),
)
async def import_relays(name: MapName, request: Request, _: Writer, write: Written) -> RelayMapOut:
    """Replace the relays of a map by a list: one relay URL a line, `#` begins a comment.

    A relay whose URL means the same stays the same relay: its name, weight, priority, comment and
    state are kept.
    """
    lines = read_lines(_text(await request.body()))

    def plan(snapshot: Snapshot) -> Sequence[Write]:
        write.conditions.check(snapshot, subject_of(name))
        relay_map = snapshot.table.maps.get(name)
        if relay_map is None:
            raise Unknown("relay map")
        return [Put(subject_of(name), with_relays(relay_map, lines))]

    return shown(write.services, await write.run(plan, subject_of(name)), name)


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise EdgeError("the body is not UTF-8") from None


def read_lines(text: str) -> Lines:
    """The relay URLs of a list.

    Raises:
        Invalid: every line that holds none.
    """
    found: list[tuple[int, RelayURL]] = []
    faults: list[Fault] = []
    for number, written in _written(text):
        try:
            found.append((number, parse_relay_url(written)))
        except Refused as refused:
            faults.append(_on_line(number, refused.fault))
    if faults:
        raise Invalid(tuple(faults))
    return found


def _written(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        written = line.partition("#")[0].strip(" \t\r")
        if written:
            yield number, written


def _on_line(number: int, fault: Fault) -> Fault:
    return Fault(fault.code, f"line {number}: {fault.detail}")


def with_relays(relay_map: RelayMap, lines: Lines) -> RelayMap:
    """The map with the relays of a list in place of its own.

    Raises:
        Invalid: what these may not be together, each with its line.
    """
    try:
        relays = _relays(relay_map, [url for _, url in lines])
    except Invalid as invalid:
        raise _placed(invalid.faults, lines) from None
    changed = replace(relay_map, relays=relays)
    faults = faults_of(changed)
    if faults:
        raise _placed(faults, lines)
    return changed


def _relays(relay_map: RelayMap, urls: Sequence[RelayURL]) -> tuple[Relay, ...]:
    known = {relay.url: relay for relay in relay_map.relays}
    kept = [known.get(url) for url in urls]
    names = name_relays(urls, [None if relay is None else relay.name for relay in kept])
    return tuple(
        Relay(name, url) if relay is None else replace(relay, url=url)
        for name, url, relay in zip(names, urls, kept, strict=True)
    )


def _placed(faults: Iterable[Fault], lines: Lines) -> Invalid:
    """Faults of members of the map, on the lines that the members came from."""
    placed: list[Fault] = []
    for fault in faults:
        _, _, position = fault.pointer.removesuffix("/name").removesuffix("/url").rpartition("/")
        whole = Fault(fault.code, fault.detail)
        placed.append(_on_line(lines[int(position)][0], fault) if position.isdigit() else whole)
    return Invalid(tuple(placed))
