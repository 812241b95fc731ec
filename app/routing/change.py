"""Changes of routing: what a write does, applied, inverted, and found between two tables.

A write is what somebody asks for; a change is what it does to one subject, with the value before
and after. A list of changes is what a revision is made of.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar, cast

from app.routing import document
from app.routing.credential import Credential
from app.routing.entries import Draft, TableEntries
from app.routing.errors import Fault, Invalid, Unknown
from app.routing.next_hop import EntryHop
from app.routing.relay_map import OutOfService, Relay, RelayMap, faults_of
from app.routing.routing_table import RoutingTable
from app.routing.rule import Rule
from app.routing.table import Table

K = TypeVar("K", bound=str | tuple[str, str])
V = TypeVar("V")


class Kind(StrEnum):
    """What a subject is; the value is its collection in a path."""

    RELAY_MAP = "relay-maps"
    RELAY_STATE = "state"
    TABLE = "tables"
    ENTRY = "entries"
    RULE = "rules"
    CREDENTIAL = "credentials"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a change is about.

    Attributes:
        name: of the map, table, rule or credential.
        member: the relay of a state, the key of an entry; "" otherwise.
    """

    kind: Kind
    name: str
    member: str = ""

    def __str__(self) -> str:
        """The path below /v1/ under which clients find it (keys not percent-encoded)."""
        if self.kind is Kind.RELAY_STATE:
            return f"relay-maps/{self.name}/relays/{self.member}/state"
        if self.kind is Kind.ENTRY:
            return f"tables/{self.name}/entries/{self.member}"
        return f"{self.kind.value}/{self.name}"


Value = RelayMap | OutOfService | Table | EntryHop | Rule | Credential


@dataclass(frozen=True, slots=True)
class Change:
    """One subject before and after; None is absence (for a relay's state: active)."""

    subject: Subject
    before: Value | None
    after: Value | None

    def inverted(self) -> "Change":
        """The change that undoes this one."""
        return Change(self.subject, self.after, self.before)


@dataclass(frozen=True, slots=True)
class Put:
    """Create or replace a subject."""

    subject: Subject
    value: Value


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a subject and what belongs to it alone (states of a map, entries of a table)."""

    subject: Subject


@dataclass(frozen=True, slots=True)
class PutRelay:
    """Create or replace one relay of a map, in place or at its end."""

    relay_map: str
    relay: Relay


@dataclass(frozen=True, slots=True)
class DeleteRelay:
    """Remove one relay from a map."""

    relay_map: str
    relay: str


Write = Put | Delete | PutRelay | DeleteRelay

COLLECTION: dict[Kind, str] = {
    Kind.RELAY_MAP: "maps",
    Kind.RELAY_STATE: "states",
    Kind.TABLE: "tables",
    Kind.RULE: "rules",
    Kind.CREDENTIAL: "credentials",
}
"""The attribute of a RoutingTable that holds each kind but the entries, which stand by table."""

KIND_WORDS: dict[Kind, str] = {
    Kind.RELAY_MAP: "relay map",
    Kind.RELAY_STATE: "relay",
    Kind.TABLE: "table",
    Kind.ENTRY: "entry",
    Kind.RULE: "rule",
    Kind.CREDENTIAL: "credential",
}


def current(table: RoutingTable, subject: Subject) -> Value | None:
    """What a subject is in a table now; None where it is absent."""
    if subject.kind is Kind.ENTRY:
        return table.entries.get(subject.name, {}).get(subject.member)
    collection = getattr(table, COLLECTION[subject.kind])
    return collection.get(_key(subject))  # type: ignore[no-any-return]


def _key(subject: Subject) -> str | tuple[str, str]:
    return (subject.name, subject.member) if subject.kind is Kind.RELAY_STATE else subject.name


def value_document(subject: Subject, value: Value | None) -> document.Document | None:
    """The document of a subject's value, as journal and answers carry it; None for absence."""
    if value is None:
        return None
    if subject.kind is Kind.ENTRY:
        return document.entry_document(subject.member, value)  # type: ignore[arg-type]
    return WRITERS[subject.kind](value)


WRITERS: dict[Kind, Callable[..., document.Document]] = {
    Kind.RELAY_MAP: document.relay_map_document,
    Kind.RELAY_STATE: document.state_document,
    Kind.TABLE: document.table_document,
    Kind.RULE: document.rule_document,
    Kind.CREDENTIAL: document.credential_document,
}

READERS: dict[Kind, Callable[[object], Value | None]] = {
    Kind.RELAY_MAP: document.read_relay_map,
    Kind.RELAY_STATE: document.read_state,
    Kind.TABLE: document.read_table,
    Kind.ENTRY: document.read_entry_hop,
    Kind.RULE: document.read_rule,
    Kind.CREDENTIAL: document.read_credential,
}


