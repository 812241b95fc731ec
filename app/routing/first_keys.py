"""The first key, by name, of each noted next hop: found part by part of the entries of a table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from app.routing.hop_kinds import Noted, noted_as
from app.routing.next_hop import EntryHop

_First: TypeAlias = Mapping[Noted, str]
"""The first key, by name, of each noted next hop in a part of the entries."""
_Parts: TypeAlias = tuple[tuple[Mapping[str, EntryHop], ...], ...]


@dataclass(frozen=True, slots=True)
class Firsts:
    """The first keys in each part of some entries.

    Attributes:
        parts: the branches of those entries, of leaves.
        leaves: the first keys in each leaf, by branch.
        branches: the first keys in each branch.
    """

    parts: _Parts = ()
    leaves: tuple[tuple[_First, ...], ...] = ()
    branches: tuple[_First, ...] = ()

    def of(self, parts: _Parts) -> "Firsts":
        """The first keys of other branches: what they do not share with these is looked at."""
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

    def key(self, hop: Noted) -> str:
        """The first key that has a noted next hop. Raises KeyError for others."""
        keys = [first[hop] for first in self.branches if hop in first]
        if not keys:
            raise KeyError(hop)
        return min(keys)


def _first(leaf: Mapping[str, EntryHop]) -> _First:
    hops = {id(hop): hop for hop in leaf.values()}
    told = ((number, noted_as(hop)) for number, hop in hops.items())
    noted = {number: each for number, each in told if each is not None}
    first: dict[int, str] = {}
    if noted:
        for key, hop in leaf.items():
            number = id(hop)
            if number in noted and key < first.setdefault(number, key):
                first[number] = key
    return _merged({noted[number]: key} for number, key in first.items())


def _merged(firsts: Iterable[_First]) -> _First:
    merged: dict[Noted, str] = {}
    for first in firsts:
        for hop, key in first.items():
            if key < merged.setdefault(hop, key):
                merged[hop] = key
    return merged
