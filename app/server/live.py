"""The newest routing in memory: what every question is answered from, without disk or lock."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, count
from types import MappingProxyType

from app.routing.change import Change, EntryChanges, Kind, Subject, parts_of
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.shards import Shards

Part = tuple[Kind, str]
"""A kind of subject; for entries, which may be millions, also their table."""

_NO_ENTRIES: Mapping[str, Mapping[str, "Mark"]] = MappingProxyType({})
MARKED = frozenset({Kind.RELAY_MAP, Kind.TABLE, Kind.ENTRY, Kind.RULE, Kind.CREDENTIAL})


@dataclass(frozen=True, slots=True)
class Mark:
    """When a subject was made and last changed; a map and its relays share one.

    Attributes:
        revision: of its last change.
    """

    revision: int
    created_at: datetime
    updated_at: datetime


def _part(subject: Subject) -> Part:
    return (subject.kind, subject.name if subject.kind is Kind.ENTRY else "")


def _key(subject: Subject) -> str:
    return subject.member if subject.kind is Kind.ENTRY else subject.name


class Marks(Mapping[Subject, Mark]):
    """The marks of a routing, immutable; a successor shares every part that it did not touch."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Mapping[Part, Mapping[str, Mark]] | None = None) -> None:
        given = {} if parts is None else parts
        self._parts = {part: Shards.of(marks) for part, marks in given.items()}

    @classmethod
    def of(
        cls,
        marks: Iterable[tuple[Subject, Mark]],
        entries: Mapping[str, Mapping[str, Mark]] = _NO_ENTRIES,
    ) -> "Marks":
        """The marks of these subjects, and those of entries by table and key."""
        parts: dict[Part, dict[str, Mark]] = {}
        for subject, mark in marks:
            parts.setdefault(_part(subject), {})[_key(subject)] = mark
        of_entries = {(Kind.ENTRY, name): found for name, found in entries.items()}
        return cls({**parts, **of_entries})

    def __getitem__(self, subject: Subject) -> Mark:
        """The mark of a subject. Raises KeyError where it is absent, as states always are."""
        return self._parts[_part(subject)][_key(subject)]

    def __iter__(self) -> Iterator[Subject]:
        """Every subject that has a mark."""
        for (kind, name), marks in self._parts.items():
            for key in marks:
                yield Subject(kind, name, key) if kind is Kind.ENTRY else Subject(kind, key)

    def __len__(self) -> int:
        """How many subjects have a mark."""
        return sum(len(marks) for marks in self._parts.values())

    def leaves(self) -> Iterator[Mapping[str, Mark]]:
        """The marks in the parts in which they are kept."""
        return chain.from_iterable(marks.leaves() for marks in self._parts.values())

    def after(self, changes: Iterable[Change], revision: int, at: datetime) -> "Marks":
        """The marks once these changes are made."""
        after = dict(self._parts)
        for some in parts_of(changes):
            if isinstance(some, EntryChanges):
                part = (Kind.ENTRY, some.table)
                after[part] = _marked(some, after.get(part, _NONE), revision, at)
                continue
            touched: dict[Part, dict[str, Mark | None]] = {}
            for change in some:
                subject = change.subject
                if subject.kind not in MARKED:
                    continue
                part, key = _part(subject), _key(subject)
                old = after.get(part, _NONE).get(key)
                made = None
                if change.after is not None:
                    created = at if old is None or change.before is None else old.created_at
                    made = Mark(revision, created, at)
                touched.setdefault(part, {})[key] = made
            after |= {part: after.get(part, _NONE).after(new) for part, new in touched.items()}
        return Marks(after)


_NONE: Shards[str, Mark] = Shards()


def _marked(
    changes: EntryChanges, held: Shards[str, Mark], revision: int, at: datetime
) -> Shards[str, Mark]:
    """The marks of a table's entries after changes; many share one."""
    new = Mark(revision, at, at)
    if not held and changes.between is not None and len(changes.between[1]) == len(changes):
        return changes.between[1].alike(new)
    changed: dict[datetime, Mark] = {}
    found: list[Mark | None] = []
    for key, before, after in zip(changes.keys, changes.befores, changes.afters, strict=True):
        mark = None if after is None else new
        old = held.get(key) if before is not None and after is not None else None
        if old is not None:
            mark = changed.get(old.created_at)
            if mark is None:
                mark = changed[old.created_at] = Mark(revision, old.created_at, at)
        found.append(mark)
    return held.after_all(changes.keys, found)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent state of routing.

    Attributes:
        history: id of this database's life; revisions of two histories do not compare.
        table: the routing; its revision is the head.
        marks: for maps, tables, entries, rules and credentials.
    """

    history: str
    table: RoutingTable = EMPTY
    marks: Marks = field(default_factory=Marks)

    @property
    def revision(self) -> int:
        """The head."""
        return self.table.revision

    def parts(self) -> list[object]:
        """Everything that it may hold millions of, part by part."""
        entries = (self.table.entries_of(name).leaves() for name in self.table.entries)
        return [*chain.from_iterable(entries), *self.marks.leaves()]


class Live:
    """Holds the newest snapshot, and counts the turns of each map.

    Both belong to one event loop: a snapshot is replaced whole between two awaits.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._turns: defaultdict[str, Iterator[int]] = defaultdict(count)
        self._told: list[Callable[[], None]] = []

    def when_replaced(self, told: Callable[[], None]) -> None:
        """Have something called whenever there is a newer snapshot."""
        self._told.append(told)

    def current(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot

    def replace(self, snapshot: Snapshot) -> None:
        """Make a snapshot the newest; the turns of maps that it still has go on."""
        if snapshot.table.maps is not self._snapshot.table.maps:
            kept = {"", *snapshot.table.maps}
            for name in [name for name in self._turns if name not in kept]:
                del self._turns[name]
        self._snapshot = snapshot
        for told in self._told:
            told()

    def next_turn(self, name: str) -> int:
        """The turn of a map for one question, from 0 on; "" is the turn of plain MX."""
        return next(self._turns[name])

    def turns(self, name: str) -> Iterator[int]:
        """What `next_turn` takes its turns from, until there is a newer snapshot."""
        return self._turns[name]
