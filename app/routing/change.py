"""Changes of routing: one subject before and after; applied, inverted, found between two tables.

A sequence of changes is what a revision is made of. Where it is about a million entries of a table
they stand in columns, and whoever iterates does not see the difference.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from typing import TypeVar, cast, overload

from app.routing import document
from app.routing.credential import Credential
from app.routing.entries import CARRIED, TableEntries
from app.routing.next_hop import EntryHop
from app.routing.ordering import in_order
from app.routing.relay_map import OutOfService, RelayMap
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


class EntryChanges(Sequence[Change]):
    """What becomes of many entries of one table, without an object for each.

    Attributes:
        table: its name.
        keys: each of them once.
        befores: the next hop that each had; None is absence.
        afters: the one that each has then.
        between: all entries before, and after, where these are at hand: who has the former needs
            not work out the latter again.
    """

    __slots__ = ("afters", "befores", "between", "keys", "table")

    def __init__(
        self,
        table: str,
        keys: Sequence[str],
        befores: Sequence[EntryHop | None],
        afters: Sequence[EntryHop | None],
        between: tuple[TableEntries, TableEntries] | None = None,
    ) -> None:
        self.table = table
        self.keys = keys
        self.befores = befores
        self.afters = afters
        self.between = between

    def inverted(self) -> "EntryChanges":
        """The changes that undo these."""
        between = None if self.between is None else (self.between[1], self.between[0])
        return EntryChanges(self.table, self.keys, self.afters, self.befores, between)

    def made_of(self, entries: TableEntries) -> TableEntries:
        """What becomes of some entries."""
        if self.between is not None and self.between[0] is entries and len(self) > CARRIED:
            return self.between[1]
        return entries.after_all(self.keys, self.afters)

    @property
    def only_adds(self) -> bool:
        """Whether it is known, without a look at them all, that none of the entries was there."""
        return self.between is not None and not self.between[0]

    def __len__(self) -> int:
        """How many entries."""
        return len(self.keys)

    def __iter__(self) -> Iterator[Change]:
        """Each as a change of its own, made for as long as it is looked at."""
        for key, before, after in zip(self.keys, self.befores, self.afters, strict=True):
            yield Change(Subject(Kind.ENTRY, self.table, key), before, after)

    @overload
    def __getitem__(self, index: int) -> Change: ...
    @overload
    def __getitem__(self, index: slice) -> "EntryChanges": ...
    def __getitem__(self, index: int | slice) -> "Change | EntryChanges":
        """One change, or some of them."""
        keys, befores, afters = self.keys[index], self.befores[index], self.afters[index]
        if isinstance(index, slice):
            return EntryChanges(self.table, keys, befores, afters)  # type: ignore[arg-type]
        subject = Subject(Kind.ENTRY, self.table, cast("str", keys))
        return Change(subject, cast("EntryHop | None", befores), cast("EntryHop | None", afters))


Part = tuple[Change, ...] | EntryChanges


class Changes(Sequence[Change]):
    """Changes in the order in which they are made.

    Attributes:
        parts: those that stand for themselves, and those that stand in columns.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: Iterable[Part]) -> None:
        self.parts: tuple[Part, ...] = tuple(part for part in parts if part)

    def __len__(self) -> int:
        """How many changes."""
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[Change]:
        """Each of them."""
        return chain.from_iterable(self.parts)

    @overload
    def __getitem__(self, index: int) -> Change: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Change, ...]: ...
    def __getitem__(self, index: int | slice) -> Change | tuple[Change, ...]:
        """One change, or some of them. Looks through all."""
        return tuple(self)[index]


def parts_of(changes: Iterable[Change]) -> tuple[Part, ...]:
    """Changes by how they stand: for themselves, or in columns."""
    if isinstance(changes, Changes):
        return changes.parts
    return (changes,) if isinstance(changes, EntryChanges) else (tuple(changes),)


def one_by_one(changes: Iterable[Change]) -> Iterator[Change]:
    """The changes that stand for themselves: all but those of many entries."""
    for part in parts_of(changes):
        if not isinstance(part, EntryChanges):
            yield from part


