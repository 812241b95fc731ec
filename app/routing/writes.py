"""Writes: what somebody asks to be done to a routing, and the changes that it comes to."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from app.routing.change import (
    COLLECTION,
    KIND_WORDS,
    Change,
    EntryChanges,
    Kind,
    Part,
    Subject,
    Value,
    current,
    entry_changes,
    is_same,
    joined,
    key_of,
    set_in,
)
from app.routing.entries import Draft, TableEntries
from app.routing.errors import Fault, Invalid, Unknown
from app.routing.next_hop import EntryHop
from app.routing.relay_map import Relay, faults_of
from app.routing.routing_table import RoutingTable
from app.routing.table import Table


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


@dataclass(frozen=True, slots=True)
class PutMany:
    """Create or replace many entries of a table.

    Attributes:
        table: its name.
        entries: by canonical key.
        replaces: what the table has beside them goes.
        spares: keys that do not go.
    """

    table: str
    entries: TableEntries
    replaces: bool = False
    spares: Collection[str] = ()


Write = Put | Delete | PutRelay | DeleteRelay | PutMany


def changes_of(table: RoutingTable, writes: Iterable[Write]) -> Sequence[Change]:
    """What writes do, in order, each seeing the ones before it; one change a subject at most.

    Writes that change nothing leave no change.

    Raises:
        Unknown: a write deletes, or needs, something that is not there; it points to the n-th of
            several.
        Invalid: a table that has entries would get another key, or the relays of a map would not
            go together; pointers are into the body of the only write, or below
            `/changes/{n}/body` of the n-th of several.
    """
    listed = tuple(writes)
    if len(listed) == 1:
        net = _Net()
        net.add(_steps(table, listed[0]))
        return net.changes()
    return _changes_of_several(table, listed)


def _changes_of_several(table: RoutingTable, listed: tuple[Write, ...]) -> Sequence[Change]:
    net = _Net()
    table = _own_copy(table, {name_of(write) for write in listed})
    for position, write in enumerate(listed):
        try:
            steps = tuple(_steps(table, write))
        except Invalid as invalid:
            base = f"/changes/{position}/body"
            raise Invalid(tuple(fault.under(base) for fault in invalid.faults)) from None
        except Unknown as unknown:
            raise Unknown(unknown.kind, f"/changes/{position}") from None
        for part in steps:
            _make(table, part)
        net.add(steps)
    return net.changes()


def name_of(write: Write) -> str:
    """The map, table, rule or credential that a write is about, or what it is about is of."""
    if isinstance(write, Put | Delete):
        return write.subject.name
    return write.table if isinstance(write, PutMany) else write.relay_map


class _Net:
    """What many steps come to: each subject before the first of its steps, and after the last."""

    def __init__(self) -> None:
        self._single: dict[Subject, Change] = {}
        self._many: dict[str, _Both] = {}

    def add(self, parts: Iterable[Part]) -> None:
        """Go on with these."""
        for part in parts:
            if isinstance(part, EntryChanges):
                self._add_many(part)
                continue
            for change in part:
                self._add(change)

    def _add(self, change: Change) -> None:
        subject = change.subject
        if subject.kind is Kind.ENTRY and subject.name in self._many:
            self._many[subject.name].add(subject.member, *_hops(change))
            return
        first = self._single.get(subject)
        before = change.before if first is None else first.before
        self._single[subject] = Change(subject, before, change.after)

    def _add_many(self, part: EntryChanges) -> None:
        known = self._many.get(part.table)
        if known is None:
            known = self._many[part.table] = _Both()
            for subject in [each for each in self._single if _is_entry_of(each, part.table)]:
                before, after = _hops(self._single.pop(subject))
                known.add(subject.member, before, after)
        known.add_many(part)

    def changes(self) -> Sequence[Change]:
        """Those that change something: entries in columns first, the rest as it came."""
        many = [both.changes(name) for name, both in self._many.items()]
        return joined([*many, tuple(c for c in self._single.values() if not is_same(c))])


def _is_entry_of(subject: Subject, table: str) -> bool:
    return subject.kind is Kind.ENTRY and subject.name == table


def _hops(change: Change) -> tuple[EntryHop | None, EntryHop | None]:
    return cast("tuple[EntryHop | None, EntryHop | None]", (change.before, change.after))


class _Both:
    """Entries of one table before and after, by key."""

    def __init__(self) -> None:
        self._only: EntryChanges | None = None
        self._before: dict[str, EntryHop | None] = {}
        self._after: dict[str, EntryHop | None] = {}

    def add_many(self, part: EntryChanges) -> None:
        """Go on with many, which are kept as they came where nothing else comes."""
        if self._only is None and not self._before:
            self._only = part
            return
        for key, before, after in zip(part.keys, part.befores, part.afters, strict=True):
            self.add(key, before, after)

    def add(self, key: str, before: EntryHop | None, after: EntryHop | None) -> None:
        """Go on with one."""
        if self._only is not None:
            only, self._only = self._only, None
            self._before = dict(zip(only.keys, only.befores, strict=True))
            self._after = dict(zip(only.keys, only.afters, strict=True))
        self._before.setdefault(key, before)
        self._after[key] = after

    def changes(self, table: str) -> Part:
        """Those that change something, by key."""
        if self._only is not None:
            return self._only
        return entry_changes(
            table, TableEntries(_present(self._before)), TableEntries(_present(self._after))
        )


def _present(hops: Mapping[str, EntryHop | None]) -> dict[str, EntryHop]:
    return {key: hop for key, hop in hops.items() if hop is not None}


def _own_copy(table: RoutingTable, touched: set[str]) -> RoutingTable:
    """A table whose collections may be changed in place: a thousand writes copy them once.

    The entries of a table, which may be millions, become a draft where its name is `touched`.
    """
    own: dict[str, object] = {name: dict(getattr(table, name)) for name in COLLECTION.values()}
    entries = dict(table.entries)
    for name in touched & entries.keys():
        entries[name] = Draft.from_entries(table.entries_of(name))
    return replace(table, entries=entries, **own)  # type: ignore[arg-type]


def _make(own: RoutingTable, part: Part) -> None:
    """Make changes in a table from `_own_copy`."""
    entries = cast("dict[str, Draft]", own.entries)
    if isinstance(part, EntryChanges):
        changed = entries[part.table].after_all(part.keys, part.afters)
        entries[part.table] = Draft(changed.base, changed.over, len(changed))
        return
    for change in part:
        subject = change.subject
        if subject.kind is Kind.ENTRY:
            entries[subject.name].put(subject.member, cast("EntryHop | None", change.after))
            continue
        set_in(getattr(own, COLLECTION[subject.kind]), key_of(subject), change.after)
        if subject.kind is Kind.TABLE:
            held = (
                Draft.from_entries(TableEntries())
                if change.before is None
                else entries[subject.name]
            )
            set_in(entries, subject.name, None if change.after is None else held)


def _steps(table: RoutingTable, write: Write) -> Iterator[Part]:
    if isinstance(write, PutMany):
        yield _many(table, write)
        return
    if isinstance(write, PutRelay | DeleteRelay):
        write = _as_put_of_map(table, write)
    before = current(table, write.subject)
    if isinstance(write, Delete):
        if before is None:
            raise Unknown(KIND_WORDS[write.subject.kind])
        yield _belongings(table, write.subject)
        yield (Change(write.subject, before, None),)
        return
    _check_owner(table, write.subject)
    if isinstance(write.value, Table):
        _check_key(table, write.value)
    if write.subject.kind is Kind.RELAY_MAP:
        yield tuple(_states_of_lost_relays(table, write))
    yield (Change(write.subject, before, write.value),)


def _many(table: RoutingTable, write: PutMany) -> Part:
    if write.table not in table.tables:
        raise Unknown("table")
    present = table.entries_of(write.table)
    wanted = write.entries
    if not write.replaces:
        wanted = present.joined(wanted) if present else wanted
    elif write.spares:
        wanted = wanted.after({key: hop for key in write.spares if (hop := present.get(key))})
    return entry_changes(write.table, present, wanted)


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


def _belongings(table: RoutingTable, subject: Subject) -> Part:
    if subject.kind is Kind.RELAY_MAP:
        return tuple(
            Change(Subject(Kind.RELAY_STATE, name, relay), state, None)
            for (name, relay), state in table.states.items()
            if name == subject.name
        )
    if subject.kind is Kind.TABLE:
        return entry_changes(subject.name, table.entries_of(subject.name), TableEntries())
    return ()


def _states_of_lost_relays(table: RoutingTable, write: Put) -> Iterator[Change]:
    """A state stays as long as a relay of that name is in the map, and no longer."""
    kept = {relay.name for relay in write.value.relays}  # type: ignore[union-attr]
    for (name, relay), state in table.states.items():
        if name == write.subject.name and relay not in kept:
            yield Change(Subject(Kind.RELAY_STATE, name, relay), state, None)
