"""The entries of one table, however many: look-up, the next hops in use, and a digest of them all.

What is known of all entries is carried from one state of them to the next by what changed: nothing
here looks at a million entries because one of them was edited.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from app.routing.next_hop import EntryHop, is_plain
from app.routing.shards import Shards

_WIDTH = 336
"""Octets of a row's hash: two blocks of SHAKE-128.

Sums modulo 2^2688 of as many rows as two tables may hold (2^24) collide, by the best way that is
known (Wagner's for many lists), after 2^107 rows kept in memory and 2^131 hashed; 2^64 or XOR would
fall to anybody who may write entries.
"""
_MODULUS = 1 << (8 * _WIDTH)
CARRIED = 4096
"""With more changes at once than that, what is known is worked out anew when it is asked for."""

_First: TypeAlias = Mapping[EntryHop, str]
"""The first key, by name, of each noted next hop in a part of the entries."""


@dataclass(frozen=True, slots=True)
class EntriesDigest:
    """A digest of a set of entries, the same in whatever order and by whatever edits they came.

    Attributes:
        count: of entries.
        total: the sum of their hashes.
    """

    count: int = 0
    total: int = 0

    @classmethod
    def of(cls, entries: Mapping[str, EntryHop]) -> Self:
        """The digest of these entries; 2 µs for each."""
        hops = {id(hop): hop for hop in entries.values()}  # a million entries share a few
        texts = {number: str(hop) for number, hop in hops.items()}
        total = sum(_hash(key, texts[id(hop)]) for key, hop in entries.items())
        return cls(len(entries), total % _MODULUS)

    def with_(self, key: str, before: EntryHop | None, after: EntryHop | None) -> Self:
        """The digest once one entry is another; None is absence."""
        gone = 0 if before is None else _hash(key, str(before))
        come = 0 if after is None else _hash(key, str(after))
        count = self.count - (before is not None) + (after is not None)
        return type(self)(count, (self.total - gone + come) % _MODULUS)

    def hex(self) -> str:
        """SHA-256 over the sum, in hex."""
        return hashlib.sha256(self.total.to_bytes(_WIDTH, "big")).hexdigest()

    def to_bytes(self) -> bytes:
        """What `from_bytes` reads: to go on from, where the entries are kept elsewhere."""
        return self.count.to_bytes(8, "big") + self.total.to_bytes(_WIDTH, "big")

    @classmethod
    def from_bytes(cls, kept: bytes) -> Self:
        """The digest that `to_bytes` wrote. Raises ValueError for anything else."""
        if len(kept) != 8 + _WIDTH:
            raise ValueError(f"a digest of entries has {8 + _WIDTH} octets")
        return cls(int.from_bytes(kept[:8], "big"), int.from_bytes(kept[8:], "big"))


def _hash(key: str, via: str) -> int:
    # The length makes it plain where the key ends, whatever is in it.
    row = f"{len(key)} {key} {via}".encode()
    return int.from_bytes(hashlib.shake_128(row).digest(_WIDTH), "big")


class TableEntries(Shards[str, EntryHop]):
    """The entries of one table by canonical key: immutable.

    Attributes:
        known: what was found out about them all.
    """

    __slots__ = ("known",)

    def __init__(self, rows: Mapping[str, EntryHop] | None = None) -> None:
        super().__init__(rows)
        self.known = Known()

    @property
    def digest(self) -> EntriesDigest:
        """The digest of all; worked out once, then carried on."""
        digest = self.known.digest
        if digest is None:
            digest = self.known.digest = EntriesDigest.of(self)
        return digest

    @property
    def hops(self) -> Shards[EntryHop, int]:
        """Each next hop that an entry has, with how many have it."""
        hops = self.known.hops
        if hops is None:
            hops = self.known.hops = Shards(_counted(self))
        return hops

    @property
    def noted(self) -> Shards[EntryHop, int]:
        """As `hops`, without those that are plain."""
        noted = self.known.noted
        if noted is None:
            counted = _counted(self) if self.known.hops is None else self.known.hops
            noted = Shards({hop: n for hop, n in counted.items() if not is_plain(hop)})
            self.known.noted = noted
        return noted

    def prepare(self) -> None:
        """Find out what every edit asks for; whoever makes a million entries does it there."""
        self.known.noted = self.noted

    def first_key(self, hop: EntryHop) -> str:
        """The first key, by name, that has a next hop of `noted`. Raises KeyError for others.

        All entries are looked at by the first question; later, those parts that changed since.
        """
        known = self.known
        found = known.first.get(hop)
        if found is None:
            known.seen = known.seen.of(self)
            found = known.seen.key(hop)
            known.first = known.first.after({hop: found})
        return found

    def after_all(
        self, keys: Collection[str], values: Collection[EntryHop | None]
    ) -> "TableEntries":
        """See `Shards.after_all`."""
        made = super().after_all(keys, values)
        if made is not self and len(keys) <= CARRIED:
            made.known = self.known.after(self, dict(zip(keys, values, strict=True)))
        return made


class LayeredEntries(TableEntries):
    """Entries that are kept elsewhere, and what became of some of them since.

    Attributes:
        base: the entries as they are kept.
        over: what became of some of them, and what came; None is absence.
    """

    __slots__ = ("base", "over")

    def __init__(
        self,
        base: Mapping[str, EntryHop],
        over: Mapping[str, EntryHop | None],
        length: int,
    ) -> None:
        """Take what is kept.

        Args:
            base: see above.
            over: see above; copied.
            length: how many entries there are with both.
        """
        super().__init__()
        self.base = base
        self.over = dict(over)
        self.length = length

    def after_all(
        self, keys: Collection[str], values: Collection[EntryHop | None]
    ) -> "LayeredEntries":
        """See `Shards.after_all`; it costs as much as is over the base as well."""
        changes = dict(zip(keys, values, strict=True))
        moved = sum((value is not None) - (key in self) for key, value in changes.items())
        made = LayeredEntries(self.base, {**self.over, **changes}, self.length + moved)
        if len(changes) <= CARRIED:
            made.known = self.known.after(self, changes)
        return made

    def differences(
        self, other: Shards[str, EntryHop]
    ) -> Iterator[tuple[str, EntryHop | None, EntryHop | None]]:
        """See `Shards.differences`."""
        if not (isinstance(other, LayeredEntries) and self.base is other.base):
            yield from super().differences(other)
            return
        for key in {**self.over, **other.over}:
            before, after = self.get(key), other.get(key)
            if before is not after:
                yield key, before, after

    def get_all(self, keys: Iterable[str]) -> list[EntryHop | None]:
        """See `Shards.get_all`."""
        return list(map(self.get, keys))

    def joined(self, rows: Shards[str, EntryHop]) -> "LayeredEntries":
        """See `Shards.joined`."""
        return self.after_all(list(rows), list(rows.values()))

    def unshared(self, other: Shards[str, EntryHop]) -> Iterator[Mapping[str, EntryHop]]:
        """See `Shards.unshared`."""
        del other
        return self.leaves()

    def branches(self) -> tuple[tuple[Mapping[str, EntryHop], ...], ...]:
        """All entries in one part."""
        whole = dict(self.base.items())  # without a look-up for each
        for key, hop in self.over.items():
            if hop is None:
                whole.pop(key, None)
            else:
                whole[key] = hop
        return ((whole,),)

    def __getitem__(self, key: str) -> EntryHop:
        """The next hop of a key. Raises KeyError."""
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def get(self, key: str, default: object = None, /) -> EntryHop | None:  # type: ignore[override]
        """The next hop of a key; None where there is none."""
        del default
        over = self.over
        return over[key] if key in over else self.base.get(key)

    def __contains__(self, key: object) -> bool:
        """Whether the key has a next hop."""
        return self.get(str(key)) is not None


class Draft(LayeredEntries):
    """Entries that are being edited, one write after the other, in place."""

    __slots__ = ()

    @classmethod
    def from_entries(cls, entries: TableEntries) -> "Draft":
        """A draft of what becomes of some entries, which stay as they are."""
        return cls(entries, {}, len(entries))

    def put(self, key: str, hop: EntryHop | None) -> None:
        """Set an entry; None removes it."""
        self.length += (hop is not None) - (key in self)
        self.over[key] = hop


@dataclass(frozen=True, slots=True)
class Firsts:
    """The first keys in each part of some entries.

    Attributes:
        parts: the branches of those entries, of leaves.
        leaves: the first keys in each leaf, by branch.
        branches: the first keys in each branch.
    """

    parts: tuple[tuple[Mapping[str, EntryHop], ...], ...] = ()
    leaves: tuple[tuple[_First, ...], ...] = ()
    branches: tuple[_First, ...] = ()

    def of(self, entries: TableEntries) -> "Firsts":
        """The first keys of other entries: what they do not share with these is looked at."""
        parts = entries.branches()
        leaves: list[tuple[_First, ...]] = []
        branches: list[_First] = []
        is_alike = len(parts) == len(self.parts)
        for number, branch in enumerate(parts):
            if is_alike and branch is self.parts[number]:
                leaves.append(self.leaves[number])
                branches.append(self.branches[number])
            else:
                known = self._known(number) if is_alike else {}
                found = ((leaf, known.get(id(leaf))) for leaf in branch)
                leaves.append(
                    tuple(_first(leaf) if first is None else first for leaf, first in found)
                )
                branches.append(_merged(leaves[-1]))
        return Firsts(parts, tuple(leaves), tuple(branches))

    def _known(self, number: int) -> Mapping[int, _First]:
        leaves = zip(self.parts[number], self.leaves[number], strict=True)
        return {id(leaf): first for leaf, first in leaves}

    def key(self, hop: EntryHop) -> str:
        """The first key that has a noted next hop. Raises KeyError for others."""
        keys = [first[hop] for first in self.branches if hop in first]
        if not keys:
            raise KeyError(hop)
        return min(keys)


_NO_FIRSTS = Firsts()


@dataclass(slots=True)
class Known:
    """What is known of some entries; None is what nobody asked for yet.

    Attributes:
        digest: of all.
        hops: how many have each next hop.
        noted: the same, without plain ones.
        first: the first key, by name, of noted ones for which that is sure.
        seen: the first keys in each part of these entries, or of some that they come from.
    """

    digest: EntriesDigest | None = None
    hops: Shards[EntryHop, int] | None = None
    noted: Shards[EntryHop, int] | None = None
    first: Shards[EntryHop, str] = field(default_factory=Shards)
    seen: Firsts = _NO_FIRSTS

    def after(self, entries: TableEntries, changes: Mapping[str, EntryHop | None]) -> "Known":
        """What is known after changes of those entries."""
        digest = self.digest
        if digest is not None:
            for key, hop in changes.items():
                digest = digest.with_(key, entries.get(key), hop)
        moved = Counter(hop for hop in changes.values() if hop is not None)
        moved.subtract(hop for hop in map(entries.get, changes) if hop is not None)
        noted = {hop: n for hop, n in moved.items() if not is_plain(hop)}
        return Known(
            digest=digest,
            hops=_moved(self.hops, moved),
            noted=_moved(self.noted, noted),
            first=self._first_after(entries, changes),
            seen=self.seen,
        )

    def _first_after(
        self, entries: TableEntries, changes: Mapping[str, EntryHop | None]
    ) -> Shards[EntryHop, str]:
        """Where the first one goes, the next is not known."""
        if not self.first:
            return self.first
        gone = {hop for key in changes if (hop := entries.get(key)) and self.first.get(hop) == key}
        first: dict[EntryHop, str | None] = dict.fromkeys(gone)
        for key, hop in changes.items():
            if hop is not None and hop not in gone and not is_plain(hop):
                known = first.get(hop) or self.first.get(hop)
                if known is not None or hop not in entries.noted:
                    first[hop] = min(key, known or key)
        return self.first.after(first)


def _first(leaf: Mapping[str, EntryHop]) -> _First:
    hops = {id(hop): hop for hop in leaf.values()}
    noted = {number for number, hop in hops.items() if not is_plain(hop)}
    first: dict[int, str] = {}
    if noted:
        for key, hop in leaf.items():
            number = id(hop)
            if number in noted and key < first.setdefault(number, key):
                first[number] = key
    return _merged({hops[number]: key} for number, key in first.items())


def _merged(firsts: Iterable[_First]) -> _First:
    merged: dict[EntryHop, str] = {}
    for first in firsts:
        for hop, key in first.items():
            if key < merged.setdefault(hop, key):
                merged[hop] = key
    return merged


def _moved(
    counts: Shards[EntryHop, int] | None, moved: Mapping[EntryHop, int]
) -> Shards[EntryHop, int] | None:
    """Counts once they moved by so much; None where they are not known."""
    if counts is None:
        return None
    return counts.after({hop: counts.get(hop, 0) + n or None for hop, n in moved.items() if n})


def _counted(entries: TableEntries) -> dict[EntryHop, int]:
    """How many entries have each next hop; equal ones are mostly one value, which is quick."""
    hops: dict[int, EntryHop] = {}
    counts: Counter[int] = Counter()
    for leaf in entries.leaves():  # one call over a million would hold up every other thread
        hops.update(zip(map(id, leaf.values()), leaf.values(), strict=True))
        counts.update(map(id, leaf.values()))
    counted: dict[EntryHop, int] = {}
    for number, count in counts.items():
        hop = hops[number]
        counted[hop] = counted.get(hop, 0) + count
    return counted
