"""The live routing: marks follow the changes, turns follow the maps."""

from datetime import UTC, datetime, timedelta

from app.routing.change import Change, Kind, Subject
from app.routing.next_hop import MX
from app.routing.relay_map import OutOfService, Policy, RelayMap
from app.routing.routing_table import RoutingTable
from app.server.live import Live, Mark, Marks, Snapshot

FIRST = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = FIRST + timedelta(hours=1)
POOL = RelayMap("pool", Policy.RANDOM, ())
MAP = Subject(Kind.RELAY_MAP, "pool")
ENTRY = Subject(Kind.ENTRY, "pool", "example.org")
STATE = Subject(Kind.RELAY_STATE, "pool", "mx1")


def made() -> Marks:
    return Marks().after([Change(MAP, None, POOL), Change(ENTRY, None, MX)], 1, FIRST)


def test_what_is_made_is_marked_with_its_revision_and_time() -> None:
    assert dict(made()) == {MAP: Mark(1, FIRST, FIRST), ENTRY: Mark(1, FIRST, FIRST)}
    assert len(made()) == 2


def test_a_change_moves_the_mark_and_keeps_the_time_of_making() -> None:
    after = made().after([Change(ENTRY, MX, MX)], 2, LATER)
    assert after[ENTRY] == Mark(2, FIRST, LATER)
    assert after[MAP] == Mark(1, FIRST, FIRST)


def test_what_is_deleted_has_no_mark_and_is_new_when_it_is_made_again() -> None:
    gone = made().after([Change(MAP, POOL, None)], 2, LATER)
    assert MAP not in gone
    assert gone.after([Change(MAP, None, POOL)], 3, LATER)[MAP] == Mark(3, LATER, LATER)


def test_a_state_moves_no_mark() -> None:
    assert dict(made().after([Change(STATE, None, OutOfService())], 2, LATER)) == dict(made())


def test_a_successor_leaves_its_predecessor_as_it_was() -> None:
    before = made()
    before.after([Change(MAP, POOL, None), Change(ENTRY, MX, None)], 2, LATER)
    assert set(before) == {MAP, ENTRY}


def test_marks_of_pairs_are_the_same_marks() -> None:
    assert dict(Marks.of(made().items())) == dict(made())


def with_maps(*names: str) -> Snapshot:
    return Snapshot("h", RoutingTable(maps=dict.fromkeys(names, POOL)))


def test_each_map_has_turns_of_its_own_that_go_on_over_an_edit() -> None:
    live = Live(with_maps("a", "b"))
    assert [live.next_turn("a") for _ in range(3)] == [0, 1, 2]
    assert [live.next_turn("b"), live.next_turn("")] == [0, 0]
    live.replace(with_maps("a", "c"))
    assert [live.next_turn(name) for name in ("a", "b", "")] == [3, 0, 1]
