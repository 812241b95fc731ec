"""Changes can be applied, undone and found again, and a write changes what it says and no more."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.change import (
    Change,
    Kind,
    Subject,
    apply,
    current,
    diff,
    invert,
    read_value,
    value_document,
)
from app.routing.errors import Invalid, Unknown
from app.routing.next_hop import MX
from app.routing.relay_map import OutOfService, Relay
from app.routing.relay_url import parse_relay_url
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.rule import Reject, Rule
from app.routing.table import Table, TableKey
from app.routing.writes import Delete, DeleteRelay, Put, PutRelay, Write, changes_of
from tests.unit.routing import strategies
from tests.unit.routing.making import routing

POOL = Subject(Kind.RELAY_MAP, "pool")


def two_relays() -> RoutingTable:
    return routing(
        {
            "maps": {"pool": {"policy": "random", "relays": ["smtp://a", "smtp://b"]}},
            "out": ["pool/a"],
            "tables": {"t": {"key": "sender", "entries": {"a.test": "mx", "b.test": "map:pool"}}},
        }
    )


@st.composite
def edited(draw: st.DrawFn) -> tuple[RoutingTable, tuple[Write, ...]]:
    table = draw(strategies.routings())
    return table, draw(strategies.edits(table))


@given(edited())
def test_undoing_changes_gives_back_what_was_there(edit: tuple[RoutingTable, list[Write]]) -> None:
    table, writes = edit
    changes = changes_of(table, writes)
    assert apply(apply(table, changes), invert(changes)) == table


def test_the_last_of_several_changes_of_a_subject_is_undone_first() -> None:
    rule = Subject(Kind.RULE, "r")
    first, second = Rule("r1", "r", Reject()), Rule("r1", "r", Reject("No"))
    history = [Change(rule, None, first), Change(rule, first, second)]
    assert apply(apply(EMPTY, history), invert(history)) == EMPTY


@given(edited())
def test_writes_one_by_one_end_where_all_at_once_do(
    edit: tuple[RoutingTable, list[Write]],
) -> None:
    table, writes = edit
    stepwise = table
    for write in writes:
        stepwise = apply(stepwise, changes_of(stepwise, [write]))
    assert apply(table, changes_of(table, writes)) == stepwise


@given(edited())
def test_a_change_names_a_subject_once_with_its_value_before(
    edit: tuple[RoutingTable, list[Write]],
) -> None:
    table, writes = edit
    changes = changes_of(table, writes)
    assert len({change.subject for change in changes}) == len(changes)
    for change in changes:
        assert change.before == current(table, change.subject)
        assert value_document(change.subject, change.before) != value_document(
            change.subject, change.after
        )


@given(strategies.routings(), strategies.routings())
def test_the_difference_of_two_routings_makes_one_of_the_other(
    old: RoutingTable, new: RoutingTable
) -> None:
    assert apply(old, diff(old, new), new.revision) == new
    assert diff(old, old) == ()
    assert set(diff(new, old)) == {change.inverted() for change in diff(old, new)}


@given(edited())
def test_what_changed_is_the_difference(edit: tuple[RoutingTable, list[Write]]) -> None:
    table, writes = edit
    changes = changes_of(table, writes)
    assert set(diff(table, apply(table, changes))) == set(changes)


@given(strategies.routings())
def test_putting_what_is_there_changes_nothing(table: RoutingTable) -> None:
    again = [
        *(Put(Subject(Kind.RELAY_MAP, name), value) for name, value in table.maps.items()),
        *(Put(Subject(Kind.TABLE, name), value) for name, value in table.tables.items()),
        *(Put(Subject(Kind.RULE, name), value) for name, value in table.rules.items()),
        *(Put(Subject(Kind.RELAY_STATE, *key), value) for key, value in table.states.items()),
    ]
    assert changes_of(table, again) == ()


@given(strategies.routings())
def test_a_journalled_value_is_read_back(table: RoutingTable) -> None:
    for change in diff(EMPTY, table):
        stored = value_document(change.subject, change.after)
        assert read_value(change.subject, stored) == change.after
        assert value_document(change.subject, read_value(change.subject, stored)) == stored


def test_another_spelling_of_the_same_meaning_is_a_change() -> None:
    table = two_relays()
    respelt = replace(table.maps["pool"].relays[0], url=parse_relay_url("smtp://a:25"))
    (change,) = changes_of(table, [PutRelay("pool", respelt)])
    assert change.before == change.after
    assert str(apply(table, [change]).maps["pool"].relays[0].url) == "smtp://a:25"


def test_a_relay_is_replaced_in_its_place_or_comes_last() -> None:
    table = two_relays()
    first = Relay("a", parse_relay_url("smtp://z"))
    third = Relay("c", parse_relay_url("smtp://c"))
    after = apply(table, changes_of(table, [PutRelay("pool", first), PutRelay("pool", third)]))
    assert [str(relay.url) for relay in after.maps["pool"].relays] == [
        "smtp://z",
        "smtp://b",
        "smtp://c",
    ]
    assert after.is_out("pool", "a")


def test_a_state_goes_with_its_relay_and_stays_as_long_as_the_name_does() -> None:
    table = two_relays()
    gone = apply(table, changes_of(table, [DeleteRelay("pool", "a")]))
    assert gone.states == {}
    other = replace(table.maps["pool"], relays=table.maps["pool"].relays[:1])
    assert apply(table, changes_of(table, [Put(POOL, other)])).is_out("pool", "a")
    back = apply(gone, changes_of(gone, [PutRelay("pool", table.maps["pool"].relays[0])]))
    assert back.states == {}


def test_a_map_and_a_table_go_with_what_is_theirs() -> None:
    table = two_relays()
    emptied = apply(table, changes_of(table, [Delete(POOL), Delete(Subject(Kind.TABLE, "t"))]))
    assert replace(emptied, revision=0) == EMPTY


def test_a_subject_made_and_deleted_again_leaves_no_change() -> None:
    rule = Subject(Kind.RULE, "r")
    assert changes_of(EMPTY, [Put(rule, Rule("r1", "r", Reject())), Delete(rule)]) == ()


def test_a_table_is_made_with_its_entries_in_one_list() -> None:
    made = two_relays()
    (put,) = [c for c in diff(EMPTY, made) if c.subject.kind is Kind.TABLE]
    entry = Put(Subject(Kind.ENTRY, "t", "a.test"), MX)
    assert put.after is not None
    after = apply(EMPTY, changes_of(EMPTY, [Put(put.subject, put.after), entry]))
    assert dict(after.entries["t"]) == {"a.test": MX}


def faults(*writes: Write) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as invalid:
        changes_of(two_relays(), writes)
    return [(fault.code, fault.pointer) for fault in invalid.value.faults]


def test_a_table_with_entries_keeps_its_key() -> None:
    """Under another key its entries would mean nothing."""
    by_user = Put(Subject(Kind.TABLE, "t"), Table("t", TableKey.AUTH_USER))
    assert faults(by_user) == [("key-fixed", "/key")]
    entries = [Delete(Subject(Kind.ENTRY, "t", key)) for key in ("a.test", "b.test")]
    after = apply(two_relays(), changes_of(two_relays(), [*entries, by_user]))
    assert after.tables["t"].key is TableKey.AUTH_USER


def test_one_relay_cannot_make_a_map_that_could_not_be_written_whole() -> None:
    double = PutRelay("pool", Relay("c", parse_relay_url("a:25")))
    assert faults(double) == [("duplicate-relay", "/url")]
    assert faults(DeleteRelay("pool", "a"), DeleteRelay("pool", "b")) == [
        ("bad-size", "/changes/1/body")
    ]


@pytest.mark.parametrize(
    "write",
    [
        Delete(Subject(Kind.RULE, "gone")),
        Delete(Subject(Kind.RELAY_MAP, "gone")),
        Delete(Subject(Kind.TABLE, "gone")),
        Delete(Subject(Kind.ENTRY, "t", "gone.test")),
        Delete(Subject(Kind.ENTRY, "gone", "a.test")),
        Delete(Subject(Kind.RELAY_STATE, "pool", "b")),
        Put(Subject(Kind.ENTRY, "gone", "a.test"), MX),
        Put(Subject(Kind.RELAY_STATE, "pool", "gone"), OutOfService()),
        Put(Subject(Kind.RELAY_STATE, "gone", "a"), OutOfService()),
        PutRelay("gone", Relay("a", parse_relay_url("smtp://a"))),
        DeleteRelay("pool", "gone"),
        DeleteRelay("gone", "a"),
    ],
    ids=str,
)
def test_a_write_to_something_that_is_not_there_is_refused(write: Write) -> None:
    with pytest.raises(Unknown):
        changes_of(two_relays(), [write])


@pytest.mark.parametrize(
    ("subject", "path"),
    [
        (POOL, "relay-maps/pool"),
        (Subject(Kind.RELAY_STATE, "pool", "a"), "relay-maps/pool/relays/a/state"),
        (Subject(Kind.TABLE, "t"), "tables/t"),
        (Subject(Kind.ENTRY, "t", "joe@a.test"), "tables/t/entries/joe@a.test"),
        (Subject(Kind.RULE, "r"), "rules/r"),
        (Subject(Kind.CREDENTIAL, "acct"), "credentials/acct"),
    ],
)
def test_a_subject_is_named_by_its_path(subject: Subject, path: str) -> None:
    assert str(subject) == path


def test_applying_leaves_the_old_routing_alone() -> None:
    table = two_relays()
    apply(table, [Change(POOL, table.maps["pool"], None)])
    assert "pool" in table.maps
