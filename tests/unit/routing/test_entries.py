"""What is known of all entries of a table is the same, carried on or worked out anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.check import findings
from app.routing.entries import LayeredEntries, TableEntries
from app.routing.entries_digest import EntriesDigest
from app.routing.hop_kinds import Noted, hop_of
from app.routing.next_hop import EntryHop, ViaMap, is_plain, parse_entry_hop
from app.routing.relay_url import RelayURL
from app.routing.routing_table import RoutingTable
from app.routing.table import Table, TableKey
from tests.unit.routing import strategies
from tests.unit.routing.counting import Counting

HOPS: list[EntryHop] = [
    parse_entry_hop(text)
    for text in (
        "mx",
        "map:a",
        "map:b",
        "smtp://r.example",
        "tls://acct@r.example",
        "ssl://r.example:25",
        "smtps://r.example:25",
        "ssl://acct@r.example:587",
        "smtps://acct@r.example:587",
    )
]
KEYS = [f"{letter}.test" for letter in "abcdefgh"]
entries = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(HOPS))
edits = st.lists(
    st.dictionaries(st.sampled_from(KEYS), st.none() | st.sampled_from(HOPS), max_size=4),
    max_size=8,
)


def first_keys(kept: TableEntries) -> dict[Noted, str]:
    return {noted: kept.first_key(hop_of(noted)) for noted in kept.noted}


@given(entries, edits)
def test_what_is_carried_on_is_what_is_found_anew(
    start: dict[str, EntryHop], steps: list[dict[str, EntryHop | None]]
) -> None:
    carried = TableEntries(start)
    for step in [{}, *steps]:
        carried = carried.after(step)
        anew = TableEntries(dict(carried))
        assert carried.digest == anew.digest == EntriesDigest.of(dict(carried))
        assert dict(carried.hops) == dict(anew.hops)
        assert dict(carried.noted) == dict(anew.noted)
        assert dict(carried.kinds) == dict(anew.kinds)
        assert sum(carried.hops.values()) == len(carried)
        assert first_keys(carried) == first_keys(anew)
        assert EntriesDigest.from_bytes(carried.digest.to_bytes()) == carried.digest


@given(entries, entries)
def test_two_sets_of_entries_have_one_digest_only_where_they_are_equal(
    one: dict[str, EntryHop], other: dict[str, EntryHop]
) -> None:
    backwards = EntriesDigest.of(dict(reversed(one.items())))
    assert backwards.hex() == EntriesDigest.of(one).hex()
    same = {key: str(hop) for key, hop in one.items()} == {k: str(hop) for k, hop in other.items()}
    assert (EntriesDigest.of(one) == EntriesDigest.of(other)) == same
    assert (EntriesDigest.of(one).hex() == EntriesDigest.of(other).hex()) == same


def test_where_a_key_ends_is_part_of_the_digest() -> None:
    a, b = ViaMap("x"), ViaMap("x y")
    assert EntriesDigest.of({"k map:x": a}) != EntriesDigest.of({"k": b})
    assert EntriesDigest.of({"k": a, "l": b}) != EntriesDigest.of({"k": b, "l": a})


def test_the_same_digest_is_made_by_every_version() -> None:
    """A server and an agent of two versions compare it: it is not changed by accident."""
    kept = EntriesDigest.of({"a.test": HOPS[0], "b.test": HOPS[4]})
    assert kept.count == 2
    assert kept.hex() == "545baad74e173eae6c734505fc112b5a7403e9e1496ad2ab1b65a4ab4b02aeb5"


def test_a_change_walks_over_no_other_entry() -> None:
    rows = Counting({f"k{number}.test": HOPS[number % len(HOPS)] for number in range(10_000)})
    kept: TableEntries = LayeredEntries(rows, {}, 10_000)
    assert (kept.digest.count, sum(kept.hops.values()), len(kept.noted)) == (10_000, 10_000, 6)
    first_keys(kept)
    walks = rows.walks
    for number in range(2, 52):
        kept = kept.after({f"k{number * 100}.test": HOPS[1], f"new{number}.test": HOPS[4]})
        assert kept.digest.count == len(kept) == sum(kept.hops.values())
        first_keys(kept)
    assert rows.walks == walks


def test_where_the_first_key_goes_one_part_of_the_entries_is_looked_at() -> None:
    kept = TableEntries({f"k{number:05}.test": HOPS[1] for number in range(30_000)})
    assert kept.first_key(HOPS[1]) == "k00000.test"
    for number in range(50):
        seen = {id(first) for branch in kept.known.seen.leaves for first in branch}
        kept = kept.after({f"k{number:05}.test": None})
        assert kept.first_key(HOPS[1]) == f"k{number + 1:05}.test"
        now = [id(first) for branch in kept.known.seen.leaves for first in branch]
        assert len(now) == 4096
        assert len(set(now) - seen) == 1
    with pytest.raises(KeyError):
        kept.first_key(HOPS[2])


@given(st.one_of(strategies.relay_urls, st.sampled_from(HOPS)))
def test_nothing_is_found_against_a_plain_next_hop(hop: EntryHop) -> None:
    """Entries that are plain are not looked at: as a default, the same next hop shows why."""
    table = RoutingTable(tables={"t": Table("t", TableKey.SENDER, hop)}, entries={"t": {}})
    found = {each.code for each in findings(table)} - {"unused-table"}
    assert not found or not is_plain(hop)
    if is_plain(hop):
        assert not isinstance(hop, RelayURL) or hop.credential is None


def test_a_next_hop_may_come_to_be_spelt_otherwise() -> None:
    """Two that mean the same are equal, and yet one of them is warned of and the other is not."""
    old, new = parse_entry_hop("ssl://r.example:587"), parse_entry_hop("smtps://r.example:587")
    assert old == new
    kept = TableEntries({"a.test": old})

    def warned_of(kept: TableEntries) -> list[str]:
        table = RoutingTable(tables={"t": Table("t", TableKey.SENDER, None)}, entries={"t": kept})
        found = [each for each in findings(table) if each.code == "ssl-on-starttls-port"]
        return [each.subject for each in found]

    assert warned_of(kept) == ["tables/t/entries/a.test"]
    kept = kept.after({"a.test": new})
    assert warned_of(kept) == []
    kept = kept.after({"b.test": new, "c.test": old})
    assert warned_of(kept) == ["tables/t/entries/c.test"]
    assert warned_of(kept.after({"b.test": old, "c.test": new})) == ["tables/t/entries/b.test"]
