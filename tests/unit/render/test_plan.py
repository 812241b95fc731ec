"""What an MTA has to do for a change is what the difference of files asks for, and no more."""

from dataclasses import replace

from app.render.generation import File, Generation
from app.render.opensmtpd.render import render
from app.render.plan import Plan, ReloadKind, plan
from app.routing.document import Document
from app.routing.relay_map import OutOfService
from app.routing.routing_table import EMPTY, RoutingTable
from tests.unit.render.opensmtpd.samples import SECRETS, TARGET, matching, relay, routing

POOL: list[Document] = [{"url": "smtp://a.test"}, {"url": "smtp://b.test"}]


def files(table: RoutingTable) -> Generation:
    return render(table, SECRETS, TARGET)


def two_pools(*first: Document) -> RoutingTable:
    return routing(relay("map:one"), relay("map:two"), relay_maps={"one": first, "two": POOL})


def test_the_same_files_ask_for_nothing() -> None:
    assert plan(files(two_pools(*POOL)), files(two_pools(*POOL))) == Plan(ReloadKind.NONE)


def test_a_relay_taken_out_is_one_table_read_again() -> None:
    before = two_pools(*POOL)
    after = replace(before, states={("one", "b.test"): OutOfService()})
    assert plan(files(before), files(after)) == Plan(
        ReloadKind.TABLE_UPDATE, ("rm-m-one",), ("m-one",)
    )


def test_two_lists_are_a_restart_since_mail_between_two_updates_would_see_a_mix() -> None:
    before = two_pools(*POOL)
    states = {("one", "b.test"): OutOfService(), ("two", "a.test"): OutOfService()}
    found = plan(files(before), files(replace(before, states=states)))
    assert found == Plan(ReloadKind.RESTART, (), ("m-one", "m-two"))


def test_a_longer_list_of_domains_is_a_table_update() -> None:
    before, after = matching(recipients=["a.test"]), matching(recipients=["a.test", "b.test"])
    assert plan(files(before), files(after)).tables == ("rm-r1-recipients",)


def test_a_condition_that_changes_its_words_is_a_restart() -> None:
    before, after = matching(recipients=["a.test"]), matching(recipients=["a.test", "*.b.test"])
    assert plan(files(before), files(after)).reload is ReloadKind.RESTART


def test_another_password_is_one_table_read_again() -> None:
    table = routing(relay("tls://lab@r.test"))
    other = {"lab": replace(SECRETS["lab"], password="another")}
    found = plan(files(table), render(table, other, TARGET))
    assert found == Plan(ReloadKind.TABLE_UPDATE, ("rm-credentials",), ("credentials",))


def test_another_rule_or_another_option_is_a_restart() -> None:
    before = routing(relay())
    for after in (routing(relay(), relay("mx")), routing(relay(ttl_s=60)), EMPTY):
        assert plan(files(before), files(after)).reload is ReloadKind.RESTART


def test_words_for_people_ask_for_nothing() -> None:
    before = routing({**relay(), "name": "one", "description": "x", "priority": 5})
    after = routing({**relay(), "name": "two", "description": "y", "priority": 6})
    assert plan(files(before), files(after)) == Plan(ReloadKind.NONE)


def test_an_mta_without_files_of_ours_is_restarted() -> None:
    assert plan(None, files(EMPTY)) == Plan(ReloadKind.RESTART, (), ("relaymap.conf",))


def test_a_list_that_no_table_names_and_a_mode_that_changed_are_restarts() -> None:
    generation = files(two_pools(*POOL))
    stray = Generation((*generation.files, File("x", 0o640, b"1")))
    other = Generation((*generation.files, File("x", 0o640, b"2")))
    assert plan(stray, other).reload is ReloadKind.RESTART
    modes = Generation(tuple(replace(file, mode=0o600) for file in generation.files))
    assert plan(generation, modes).reload is ReloadKind.RESTART
