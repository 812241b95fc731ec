"""Changes of many entries stand in columns, and are what they would be one by one."""

import random
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing import change
from app.routing.change import (
    Change,
    EntryChanges,
    Kind,
    Subject,
    apply,
    diff,
    invert,
    is_other_hop,
    one_by_one,
    parts_of,
)
from app.routing.entries import TableEntries
from app.routing.errors import Unknown
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.routing.ordering import in_order
from app.routing.routing_table import RoutingTable
from app.routing.writes import Delete, Put, PutMany, Write, changes_of
from tests.unit.routing import strategies
from tests.unit.routing.making import routing

HOPS = tuple(map(parse_entry_hop, ("mx", "smtp://a.test", "smtp://a.test:25", "tls://b.test")))
some_entries = st.dictionaries(
    st.sampled_from([f"{letter}.test" for letter in "abcdefgh"]), st.sampled_from(HOPS)
)


@pytest.fixture
def all_in_columns() -> Iterator[None]:
    """However few they are."""
    with patch.object(change, "FEW", 0):
        yield


def with_entries(entries: dict[str, EntryHop]) -> RoutingTable:
    table = routing({"tables": {"t": {"key": "sender"}}})
    writes = [Put(Subject(Kind.ENTRY, "t", key), hop) for key, hop in entries.items()]
    return apply(table, changes_of(table, writes))


@pytest.mark.parametrize(
    "texts",
    [
        [f"d{n}.example" for n in range(40_000)],
        ["one"] * 30_000,
        [f"{'a' * 50}{n}" for n in range(20_000)] + ["z"] * 20_000,
        [],
    ],
)
def test_many_texts_come_in_order(texts: list[str]) -> None:
    random.Random(1).shuffle(texts)
    assert in_order(texts) == sorted(texts)


def test_columns_are_a_sequence_of_changes() -> None:
    many = EntryChanges("t", ["a", "b", "c"], [None, HOPS[0], HOPS[1]], [HOPS[0], None, HOPS[2]])
    each = [
        Change(Subject(Kind.ENTRY, "t", "a"), None, HOPS[0]),
        Change(Subject(Kind.ENTRY, "t", "b"), HOPS[0], None),
        Change(Subject(Kind.ENTRY, "t", "c"), HOPS[1], HOPS[2]),
    ]
    assert list(many) == each
    assert len(many) == 3
    assert many[1] == each[1]
    assert list(many[1:]) == each[1:]
    assert list(many.inverted()) == [one.inverted() for one in each]


@pytest.mark.usefixtures("all_in_columns")
class TestInColumns:
    @given(before=some_entries, entries=some_entries, replaces=st.booleans())
    def test_many_entries_are_put_as_one_by_one(
        self, before: dict[str, EntryHop], entries: dict[str, EntryHop], *, replaces: bool
    ) -> None:
        table = with_entries(before)
        writes: list[Write] = [
            Put(Subject(Kind.ENTRY, "t", key), hop) for key, hop in entries.items()
        ]
        if replaces:
            gone = sorted(before.keys() - entries.keys())
            writes += [Delete(Subject(Kind.ENTRY, "t", key)) for key in gone]
        many = changes_of(table, [PutMany("t", TableEntries(entries), replaces)])
        assert all(isinstance(part, EntryChanges) for part in parts_of(many) if part)
        assert set(many) == set(changes_of(table, writes))
        assert [each.subject.member for each in many] == sorted(e.subject.member for e in many)
        after = apply(table, many)
        assert dict(after.entries["t"]) == ({} if replaces else before) | entries
        assert after.entries_of("t").digest == TableEntries(dict(after.entries["t"])).digest
        assert apply(after, invert(many)) == table
        assert set(diff(table, after)) == set(many)

    @given(st.data())
    def test_any_edit_is_undone_and_found_again(self, data: st.DataObject) -> None:
        table = data.draw(strategies.routings())
        changes = changes_of(table, data.draw(strategies.edits(table)))
        after = apply(table, changes)
        assert apply(after, invert(changes)) == table
        assert apply(table, diff(table, after)) == after

    @given(some_entries, some_entries, some_entries)
    def test_several_writes_of_one_table_come_to_one_change_an_entry(
        self, before: dict[str, EntryHop], first: dict[str, EntryHop], then: dict[str, EntryHop]
    ) -> None:
        table = with_entries(before)
        writes: list[Write] = [
            Put(Subject(Kind.ENTRY, "t", "single.test"), HOPS[0]),
            PutMany("t", TableEntries(first), replaces=True),
            Put(Subject(Kind.ENTRY, "t", "other.test"), HOPS[1]),
            PutMany("t", TableEntries(then)),
        ]
        changes = changes_of(table, writes)
        expected = first | {"other.test": HOPS[1]} | then
        assert dict(apply(table, changes).entries["t"]) == expected
        keys = [each.subject.member for each in changes]
        assert len(keys) == len(set(keys))
        assert all(is_other_hop(before.get(k), expected.get(k)) for k in keys)

    def test_a_table_goes_with_its_entries_and_is_made_anew(self) -> None:
        table = with_entries(dict.fromkeys(("a.test", "b.test"), HOPS[0]))
        anew = routing({"tables": {"t": {"key": "recipient"}}}).tables["t"]
        writes: list[Write] = [
            Delete(Subject(Kind.TABLE, "t")),
            Put(Subject(Kind.TABLE, "t"), anew),
        ]
        changes = changes_of(table, writes)
        assert [each.subject for each in one_by_one(changes)] == [Subject(Kind.TABLE, "t")]
        after = apply(table, changes)
        assert (after.tables["t"], len(after.entries["t"])) == (anew, 0)
        assert apply(after, invert(changes)) == table


def test_entries_of_a_table_that_is_not_there_are_not_put() -> None:
    with pytest.raises(Unknown, match="table"):
        changes_of(RoutingTable(), [PutMany("t", TableEntries({"a.test": HOPS[0]}))])
