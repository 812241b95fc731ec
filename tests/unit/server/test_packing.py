"""Many entries in the journal: small, and what they were."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.change import EntryChanges
from app.routing.next_hop import parse_entry_hop
from app.server.storage import StorageDamaged
from app.server.store.packing import packed, unpacked

HOPS = (None, *map(parse_entry_hop, ("mx", "map:m", "smtp://a.test", "smtp://a.test:25")))


@given(st.lists(st.tuples(st.text(), st.sampled_from(HOPS), st.sampled_from(HOPS))))
def test_what_is_packed_is_unpacked(rows: list[tuple[str, object, object]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    changes = EntryChanges("t", columns[0], columns[1], columns[2])
    found = unpacked("t", packed(changes))
    assert found.keys == columns[0]
    assert list(map(str, found.befores)) == list(map(str, columns[1]))
    assert list(map(str, found.afters)) == list(map(str, columns[2]))


def test_many_entries_take_a_few_octets_each() -> None:
    chance = random.Random(1)
    keys = sorted(f"customer{chance.randrange(10**7)}.example" for _ in range(50_000))
    changes = EntryChanges("t", keys, [None] * 50_000, chance.choices(HOPS[1:], k=50_000))
    kept = packed(changes)
    assert len(kept) < 50_000 * 8
    assert list(unpacked("t", kept)) == list(changes)


GOOD = packed(EntryChanges("t", ["a"], [None], [HOPS[1]]))


squeezed = zlib.compress


@pytest.mark.parametrize(
    "kept",
    [
        GOOD[:-8],
        b"not compressed",
        b"",
        squeezed(b'[["mx"],["a"],[-1],[0]]'),
        squeezed(b'[["mx"],["a","b"],[-1],[0]]\n'),
        squeezed(b"{}\n"),
        squeezed(b"not json\n"),
    ],
)
def test_what_was_not_written_so_is_refused(kept: bytes) -> None:
    with pytest.raises(StorageDamaged, match="cannot be read"):
        unpacked("t", kept)
