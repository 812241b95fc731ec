"""Changes of many entries as the journal keeps them: columns in slices, compressed."""

import json
import zlib
from collections.abc import Iterator

from app.routing.change import EntryChanges
from app.routing.document import canonical_json
from app.routing.errors import ControlError
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.server.storage import StorageDamaged

_SLICE = 1_000
"""Entries written down, or read, at a time: bounds memory, and how long other threads wait."""
_LEVEL = 1
_READ = 1 << 16
"""Octets that are expanded at a time."""
_ABSENT = -1


def packed(changes: EntryChanges) -> bytes:
    """The entries, with their next hops before and after; about four octets for each of a million.

    A slice is a line of JSON: the next hops that were not named before, the keys, and for each of
    these the number of its next hop before and after, in the order in which they were named.
    """
    squeezed = zlib.compressobj(_LEVEL)
    named = _Named()
    found: list[bytes] = []
    for start in range(0, len(changes), _SLICE):
        part = slice(start, start + _SLICE)
        sides = [
            [named.number(hop) for hop in column[part]]
            for column in (changes.befores, changes.afters)
        ]
        line = canonical_json([named.new(), list(changes.keys[part]), *sides])
        found.append(squeezed.compress(line + b"\n"))
    found.append(squeezed.flush())
    return b"".join(found)


class _Named:
    """The next hops that were named so far, by their spelling, and the number of each."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._by_object: dict[int, int] = {}
        self._new: list[str] = []

    def number(self, hop: EntryHop | None) -> int:
        """The number of a next hop."""
        if hop is None:
            return _ABSENT
        known = self._by_object.get(id(hop))  # most entries share the object of their next hop
        if known is None:
            text = str(hop)
            known = self._numbers.get(text)
            if known is None:
                known = self._numbers[text] = len(self._numbers)
                self._new.append(text)
            self._by_object[id(hop)] = known
        return known

    def new(self) -> list[str]:
        """Those that were not named before the last call."""
        new, self._new = self._new, []
        return new


def unpacked(table: str, kept: bytes) -> EntryChanges:
    """What `packed` wrote of the entries of a table.

    Raises:
        StorageDamaged: it wrote nothing of the kind.
    """
    try:
        return _unpacked(table, kept)
    except (ControlError, IndexError, TypeError, ValueError) as wrong:
        raise StorageDamaged("many entries of the journal cannot be read") from wrong


def _unpacked(table: str, kept: bytes) -> EntryChanges:
    hops: list[EntryHop | None] = []
    keys: list[str] = []
    befores: list[EntryHop | None] = []
    afters: list[EntryHop | None] = []
    for line in _lines(kept):
        new, some, before, after = json.loads(line)
        hops[-1:] = [*(parse_entry_hop(each) for each in new), None]  # None is found by -1
        keys += some
        befores += [hops[number] for number in before]
        afters += [hops[number] for number in after]
    if not len(keys) == len(befores) == len(afters):
        raise ValueError("columns of different lengths")
    return EntryChanges(table, keys, befores, afters)


def _lines(kept: bytes) -> Iterator[bytes]:
    expanded = zlib.decompressobj()
    rest = b""
    try:
        for start in range(0, len(kept), _READ):
            text = rest + expanded.decompress(kept[start : start + _READ])
            *lines, rest = text.split(b"\n")
            yield from lines
    except zlib.error as wrong:
        raise ValueError("it cannot be expanded") from wrong
    if rest or not expanded.eof:
        raise ValueError("it ends early")
