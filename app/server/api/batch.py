"""Many writes in one body: what each names, its own body checked, and the writes that they are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue

from app.routing.change import Kind, Subject, Value, apply
from app.routing.document import read_relay
from app.routing.errors import Fault, Invalid, Refused, Unknown
from app.routing.names import parse_label, parse_name
from app.routing.relay_map import Relay
from app.routing.routing_table import RoutingTable
from app.routing.table import Table, TableKey, parse_key
from app.routing.writes import Delete, DeleteRelay, Put, PutRelay, Write, changes_of
from app.server.api import faults
from app.server.api.routes.relays import state_writes
from app.server.api.schemas.changes import WriteIn
from app.server.api.schemas.relay_map import RelayIn, RelayMapIn, RelayStateIn
from app.server.api.schemas.rule import RuleIn
from app.server.api.schemas.table import EntryIn, TableIn
from app.server.api.writing import checked, same_name

_NO_TARGET = (
    "name relay-maps/MAP, relay-maps/MAP/relays/RELAY with or without /state, tables/TABLE,"
    " tables/TABLE/entries/KEY or rules/RULE"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a write names.

    Attributes:
        what: `relay-maps`, `relays`, `state`, `tables`, `entries` or `rules`.
        member: the relay, or the key as written; "" otherwise.
    """

    what: str
    name: str
    member: str = ""


Given = Value | Relay | RelayMapIn | None
"""What a put holds, as far as it is known without the routing."""


@dataclass(frozen=True, slots=True)
class Ready:
    """One write of a body, checked as far as it can be without the routing.

    Attributes:
        deletes: it is no put.
        value: what is put; None for a delete, and for the state `active`.
        key: of an entry, as its body says it too; None where it does not.
    """

    target: Target
    deletes: bool
    value: Given = None
    key: str | None = None

    @property
    def member(self) -> str:
        """The member of a change that names the target."""
        return "delete" if self.deletes else "put"


def parse_target(text: str) -> Target:
    """What a path below /v1/ names; a key may be percent-encoded.

    Raises:
        Refused: nothing that a write could name.
    """
    match text.split("/"):
        case ["relay-maps" | "tables" | "rules" as what, name]:
            return Target(what, parse_name(name))
        case ["relay-maps", name, "relays", relay]:
            return Target("relays", parse_name(name), parse_label(relay))
        case ["relay-maps", name, "relays", relay, "state"]:
            return Target("state", parse_name(name), parse_label(relay))
        case ["tables", name, "entries", key]:
            return Target("entries", parse_name(name), unquote(key))
        case _:
            raise Refused("bad-target", _NO_TARGET)


# --- bodies -----------------------------------------------------------------------------------


def _relay_map(target: Target, given: JsonValue) -> RelayMapIn:
    """Its body, since the names of its relays hang on the map that it replaces."""
    body = checked(RelayMapIn, given)
    same_name(body.name, target.name)
    return body


def _relay(target: Target, given: JsonValue) -> Relay:
    body = checked(RelayIn, given)
    same_name(body.name, target.member)
    return read_relay(body.model_dump(mode="json") | {"name": target.member})


def _state(_: Target, given: JsonValue) -> Value | None:
    return checked(RelayStateIn, given).value()


def _table(target: Target, given: JsonValue) -> Value:
    body = checked(TableIn, given)
    same_name(body.name, target.name)
    return body.value(target.name)


def _entry(_: Target, given: JsonValue) -> Value:
    return checked(EntryIn, given).value()


def _rule(target: Target, given: JsonValue) -> Value:
    body = checked(RuleIn, given)
    same_name(body.name, target.name)
    return body.value(target.name)


_VALUES: dict[str, Callable[[Target, JsonValue], Given]] = {
    "relay-maps": _relay_map,
    "relays": _relay,
    "state": _state,
    "tables": _table,
    "entries": _entry,
    "rules": _rule,
}


def ready_writes(writes: Sequence[WriteIn]) -> tuple[Ready, ...]:
    """The writes of a body, each with its own body checked.

    Raises:
        Invalid: every fault of all of them, with pointers into the whole.
    """
    ready: list[Ready] = []
    found: list[Fault] = []
    for position, write in enumerate(writes):
        try:
            ready.append(_ready(write))
        except Invalid as invalid:
            found.extend(fault.under(f"/changes/{position}") for fault in invalid.faults)
    if found:
        raise Invalid(tuple(found))
    return tuple(ready)