def read_value(subject: Subject, stored: object) -> Value | None:
    """A subject's value from its document; None for absence.

    Raises:
        Invalid: the document is not one of ours.
    """
    return None if stored is None else READERS[subject.kind](stored)


def is_same(change: Change) -> bool:
    """Whether a change changes nothing that a client could see, spelling included."""
    before = value_document(change.subject, change.before)
    return before == value_document(change.subject, change.after)


def changes_of(table: RoutingTable, writes: Iterable[Write]) -> tuple[Change, ...]:
    """What writes do, in order, each seeing the ones before it; one change a subject at most.

    Writes that change nothing leave no change.

    Raises:
        Unknown: a write deletes, or needs, something that is not there; it points to the n-th of
            several.
        Invalid: a table that has entries would get another key, or the relays of a map would not
            go together; pointers are into the body of the only write, or below
            `/changes/{n}/body` of the n-th of several.
    """
    net: dict[Subject, Change] = {}
    listed = tuple(writes)
    if len(listed) > 1:
        table = _own_copy(table, {w.subject.name for w in listed if isinstance(w, Put | Delete)})
    for position, write in enumerate(listed):
        try:
            steps = tuple(_steps(table, write))
        except Invalid as invalid:
            base = f"/changes/{position}/body" if len(listed) > 1 else ""
            raise Invalid(tuple(fault.under(base) for fault in invalid.faults)) from None
        except Unknown as unknown:
            raise Unknown(unknown.kind, f"/changes/{position}" if len(listed) > 1 else "") from None
        for step in steps:
            if len(listed) > 1:
                _make(table, step)
            first = net.get(step.subject)
            before = step.before if first is None else first.before
            net[step.subject] = Change(step.subject, before, step.after)
    return tuple(change for change in net.values() if not is_same(change))


def _own_copy(table: RoutingTable, touched: set[str]) -> RoutingTable:
    """A table whose collections may be changed in place: a thousand writes copy them once.

    The entries of a table, which may be millions, become a draft where its name is `touched`.
    """
    own: dict[str, object] = {name: dict(getattr(table, name)) for name in COLLECTION.values()}
    entries = dict(table.entries)
    for name in touched & entries.keys():
        entries[name] = Draft.from_entries(table.entries_of(name))
    return replace(table, entries=entries, **own)  # type: ignore[arg-type]


def _make(own: RoutingTable, change: Change) -> None:
    """Make a change in a table from `_own_copy`."""
    subject = change.subject
    if subject.kind is Kind.ENTRY:
        own.entries[subject.name].put(subject.member, change.after)  # type: ignore[attr-defined]
        return
    _set(getattr(own, COLLECTION[subject.kind]), _key(subject), change.after)
    if subject.kind is Kind.TABLE:
        entries = Draft() if change.before is None else own.entries[subject.name]
        _set(own.entries, subject.name, None if change.after is None else entries)  # type: ignore[arg-type]


def _steps(table: RoutingTable, write: Write) -> Iterator[Change]:
    if isinstance(write, PutRelay | DeleteRelay):
        write = _as_put_of_map(table, write)
    before = current(table, write.subject)
    if isinstance(write, Delete):
        if before is None:
            raise Unknown(KIND_WORDS[write.subject.kind])
        yield from _belongings(table, write.subject)
        yield Change(write.subject, before, None)
        return
    _check_owner(table, write.subject)
    if isinstance(write.value, Table):
        _check_key(table, write.value)
    if write.subject.kind is Kind.RELAY_MAP:
        yield from _states_of_lost_relays(table, write)
    yield Change(write.subject, before, write.value)


def _as_put_of_map(table: RoutingTable, write: PutRelay | DeleteRelay) -> Put:
    relay_map = table.maps.get(write.relay_map)
    if relay_map is None:
        raise Unknown("relay map")
    relays = list(relay_map.relays)
    names = [relay.name for relay in relays]
    wanted = write.relay.name if isinstance(write, PutRelay) else write.relay
    if isinstance(write, PutRelay):
        if wanted in names:
            relays[names.index(wanted)] = write.relay
        else:
            relays.append(write.relay)
    elif wanted not in names:
        raise Unknown("relay")
    else:
        del relays[names.index(wanted)]
    changed = replace(relay_map, relays=tuple(relays))
    faults = faults_of(changed)
    if faults:
        raise Invalid(tuple(_in_relay(fault) for fault in faults))
    return Put(Subject(Kind.RELAY_MAP, relay_map.name), changed)


