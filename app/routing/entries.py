"""The entries of one table, however many: look-up, and what is known of them all.

What is known of all entries is carried from one state of them to the next by what changed: nothing
here looks at a million entries because one of them was edited.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from app.routing.entries_digest import EntriesDigest
from app.routing.first_keys import Firsts
from app.routing.hop_kinds import (
    Credentials,
    HopKind,
    Noted,
    is_doubtful,
    kind_of,
    noted_as,
    summed,
    told,
)
from app.routing.next_hop import EntryHop
from app.routing.shards import Shards

CARRIED = 4096
"""With more changes at once than that, what is known is worked out anew when it is asked for."""


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
    def noted(self) -> Shards[Noted, int]:
        """What next hops are noted as, those that are not plain, with how many entries have it."""
        if self.known.noted is None:
            self._sum_up()
        return self.known.noted or Shards()

    @property
    def kinds(self) -> Shards[HopKind, int]:
        """Each kind of next hop that there is, with how many entries have one."""
        if self.known.kinds is None:
            self._sum_up()
        return self.known.kinds or Shards()

    def _sum_up(self) -> None:
        kinds, noted = summed(self.leaves())
        self.known.kinds, self.known.noted = Shards(kinds), Shards(noted)

    def find_out(self) -> None:
        """Find out hops, kinds and noted ones in one look at all entries, not in two."""
        known = self.known
        if known.hops is None and known.kinds is None:
            counts, hops = _by_object(self)
            known.hops = Shards(_merged_counts(counts, hops))
            kinds, noted = told((hops[number], count) for number, count in counts.items())
            known.kinds, known.noted = Shards(kinds), Shards(noted)
        known.hops, known.noted, known.kinds = self.hops, self.noted, self.kinds

    def doubtful(self, credentials: Credentials) -> Shards[Noted, int]:
        """Those of `noted` of which their kind does not tell all, beside these credentials.

        All of `noted` are looked at where the credentials are others than last time.
        """
        known = self.known.doubtful
        if known is None or known[0] is not credentials:
            noted = self.noted.items()
            found = {each: n for each, n in noted if is_doubtful(each, credentials)}
            known = self.known.doubtful = credentials, Shards(found)
        return known[1]

    def prepare(self) -> None:
        """Find out what every edit asks for; whoever makes a million entries does it there."""
        if self.known.kinds is None or self.known.noted is None:
            self._sum_up()

    def first_key(self, hop: EntryHop) -> str:
        """The first key, by name, that has a next hop of `noted`. Raises KeyError for others.

        All entries are looked at by the first question; later, those parts that changed since.
        """
        known, noted = self.known, noted_as(hop)
        if noted is None:
            raise KeyError(hop)
        found = known.first.get(noted)
        if found is None:
            known.seen = known.seen.of(self.branches())
            found = known.seen.key(noted)
            known.first = known.first.after({noted: found})
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

    def get_all(self, keys: Collection[str]) -> list[EntryHop | None]:
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


_NO_FIRSTS = Firsts()


@dataclass(slots=True)
class Known:
    """What is known of some entries; None is what nobody asked for yet.

    Attributes:
        digest: of all.
        hops: how many have each next hop.
        noted: how many have each that is not plain.
        kinds: how many have a next hop of each kind.
        doubtful: those of the noted ones that are, beside those very credentials.
        first: the first key, by name, of noted ones for which that is sure.
        seen: the first keys in each part of these entries, or of some that they come from.
        in_order: keys and next hops by key, where they came so, until somebody wrote them down.
    """

    digest: EntriesDigest | None = None
    hops: Shards[EntryHop, int] | None = None
    noted: Shards[Noted, int] | None = None
    kinds: Shards[HopKind, int] | None = None
    doubtful: tuple[Credentials, Shards[Noted, int]] | None = None
    first: Shards[Noted, str] = field(default_factory=Shards)
    seen: Firsts = _NO_FIRSTS
    in_order: tuple[list[str], list[EntryHop]] | None = None

    def after(self, entries: TableEntries, changes: Mapping[str, EntryHop | None]) -> "Known":
        """What is known after changes of those entries."""
        digest = self.digest
        if digest is not None:
            for key, hop in changes.items():
                digest = digest.with_(key, entries.get(key), hop)
        moved = Counter(hop for hop in changes.values() if hop is not None)
        moved.subtract(hop for hop in map(entries.get, changes) if hop is not None)
        noted: Counter[Noted] = Counter()
        noted.update(filter(None, map(_noted, changes.values())))
        noted.subtract(filter(None, map(_noted, map(entries.get, changes))))
        return Known(
            digest=digest,
            hops=_moved(self.hops, moved),
            noted=_moved(self.noted, noted),
            kinds=self._kinds_after(moved),
            doubtful=self._doubtful_after(noted),
            first=self._first_after(entries, changes),
            seen=self.seen,
        )

    def _kinds_after(self, moved: Mapping[EntryHop, int]) -> Shards[HopKind, int] | None:
        if self.kinds is None:
            return None
        kinds: Counter[HopKind] = Counter()
        for hop, n in moved.items():
            kinds[kind_of(hop)] += n
        return _moved(self.kinds, kinds)

    def _doubtful_after(
        self, noted: Mapping[Noted, int]
    ) -> tuple[Credentials, Shards[Noted, int]] | None:
        if self.doubtful is None:
            return None
        credentials, before = self.doubtful
        moved = {each: n for each, n in noted.items() if is_doubtful(each, credentials)}
        return credentials, before.after(_counts_after(before, moved))

    def _first_after(
        self, entries: TableEntries, changes: Mapping[str, EntryHop | None]
    ) -> Shards[Noted, str]:
        """Where the first one goes, the next is not known."""
        if not self.first:
            return self.first
        gone: set[Noted] = set()
        for key in changes:
            before = _noted(entries.get(key))
            if before is not None and self.first.get(before) == key:
                gone.add(before)
        first: dict[Noted, str | None] = dict.fromkeys(gone)
        for key, hop in changes.items():
            noted = _noted(hop)
            if noted is not None and noted not in gone:
                known = first.get(noted) or self.first.get(noted)
                if known is not None or noted not in entries.noted:
                    first[noted] = min(key, known or key)
        return self.first.after(first)


def _noted(hop: EntryHop | None) -> Noted | None:
    return None if hop is None else noted_as(hop)


_H = TypeVar("_H")


def _moved(counts: Shards[_H, int] | None, moved: Mapping[_H, int]) -> Shards[_H, int] | None:
    """Counts once they moved by so much; None where they are not known."""
    return None if counts is None else counts.after(_counts_after(counts, moved))


def _counts_after(counts: Shards[_H, int], moved: Mapping[_H, int]) -> dict[_H, int | None]:
    return {each: counts.get(each, 0) + n or None for each, n in moved.items() if n}


def _counted(entries: TableEntries) -> dict[EntryHop, int]:
    """How many entries have each next hop."""
    return _merged_counts(*_by_object(entries))


def _by_object(entries: TableEntries) -> tuple[Counter[int], dict[int, EntryHop]]:
    """How many entries have each object that is a next hop: equal ones are mostly one."""
    hops: dict[int, EntryHop] = {}
    counts: Counter[int] = Counter()
    for leaf in entries.leaves():  # one call over a million would hold up every other thread
        hops.update(zip(map(id, leaf.values()), leaf.values(), strict=True))
        counts.update(map(id, leaf.values()))
    return counts, hops


def _merged_counts(counts: Counter[int], hops: Mapping[int, EntryHop]) -> dict[EntryHop, int]:
    counted: dict[EntryHop, int] = {}
    for number, count in counts.items():
        hop = hops[number]
        counted[hop] = counted.get(hop, 0) + count
    return counted