def _ready(write: WriteIn) -> Ready:
    member = "put" if isinstance(write.put, str) else "delete"
    try:
        target = parse_target(str(getattr(write, member)))
        if member == "delete":
            return Ready(target, deletes=True)
        given = write.given()
        value = _VALUES[target.what](target, given)
        key = given.get("key") if target.what == "entries" and isinstance(given, dict) else None
        return Ready(target, deletes=False, value=value, key=key if isinstance(key, str) else None)
    except Refused as refused:
        raise Invalid((refused.fault.under(f"/{member}"),)) from None
    except RequestValidationError as error:
        seen = faults.of_validation(error.errors(), error.body)
        raise Invalid(tuple(at.fault.under("/body") for at in seen)) from None
    except Invalid as invalid:
        raise Invalid(tuple(fault.under("/body") for fault in invalid.faults)) from None


def needs_operate(ready: Iterable[Ready]) -> bool:
    """Whether one of the writes takes a relay in or out of service."""
    return any(each.target.what == "state" for each in ready)


# --- writes -----------------------------------------------------------------------------------

_KINDS = {"relay-maps": Kind.RELAY_MAP, "tables": Kind.TABLE, "rules": Kind.RULE}


class Batch:
    """The writes that a body is, in a routing: each sees the ones before it.

    Attributes:
        writes: in order.
        positions: of each write, which change of the body it came from.
    """

    def __init__(self, table: RoutingTable, ready: Sequence[Ready]) -> None:
        """Find the writes.

        Raises:
            Unknown: one needs something that is not there.
            Invalid: a key is none of its table; the relays of a map do not go together.
        """
        self._now = table
        self._done = 0
        self._ready = ready
        self.writes: list[Write] = []
        self.positions: list[int] = []
        for position, each in enumerate(ready):
            try:
                steps = self._writes(each)
            except Refused as refused:
                member = f"/changes/{position}/{each.member}"
                raise Invalid((refused.fault.under(member),)) from None
            except Invalid as invalid:
                base = f"/changes/{position}/body"
                raise Invalid(tuple(fault.under(base) for fault in invalid.faults)) from None
            except Unknown as unknown:
                raise Unknown(unknown.kind, f"/changes/{position}/{each.member}") from None
            self.writes.extend(steps)
            self.positions.extend([position] * len(steps))

    def placed(self, fault: Fault) -> Fault:
        """A fault of an edit with these writes, as one of the body that they came from."""
        if len(self.writes) == 1:
            inside = fault.pointer != ""
            return fault.under(f"/changes/{self.positions[0]}/body") if inside else fault
        match fault.pointer.split("/", 3):
            case ["", "changes", number, rest]:
                position = self.positions[int(number)]
                return Fault(fault.code, fault.detail, f"/changes/{position}/{rest}")
            case _:
                return fault

    def absent(self, unknown: Unknown) -> Unknown:
        """What an edit with these writes did not find, at the change that names it."""
        written = int(unknown.pointer.rpartition("/")[2] or 0)
        position = self.positions[written]
        return Unknown(unknown.kind, f"/changes/{position}/{self._ready[position].member}")

    def _so_far(self) -> RoutingTable:
        """The routing after the writes that were found so far."""
        while self._done < len(self.writes):
            write = self.writes[self._done]
            try:
                self._now = apply(self._now, changes_of(self._now, [write]))
            except (Unknown, Invalid):
                break  # the edit will say so, at the place of this write
            self._done += 1
        return self._now

    def _writes(self, each: Ready) -> Sequence[Write]:
        target, value = each.target, each.value
        if target.what == "relays":
            if isinstance(value, Relay):
                return [PutRelay(target.name, value)]
            return [DeleteRelay(target.name, target.member)]
        if target.what == "state" and value is None:
            return state_writes(self._so_far(), target.name, target.member, None)
        subject = self._subject(each)
        if isinstance(value, RelayMapIn):
            return [Put(subject, value.value(target.name, self._so_far().maps.get(target.name)))]
        if value is None or isinstance(value, Relay):
            return [Delete(subject)]
        return [Put(subject, value)]

    def _subject(self, each: Ready) -> Subject:
        target = each.target
        if target.what == "entries":
            kind = self._key_of(target.name)
            key = parse_key(kind, target.member)
            if each.key is not None:
                same_name(parse_key(kind, each.key), key, "key")
            return Subject(Kind.ENTRY, target.name, key)
        if target.what == "state":
            return Subject(Kind.RELAY_STATE, target.name, target.member)
        return Subject(_KINDS[target.what], target.name)

    def _key_of(self, name: str) -> TableKey:
        """What a table is keyed on, as far as the writes have come. Raises Unknown."""
        for write in reversed(self.writes):
            if isinstance(write, Put | Delete) and write.subject == Subject(Kind.TABLE, name):
                if isinstance(write, Put) and isinstance(write.value, Table):
                    return write.value.key
                raise Unknown("table")
        if name not in self._now.tables:
            raise Unknown("table")
        return self._now.tables[name].key
