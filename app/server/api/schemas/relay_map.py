"""Relay maps, their relays and the relays' states over HTTP."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, NoReturn

from pydantic import MISSING, AfterValidator, Field
from pydantic.json_schema import SkipJsonSchema

from app.routing import document
from app.routing.check import Finding
from app.routing.relay_map import (
    MAX_PRIORITY,
    MAX_RELAYS,
    MAX_WEIGHT,
    HashKey,
    OutOfService,
    Policy,
    Relay,
    RelayMap,
)
from app.routing.relay_url import TLS, Protocol
from app.routing.routing_table import RoutingTable
from app.server.api.parameters import fault
from app.server.api.schemas.finding import FindingOut
from app.server.api.schemas.model import In, Lax, Out, State, Time
from app.server.api.schemas.texts import Label, Line, Name, RelayUrl
from app.server.live import Mark

_MAP_EXAMPLE = {
    "name": "mxmap",
    "description": "the exchangers of the shop",
    "policy": "ratio",
    "hash_key": None,
    "relays": [
        {"name": "mx1", "url": "tls+auth://acct@mx1.example.net:587", "weight": 3},
        {"name": "mx2", "url": "smtps://mx2.example.net", "weight": 1},
    ],
}

LaxPolicy = Annotated[Policy, Lax]
LaxHashKey = Annotated[HashKey, Lax]
Weight = Annotated[int, Field(ge=1, le=MAX_WEIGHT)]
Priority = Annotated[int, Field(ge=0, le=MAX_PRIORITY)]


class RelayIn(In):
    """A relay. What the answer says beside these members is taken and ignored."""

    READ_ONLY = frozenset(
        {"relay_map", "state", "reason", "host", "port", "protocol", "tls", "credential"}
    )
    EXAMPLE: ClassVar[object] = {"url": "smtps://mx3.example.net", "weight": 2, "comment": "rack 4"}

    name: Label | MISSING = MISSING
    """Absent: the host of the URL."""
    url: RelayUrl
    weight: Weight = 1
    """Its part in `ratio` and `hash`."""
    priority: Priority = 0
    """Lower is preferred; the others get nothing while one of these is usable."""
    comment: Line = ""


class RelayPatch(In):
    """Members of a relay to change (RFC 7396)."""

    READ_ONLY = RelayIn.READ_ONLY
    EXAMPLE: ClassVar[object] = {"weight": 2}

    name: Label | MISSING = MISSING
    url: RelayUrl | MISSING = MISSING
    weight: Weight | MISSING = MISSING
    priority: Priority | MISSING = MISSING
    comment: Line | MISSING | None = MISSING


class RelayMapIn(In):
    """A relay map. What the answer says beside these members is taken and ignored."""

    READ_ONLY = frozenset({"revision", "created_at", "updated_at", "findings"})
    EXAMPLE: ClassVar[object] = _MAP_EXAMPLE

    name: Name | MISSING = MISSING
    """Absent, or the name in the path."""
    description: Line = ""
    policy: LaxPolicy = Policy.ROUND_ROBIN
    hash_key: LaxHashKey | None = None
    """Given with policy `hash`, and only then."""
    relays: Annotated[list[RelayIn], Field(min_length=1, max_length=MAX_RELAYS)]

    def value(self, name: str, present: object = None) -> RelayMap:
        """The relay map of that name; `present` is what it replaces. Raises Invalid."""
        return document.read_relay_map(
            self.model_dump(mode="json") | {"name": name},
            present if isinstance(present, RelayMap) else None,
        )


class RelayMapNew(RelayMapIn):
    """A relay map to create."""

    EXAMPLE: ClassVar[object] = _MAP_EXAMPLE | {"name": "mxmap2"}

    name: Name


def _refuse_relays(_: object) -> NoReturn:
    detail = "a list is replaced whole by merge patch: PUT, PATCH or DELETE its relays one by one"
    raise fault("patch-relays-one-by-one", detail)


class RelayList(In):
    """Relay URLs to put in place of a map's relays."""

    EXAMPLE: ClassVar[object] = {"urls": ["smtps://mx1.example.net", "smtps://mx3.example.net"]}

    urls: Annotated[list[RelayUrl], Field(min_length=1, max_length=MAX_RELAYS)]


