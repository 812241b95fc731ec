"""The entries of one table, however many: look-up, the next hops in use, and a digest of them all.

What is known of all entries is carried from one state of them to the next by what changed: nothing
here looks at a million entries because one of them was edited.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from app.routing.next_hop import EntryHop, is_plain
from app.routing.overlay import Overlay

_WIDTH = 336
"""Octets of a row's hash: two blocks of SHAKE-128.

Sums modulo 2^2688 of as many rows as two tables may hold (2^24) collide, by the best way that is
known (Wagner's for many lists), after 2^107 rows kept in memory and 2^131 hashed; 2^64 or XOR would
fall to anybody who may write entries.
"""
_MODULUS = 1 << (8 * _WIDTH)
_CARRIED = 4096
"""With more changes at once than that, what is known is worked out anew when it is asked for."""


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
        texts: dict[int, str] = {id(hop): str(hop) for hop in entries.values()}
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


class TableEntries(Overlay[str, EntryHop]):
    """The entries of one table by canonical key: immutable.

    Attributes:
        known: what was found out about them all.
    """

    __slots__ = ("known",)

    def __init__(
        self,
        base: Mapping[str, EntryHop] | None = None,
        over: Mapping[str, EntryHop | None] | None = None,
        length: int | None = None,
    ) -> None:
        super().__init__(base, over, length)
        self.known = Known()

    @property
    def digest(self) -> EntriesDigest:
        """The digest of all; worked out once, then carried on."""
        digest = self.known.digest
        if digest is None:
            digest = self.known.digest = EntriesDigest.of(self)
        return digest

    @property
    def hops(self) -> Mapping[EntryHop, int]:
        """Each next hop that an entry has, with how many have it."""
        hops = self.known.hops
        if hops is None:
            hops = self.known.hops = Overlay(_counted(self))
        return hops

    @property
    def noted(self) -> Mapping[EntryHop, int]:
        """As `hops`, without those that are plain."""
        noted = self.known.noted
        if noted is None:
            counted = _counted(self)
            noted = Overlay({hop: n for hop, n in counted.items() if not is_plain(hop)})
            self.known.noted = noted
        return noted

    def first_key(self, hop: EntryHop) -> str:
        """The first key, by name, that has a next hop of `noted`. Raises KeyError for others.

        All entries are looked at by the first question, and once more where the first is gone.
        """
        known = self.known.first
        if known is None or hop not in known:
            first: dict[EntryHop, str] = {}
            for key, other in self.items():
                if other in self.noted and key < first.setdefault(other, key):
                    first[other] = key
            known = self.known.first = Overlay(first)
        return known[hop]

    def after(self, changes: Mapping[str, EntryHop | None]) -> Self:
        """The entries with these; None removes one."""
        made = super().after(changes)
        if len(changes) <= _CARRIED:
            made.known = self.known.after(self, changes)
        return made


@dataclass(slots=True)
class Known:
    """What is known of some entries; None is what nobody asked for yet.

    Attributes:
        digest: of all.
        hops: how many have each next hop.
        noted: the same, without plain ones.
        first: the first key, by name, of noted ones for which that is sure.
    """

    digest: EntriesDigest | None = None
    hops: Overlay[EntryHop, int] | None = None
    noted: Overlay[EntryHop, int] | None = None
    first: Overlay[EntryHop, str] | None = None

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
        )

    def _first_after(
        self, entries: TableEntries, changes: Mapping[str, EntryHop | None]
    ) -> Overlay[EntryHop, str] | None:
        """Where the first one goes, the next is not known."""
        if self.first is None:
            return None
        gone = {hop for key in changes if (hop := entries.get(key)) and self.first.get(hop) == key}
        first: dict[EntryHop, str | None] = dict.fromkeys(gone)
        for key, hop in changes.items():
            if hop is not None and hop not in gone and not is_plain(hop):
                known = first.get(hop) or self.first.get(hop)
                if known is not None or hop not in entries.noted:
                    first[hop] = key if known is None else min(key, known)
        return self.first.after(first)


def _moved(
    counts: Overlay[EntryHop, int] | None, moved: Mapping[EntryHop, int]
) -> Overlay[EntryHop, int] | None:
    """Counts once they moved by so much; None where they are not known."""
    if counts is None:
        return None
    return counts.after({hop: counts.get(hop, 0) + n or None for hop, n in moved.items() if n})


class Draft(TableEntries):
    """Entries that are being edited, one write after the other, in place."""

    __slots__ = ()

    @classmethod
    def from_entries(cls, entries: TableEntries) -> "Draft":
        """A draft of what becomes of some entries, which stay as they are."""
        return cls(entries.base, entries.over, len(entries))

    def put(self, key: str, hop: EntryHop | None) -> None:
        """Set an entry; None removes it."""
        self._length += (hop is not None) - (key in self)
        self.over[key] = hop


def _counted(entries: Mapping[str, EntryHop]) -> dict[EntryHop, int]:
    """How many entries have each next hop; equal ones are mostly one value, which is quick."""
    hops = {id(hop): hop for hop in entries.values()}
    counted: dict[EntryHop, int] = {}
    for identity, count in Counter(map(id, entries.values())).items():
        hop = hops[identity]
        counted[hop] = counted.get(hop, 0) + count
    return counted
