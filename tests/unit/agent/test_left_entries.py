"""Entries that are gone while mail is queued for them: where they led, and for how long."""

from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from app.agent.in_use import relays_in_use
from app.routing.entries import LayeredEntries, TableEntries
from app.routing.live_file import LEFT, left_key
from app.routing.live_rows import beginning
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.rule import RelayAction
from app.routing.table import Table, TableKey
from app.table_program.answers import Relays
from app.table_program.channel import Answer, Question
from app.table_program.main import Turns
from tests.unit.routing.making import routing
from tests.unit.table_program import asking

pytestmark = pytest.mark.io

A, B = "smtp://192.0.2.1:25", "smtp://192.0.2.2:25"
DOMAIN = "dst.test"
_DAY = 86_400


def routed(default: str | None = None, key: str = "recipient-domain") -> RoutingTable:
    """A rule over a table, and a map beside it."""
    found = routing(
        {
            "maps": {"pool": {"policy": "failover", "relays": [A]}},
            "tables": {"t": {"key": key}},
            "rules": [{"match": {}, "action": "table:t"}],
        }
    )
    hop = None if default is None else parse_entry_hop(default)
    return replace(found, tables={"t": Table("t", TableKey(key), hop)})


class Kept:
    """The live file of an agent that is told one routing after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.now_s = asking.NOW_S
        self._revision = 0

    def write(
        self, entries: dict[str, str], table: RoutingTable | None = None, *, by_changes: bool
    ) -> None:
        """Let a table have these entries: told whole, or as changes of those before."""
        self._revision += 1
        hops: dict[str, EntryHop] = {name: parse_entry_hop(hop) for name, hop in entries.items()}
        with asking.writer(self._directory) as file:
            told: TableEntries = TableEntries(hops)
            if by_changes:
                before = file.routing().entries_of("t")
                assert isinstance(before, LayeredEntries)
                gone: dict[str, EntryHop | None] = dict.fromkeys(set(before) - set(hops))
                told = LayeredEntries(before.base, gone | hops, len(hops))
            wanted = replace(routed() if table is None else table, entries={"t": told})
            until = self.now_s + asking.LIVES_S
            content = asking.content(wanted, self._revision)
            file.write(replace(content, now_s=self.now_s, until_s=until))

    def goes_to(self, domain: str = DOMAIN) -> Answer:
        """What a program that starts now answers for mail that was queued for the table."""
        file = asking.reader(self._directory)
        try:
            asked = Question("lookup", "relayhost", domain, "01")
            return Relays(file, "rm-table-t", Turns().draw).answer(asked)
        finally:
            file.close()

    def routing(self) -> RoutingTable:
        """The routing that the agent has in force, with its entries."""
        with asking.writer(self._directory) as file:
            found = file.routing()
            return replace(found, entries={"t": dict(found.entries_of("t"))})

    def maps(self) -> set[str]:
        """All maps in the file."""
        with asking.writer(self._directory) as file:
            return set(file.structure().maps)

    def left(self) -> int:
        """How many rows of entries that were there are."""
        with asking.writer(self._directory) as file, file.begin() as transaction:
            return sum(1 for _ in beginning(transaction, LEFT))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


both_ways = pytest.mark.parametrize("by_changes", [False, True])


@both_ways
def test_mail_goes_where_its_entry_led_until_there_is_one_again(kept: Kept, *, by_changes: bool):
    kept.write({DOMAIN: A, "other.test": B}, by_changes=False)
    kept.write({"other.test": B}, by_changes=by_changes)
    assert (kept.goes_to(), kept.goes_to("never.test")) == (A, False)
    assert kept.routing().entries["t"] == {"other.test": parse_entry_hop(B)}
    kept.write({"other.test": B, DOMAIN: B}, by_changes=by_changes)
    assert (kept.goes_to(), kept.left()) == (B, 0)


@both_ways
def test_all_entries_may_go_and_come_again(kept: Kept, *, by_changes: bool):
    kept.write({DOMAIN: A, "other.test": A}, by_changes=False)
    kept.write({}, by_changes=by_changes)
    assert (kept.goes_to(), kept.goes_to("other.test")) == (A, A)
    kept.write({DOMAIN: B}, by_changes=by_changes)
    assert (kept.goes_to(), kept.goes_to("other.test"), kept.left()) == (B, A, 1)


@both_ways
def test_mx_is_no_answer_and_what_was_one_stays(kept: Kept, *, by_changes: bool):
    kept.write({DOMAIN: A}, by_changes=False)
    kept.write({DOMAIN: "mx"}, by_changes=by_changes)
    assert kept.goes_to() == A
    kept.write({}, by_changes=by_changes)
    assert kept.goes_to() == A, "that it was mx in between takes nothing away"


def test_a_default_that_goes_leads_on_as_well(kept: Kept):
    kept.write({}, routed(A), by_changes=False)
    for default in (None, "mx"):
        kept.write({}, routed(default), by_changes=True)
        assert kept.goes_to() == A
    kept.write({}, routed(B), by_changes=True)
    assert (kept.goes_to(), kept.left()) == (B, 0)


@both_ways
def test_the_map_that_it_led_to_stays_though_it_goes_with_it(kept: Kept, *, by_changes: bool):
    kept.write({DOMAIN: "map:pool"}, by_changes=False)
    without = replace(routed(), maps={})
    kept.write({}, without, by_changes=by_changes)
    assert kept.goes_to() == A
    kept.write({"more.test": B}, without, by_changes=by_changes)
    assert kept.goes_to() == A
    assert kept.routing().maps == {}, "routing has it no more"
    kept.write({DOMAIN: B, "more.test": B}, without, by_changes=by_changes)
    assert kept.maps() == set()


@both_ways
@pytest.mark.parametrize(
    ("entries", "default"), [({}, A), ({"*.test": A}, None), ({"*.test": A}, "mx")]
)
def test_an_entry_of_mx_hides_nothing_from_mail_that_waits(
    kept: Kept, entries: dict[str, str], default: str | None, *, by_changes: bool
):
    kept.write(entries, routed(default), by_changes=False)
    kept.write(entries | {DOMAIN: "mx"}, routed(default), by_changes=by_changes)
    assert kept.goes_to() == A
    kept.write({DOMAIN: "mx"}, routed("mx"), by_changes=by_changes)
    assert kept.goes_to() == A


@both_ways
@pytest.mark.parametrize("before", [({}, B), ({"*.test": B}, None)])
def test_what_went_last_counts(
    kept: Kept, before: tuple[dict[str, str], str | None], *, by_changes: bool
):
    entries, default = before
    kept.write(entries | {DOMAIN: A}, routed(default), by_changes=False)
    kept.write(entries, routed(default), by_changes=by_changes)
    assert kept.goes_to() == B
    kept.write({}, by_changes=by_changes)
    assert kept.goes_to() == B, "where its mail has gone since"


def test_what_no_mail_can_wait_for_is_forgotten(kept: Kept):
    kept.write({DOMAIN: "map:pool", "other.test": A}, by_changes=False)
    without = replace(routed(), maps={})
    kept.write({"other.test": A}, without, by_changes=True)
    kept.now_s += asking.LIVES_S - 1
    kept.write({}, without, by_changes=True)
    assert (kept.goes_to(), kept.goes_to("other.test")) == (A, A)
    kept.now_s += _DAY
    kept.write({"more.test": B}, without, by_changes=True)
    assert (kept.goes_to(), kept.goes_to("other.test")) == (False, A)
    kept.now_s += asking.LIVES_S
    kept.write({"more.test": A}, without, by_changes=True)
    assert (kept.left(), kept.maps()) == (0, set())


def test_a_map_goes_with_the_last_entry_that_led_there(kept: Kept):
    """Though others go every day."""
    kept.write({DOMAIN: "map:pool", "d0.test": A}, by_changes=False)
    without = replace(routed(), maps={})
    for day in range(12):
        kept.write({f"d{day}.test": A}, without, by_changes=True)
        kept.now_s += _DAY
    assert kept.goes_to() is False
    assert kept.left() > 0
    assert kept.maps() == set()


def test_a_map_that_routing_has_is_no_retired_one(kept: Kept):
    kept.write({DOMAIN: "map:pool", "other.test": A}, by_changes=False)
    kept.write({"other.test": A}, by_changes=True)
    assert set(kept.routing().maps) == {"pool"}
    kept.write({}, replace(routed(), maps={}), by_changes=True)
    assert (set(kept.routing().maps), kept.maps()) == (set(), {"pool"})
    kept.write({}, by_changes=True)
    assert set(kept.routing().maps) == {"pool"}


def test_relays_of_a_map_that_mail_waits_for_are_looked_at(kept: Kept, tmp_path: Path):
    kept.write({DOMAIN: "map:pool"}, by_changes=False)
    kept.write({}, replace(routed(), maps={}), by_changes=True)
    with asking.writer(tmp_path) as file:
        used = relays_in_use(file.routing(), file.retired(), {})
    assert [(each.relay_map, str(each.url), each.active) for each in used] == [("pool", A, True)]


def test_they_are_looked_at_as_the_rule_says_whose_mail_waits(kept: Kept, tmp_path: Path):
    """A relay with a certificate of its own would be down else."""
    whole = routing(
        {
            "maps": {"pool": {"policy": "failover", "relays": ["smtps://relay.test"]}},
            "tables": {"t": {"key": "recipient-domain"}},
            "rules": [{"match": {}, "action": "table:t"}],
        }
    )
    (rule,) = whole.rules.values()
    assert isinstance(rule.action, RelayAction)
    own = {rule.name: replace(rule, action=replace(rule.action, ca="own"))}
    kept.write({DOMAIN: "map:pool"}, replace(whole, rules=own), by_changes=False)
    found = []
    for maps in (whole.maps, {}):
        entries = {DOMAIN: "map:pool"} if maps else {}
        kept.write(entries, replace(whole, rules=own, maps=maps), by_changes=True)
        with asking.writer(tmp_path) as file:
            found.append(relays_in_use(file.routing(), file.retired(), {"own": "/etc/own.pem"}))
    assert found[0] == found[1]
    assert [each.ca_file for each in found[1]] == [Path("/etc/own.pem")]


def test_a_row_that_says_nothing_keeps_nobody_from_writing(kept: Kept, tmp_path: Path):
    kept.write({DOMAIN: A}, by_changes=False)
    with lmdb.open(str(tmp_path / "data")) as there, there.begin(write=True) as transaction:
        transaction.put(left_key("t", "odd.test"), b"1\tsmtp://192.0.2.1:25")
    kept.now_s += _DAY
    kept.write({}, by_changes=True)
    assert (kept.left(), kept.goes_to()) == (1, A)


@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_table_that_nobody_asks_leaves_nothing(kept: Kept, tmp_path: Path, *, is_emptied: bool):
    kept.write({DOMAIN: A}, by_changes=False)
    kept.write({} if is_emptied else {"other.test": A}, by_changes=True)
    assert kept.left() == 1
    asking.write(tmp_path, asking.content(EMPTY, 9))
    assert kept.left() == 0


def test_nothing_is_kept_where_mail_was_decided_for_when_it_came(kept: Kept):
    by_sender = routed(key="sender-domain")
    kept.write({DOMAIN: A}, by_sender, by_changes=False)
    kept.write({}, by_sender, by_changes=True)
    assert kept.left() == 0


def test_a_table_on_another_key_takes_nothing_over(kept: Kept):
    kept.write({DOMAIN: A, "other.test": A}, by_changes=False)
    kept.write({"other.test": A}, by_changes=True)
    assert kept.left() == 1
    kept.write({}, routed(key="sender-domain"), by_changes=False)
    assert kept.left() == 0
    kept.write({}, by_changes=False)
    assert (kept.goes_to(), kept.goes_to("other.test"), kept.left()) == (False, False, 0)
