"""A digest of the entries of a table, which an edit carries on by what it changed.

It is a sum, so that it hangs on no order, and costs as much as changed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from app.routing.next_hop import EntryHop

_WIDTH = 336
"""Octets of a row's hash: two blocks of SHAKE-128.

Sums modulo 2^2688 of as many rows as two tables may hold (2^24) collide, by the best way that is
known (Wagner's for many lists), after 2^107 rows kept in memory and 2^131 hashed; 2^64 or XOR would
fall to anybody who may write entries.
"""
_MODULUS = 1 << (8 * _WIDTH)
_MOST_SPELT = 10_000
"""Next hops whose spelling is known again while a digest is made."""


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
        known: dict[int, tuple[EntryHop, str]] = {}  # a million entries mostly share a few
        total = 0
        for key, hop in entries.items():
            told = known.get(id(hop))
            if told is None:
                if len(known) == _MOST_SPELT:
                    known.clear()
                told = known[id(hop)] = hop, str(hop)
            total += _hash(key, told[1])
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