def _in_relay(fault: Fault) -> Fault:
    """A fault of the map that one relay would make, as one of that relay."""
    _, _, *member = fault.pointer.split("/")
    return Fault(fault.code, fault.detail, f"/{member[1]}" if len(member) > 1 else "")


def _check_owner(table: RoutingTable, subject: Subject) -> None:
    if subject.kind is Kind.ENTRY and subject.name not in table.tables:
        raise Unknown("table")
    if subject.kind is Kind.RELAY_STATE:
        relay_map = table.maps.get(subject.name)
        if relay_map is None or relay_map.relay(subject.member) is None:
            raise Unknown("relay")


def _check_key(table: RoutingTable, value: Table) -> None:
    """A table's entries were read as keys of its kind; under another they would mean nothing."""
    before = table.tables.get(value.name)
    if before is not None and before.key is not value.key and table.entries.get(value.name):
        detail = f"the table {value.name} has entries: delete those before its key changes"
        raise Invalid((Fault("key-fixed", detail, "/key"),))


def _belongings(table: RoutingTable, subject: Subject) -> Iterator[Change]:
    if subject.kind is Kind.RELAY_MAP:
        for (name, relay), state in table.states.items():
            if name == subject.name:
                yield Change(Subject(Kind.RELAY_STATE, name, relay), state, None)
    if subject.kind is Kind.TABLE:
        for key, via in table.entries.get(subject.name, {}).items():
            yield Change(Subject(Kind.ENTRY, subject.name, key), via, None)


def _states_of_lost_relays(table: RoutingTable, write: Put) -> Iterator[Change]:
    """A state stays as long as a relay of that name is in the map, and no longer."""
    kept = {relay.name for relay in write.value.relays}  # type: ignore[union-attr]
    for (name, relay), state in table.states.items():
        if name == write.subject.name and relay not in kept:
            yield Change(Subject(Kind.RELAY_STATE, name, relay), state, None)


def apply(
    table: RoutingTable, changes: Iterable[Change], revision: int | None = None
) -> RoutingTable:
    """The table after the changes; `revision` is its new number, else the old one stays.

    It costs as much as is changed, whatever the tables hold.
    """
    touched: dict[str, dict[object, object]] = {}
    entries: dict[str, dict[str, EntryHop | None]] = {}
    for change in changes:
        subject = change.subject
        if subject.kind is Kind.ENTRY:
            entries.setdefault(subject.name, {})[subject.member] = change.after  # type: ignore[assignment]
            continue
        attribute = COLLECTION[subject.kind]
        if attribute not in touched:
            touched[attribute] = dict(getattr(table, attribute))
        _set(touched[attribute], _key(subject), change.after)
    parts: dict[str, object] = dict(touched)
    tables = touched.get("tables", table.tables)
    if entries or "tables" in touched:
        kept: dict[str, TableEntries] = {}
        for name in cast("Iterable[str]", tables):
            kept[name] = table.entries_of(name)
            if name in entries:
                kept[name] = kept[name].after(entries[name])
        parts["entries"] = kept
    number = table.revision if revision is None else revision
    return replace(table, revision=number, **parts)  # type: ignore[arg-type]


def _set(collection: dict, key: object, value: object) -> None:  # type: ignore[type-arg]
    if value is None:
        collection.pop(key, None)
    else:
        collection[key] = value


def invert(changes: Iterable[Change]) -> tuple[Change, ...]:
    """The changes that undo these, last first."""
    return tuple(change.inverted() for change in reversed(tuple(changes)))


def diff(old: RoutingTable, new: RoutingTable) -> tuple[Change, ...]:
    """The changes that make `new` out of `old`, in a stable order."""
    found: list[Change] = []
    for kind, attribute in COLLECTION.items():
        for key, before, after in _differences(getattr(old, attribute), getattr(new, attribute)):
            found.append(Change(_subject(kind, key), before, after))
    for name in sorted(set(old.entries) | set(new.entries)):
        olds, news = old.entries_of(name), new.entries_of(name)
        found.extend(
            Change(Subject(Kind.ENTRY, name, key), olds.get(key), news.get(key))
            for key in sorted(olds.differing(news))
            if olds.get(key) is not news.get(key)
        )
    return tuple(change for change in found if not is_same(change))


def _subject(kind: Kind, key: str | tuple[str, str]) -> Subject:
    return Subject(kind, *key) if isinstance(key, tuple) else Subject(kind, key)


def _differences(
    before: Mapping[K, V], after: Mapping[K, V]
) -> Iterator[tuple[K, V | None, V | None]]:
    for key in sorted(set(before) | set(after), key=str):
        if before.get(key) is not after.get(key):
            yield key, before.get(key), after.get(key)