class RelayMapPatch(In):
    """Members of a relay map to change (RFC 7396); relays are changed one by one."""

    READ_ONLY = RelayMapIn.READ_ONLY
    EXAMPLE: ClassVar[object] = {"policy": "failover"}

    name: Name | MISSING = MISSING
    description: Line | MISSING | None = MISSING
    policy: LaxPolicy | MISSING = MISSING
    hash_key: LaxHashKey | MISSING | None = MISSING
    relays: SkipJsonSchema[Annotated[object, AfterValidator(_refuse_relays)]] = MISSING


class RelayOut(Out):
    """A relay, its state, and what its URL means."""

    EXAMPLE: ClassVar[object] = {
        "name": "mx1",
        "url": "tls+auth://acct@mx1.example.net:587",
        "weight": 3,
        "priority": 0,
        "comment": "",
        "state": "active",
        "reason": "",
        "host": "mx1.example.net",
        "port": 587,
        "protocol": "smtp",
        "tls": "starttls",
        "credential": "acct",
    }

    name: str
    url: str
    weight: int
    priority: int
    comment: str
    state: State
    reason: str
    """Why it is out."""
    host: str
    port: int
    protocol: Protocol
    tls: TLS
    credential: str | None
    """The label that it logs in with."""

    @classmethod
    def of(cls, relay: Relay, state: OutOfService | None) -> "RelayOut":
        """The answer for a relay."""
        return cls.model_validate(_relay_members(relay, state))


def _relay_members(relay: Relay, state: OutOfService | None) -> Mapping[str, object]:
    url = relay.url
    return {
        **document.relay_document(relay),
        **document.state_document(state),
        "host": url.host,
        "port": url.effective_port,
        "protocol": url.protocol,
        "tls": url.tls,
        "credential": url.credential,
    }


class RelayMapOut(Out):
    """A relay map."""

    name: str
    description: str
    policy: Policy
    hash_key: HashKey | None
    relays: list[RelayOut]
    revision: int
    """Of its last change."""
    created_at: Time
    updated_at: Time
    findings: list[FindingOut]

    @classmethod
    def of(
        cls, relay_map: RelayMap, table: RoutingTable, mark: Mark, found: tuple[Finding, ...]
    ) -> "RelayMapOut":
        """The answer for a relay map of a routing."""
        return cls(
            name=relay_map.name,
            description=relay_map.description,
            policy=relay_map.policy,
            hash_key=relay_map.hash_key,
            relays=[
                RelayOut.of(relay, table.states.get((relay_map.name, relay.name)))
                for relay in relay_map.relays
            ],
            revision=mark.revision,
            created_at=mark.created_at,
            updated_at=mark.updated_at,
            findings=[FindingOut.model_validate(finding) for finding in found],
        )


class RelayMapPage(Out):
    """Some relay maps, by name."""

    items: list[RelayMapOut]
    next_cursor: str | None


class RelayStateIn(In):
    """Whether a relay is in service."""

    EXAMPLE: ClassVar[object] = {"state": "out", "reason": "disk replaced, INC-123"}

    state: Annotated[State, Lax]
    reason: Line = ""

    def value(self) -> OutOfService | None:
        """The state; None is `active`."""
        return OutOfService(self.reason) if self.state is State.OUT else None


class RelayStateOut(Out):
    """Whether a relay is in service."""

    state: State
    reason: str


class RelayUse(RelayOut):
    """A relay, and the map that it is in."""

    EXAMPLE: ClassVar[object] = RelayOut.EXAMPLE | {"relay_map": "mxmap"}  # type: ignore[operator]

    relay_map: str

    @classmethod
    def within(cls, name: str, relay: Relay, state: OutOfService | None) -> "RelayUse":
        """The answer for a relay of a map."""
        return cls.model_validate({"relay_map": name, **_relay_members(relay, state)})


class RelayUsePage(Out):
    """Some relays, by map and name."""

    items: list[RelayUse]
    next_cursor: str | None