def joined(parts: Iterable[Part]) -> Sequence[Change]:
    """All changes of some parts, in the order of these."""
    found = Changes(parts)
    match found.parts:
        case (only,):
            return only
        case several if any(isinstance(part, EntryChanges) for part in several):
            return found
        case several:
            return tuple(chain.from_iterable(several))


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
    return collection.get(key_of(subject))  # type: ignore[no-any-return]


def key_of(subject: Subject) -> str | tuple[str, str]:
    """The key of a subject in its collection."""
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


def apply(
    table: RoutingTable, changes: Iterable[Change], revision: int | None = None
) -> RoutingTable:
    """The table after the changes; `revision` is its new number, else the old one stays.

    It costs as much as is changed, whatever the tables hold.
    """
    touched: dict[str, dict[object, object]] = {}
    entries: dict[str, TableEntries] = {}
    for part in parts_of(changes):
        if isinstance(part, EntryChanges):
            held = entries.get(part.table)
            held = table.entries_of(part.table) if held is None else held
            entries[part.table] = part.made_of(held)
            continue
        single: dict[str, dict[str, EntryHop | None]] = {}
        for change in part:
            subject = change.subject
            if subject.kind is Kind.ENTRY:
                single.setdefault(subject.name, {})[subject.member] = change.after  # type: ignore[assignment]
                continue
            attribute = COLLECTION[subject.kind]
            if attribute not in touched:
                touched[attribute] = dict(getattr(table, attribute))
            set_in(touched[attribute], key_of(subject), change.after)
        for name, some in single.items():
            held = entries.get(name)
            entries[name] = (table.entries_of(name) if held is None else held).after(some)
    parts: dict[str, object] = dict(touched)
    if entries or "tables" in touched:
        tables = cast("Iterable[str]", touched.get("tables", table.tables))
        parts["entries"] = {name: entries.get(name, table.entries_of(name)) for name in tables}
    number = table.revision if revision is None else revision
    return replace(table, revision=number, **parts)  # type: ignore[arg-type]


def set_in(collection: dict, key: object, value: object) -> None:  # type: ignore[type-arg]
    """Give a key a value; None removes it."""
    if value is None:
        collection.pop(key, None)
    else:
        collection[key] = value


def invert(changes: Iterable[Change]) -> Sequence[Change]:
    """The changes that undo these, last first."""
    return joined(
        part.inverted()
        if isinstance(part, EntryChanges)
        else tuple(change.inverted() for change in reversed(part))
        for part in reversed(parts_of(changes))
    )


def diff(old: RoutingTable, new: RoutingTable) -> Sequence[Change]:
    """The changes that make `new` out of `old`, in a stable order."""
    found: list[Change] = []
    for kind, attribute in COLLECTION.items():
        for key, before, after in _differences(getattr(old, attribute), getattr(new, attribute)):
            found.append(Change(_subject(kind, key), before, after))
    rest = [
        entry_changes(name, old.entries_of(name), new.entries_of(name))
        for name in sorted(set(old.entries) | set(new.entries))
    ]
    return joined([tuple(change for change in found if not is_same(change)), *rest])


def entry_changes(table: str, old: TableEntries, new: TableEntries) -> Part:
    """The changes that make some entries of a table out of others, by key."""
    different = (
        [key for key, before, after in old.differences(new) if is_other_hop(before, after)]
        if old
        else [key for leaf in new.leaves() for key in leaf]  # list() lets no other thread run
    )
    keys = in_order(different)
    befores = old.get_all(keys) if old else [None] * len(keys)
    afters = new.get_all(keys) if new else [None] * len(keys)
    many = EntryChanges(table, keys, befores, afters, (old, new))
    return many if len(keys) > FEW else tuple(many)


FEW = 1_000
"""Changes of entries that an edit brings one by one."""


def is_other_hop(before: EntryHop | None, after: EntryHop | None) -> bool:
    """Whether two next hops of an entry are not written alike; None is absence."""
    if before is after:
        return False
    return before is None or after is None or str(before) != str(after)


def _subject(kind: Kind, key: str | tuple[str, str]) -> Subject:
    return Subject(kind, *key) if isinstance(key, tuple) else Subject(kind, key)


def _differences(
    before: Mapping[K, V], after: Mapping[K, V]
) -> Iterator[tuple[K, V | None, V | None]]:
    for key in sorted(set(before) | set(after), key=str):
        if before.get(key) is not after.get(key):
            yield key, before.get(key), after.get(key)
