"""Decisions: what an MTA that asks must have, and that it is never asked for anything else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.render.opensmtpd import live_read_back
from app.render.opensmtpd.live import action_text, render_live
from app.render.opensmtpd.spelling import MAX_ACTION
from app.render.opensmtpd.tombstones import is_ours
from app.routing.credential import Credential
from app.routing.decision import (
    HASHED_AT_ACCEPTANCE,
    SPARE_SLOTS,
    Asking,
    Fixed,
    assign,
    decide,
    needed,
    relay_for,
    reserve,
    with_spares,
)
from app.routing.envelope import Envelope
from app.routing.errors import NotExpressible
from app.routing.next_hop import MX, EntryHop, ViaMap, ViaTable, parse_entry_hop
from app.routing.relay_map import HashKey, OutOfService, Policy, Relay, RelayMap
from app.routing.relay_url import parse_relay_url
from app.routing.resolve import resolve
from app.routing.route import Draw, MxNeeded, NeverDelivered, Rejected, Route, TryAgain, Unrouted
from app.routing.routing_table import RoutingTable
from app.routing.rule import Reject
from app.routing.table import Table, TableKey
from tests.unit.render.opensmtpd.samples import TARGET
from tests.unit.routing.strategies import envelopes, routings

DRAW = Draw(7, 0.3)


def draw(_: str) -> Draw:
    return DRAW


def pool(*names: str, policy: Policy = Policy.RATIO, key: HashKey | None = None) -> RelayMap:
    relays = tuple(Relay(name, parse_relay_url(f"smtp://{name}.test")) for name in names)
    return RelayMap("pool", policy, relays, key)


def over(relay_map: RelayMap, **more: object) -> RoutingTable:
    return RoutingTable(maps={relay_map.name: relay_map}, **more)  # type: ignore[arg-type]


@given(routings(), envelopes)
def test_what_is_decided_for_is_what_resolve_says_and_an_action_that_is_there(
    table: RoutingTable, envelope: Envelope
):
    slots = assign({}, table)
    fixed = decide(table, slots, envelope, frozenset())
    answer = resolve(table, envelope, frozenset(), draw)
    if not envelope.recipient.domain:
        return  # which no daemon asks about
    if fixed is None:
        assert isinstance(answer, Unrouted)
        return
    assert fixed == needed(table, slots)[fixed.name]
    if isinstance(fixed.to, Reject):
        assert isinstance(answer, Rejected)
    elif fixed.to is MX:
        assert isinstance(answer, Route | MxNeeded | NeverDelivered)
        assert not isinstance(answer, Route) or answer.chosen.url is None
    elif isinstance(fixed.to, ViaMap | ViaTable):
        assert isinstance(answer, Route | TryAgain)
        relay = relay_of_slot(slots, fixed)
        asking = Asking(fixed.to, relay, verified=fixed.options.tls_verify)
        found = relay_for(table, asking, envelope.recipient.domain, frozenset(), draw)
        allowed = isinstance(answer, Route) and answer.chosen.url is not None
        if found is not None:
            assert allowed
            assert isinstance(answer, Route)
            assert found == answer.chosen.url or any(c.url == found for c in answer.candidates)
    else:
        assert isinstance(answer, Route)
        assert answer.chosen.url == fixed.to


def relay_of_slot(slots: dict[str, dict[str, int]], fixed: Fixed) -> str | None:
    if fixed.slot is None or not isinstance(fixed.to, ViaMap):
        return None
    names = {slot: relay for relay, slot in slots[fixed.to.name].items()}
    return names[fixed.slot]


@given(routings())
def test_names_are_short_ours_and_of_one_action_each(table: RoutingTable):
    slots = with_spares(assign({}, table))
    found = needed(table, slots) | reserve(table, slots)
    for name, fixed in found.items():
        assert name == fixed.name
        assert len(name) <= MAX_ACTION
        assert is_ours(name) == (not isinstance(fixed.to, Reject))
    texts = {action_text(fixed) for fixed in found.values()}
    assert len(texts) == len(found)


@given(routings())
def test_what_is_rendered_reads_back_as_what_is_needed(table: RoutingTable):
    slots = assign({}, table)
    try:
        static = render_live(table, slots, replace(TARGET, version=(7, 8)))
    except NotExpressible:
        return
    live_read_back.check(needed(table, slots).values(), static.files)


LONG = "m" * 63


def test_a_long_name_makes_a_name_that_smtpd_can_keep():
    fixed = needed(
        over(replace(pool("a", key=HashKey.SENDER, policy=Policy.HASH), name=LONG)),
        {LONG: {"a": 0}},
    )
    assert fixed == {}
    found = reserve(
        over(replace(pool("a", key=HashKey.SENDER, policy=Policy.HASH), name=LONG)),
        {LONG: {"a": 9999}},
    )
    assert max(len(name) for name in found) <= MAX_ACTION
    assert all(is_ours(name) for name in found if not name.startswith("rm-reject"))


@pytest.mark.parametrize("key", sorted(HASHED_AT_ACCEPTANCE))
def test_a_relay_keeps_its_slot_and_a_new_one_takes_a_free_one(key: HashKey):
    first = assign({}, over(pool("a", "b", "c", policy=Policy.HASH, key=key)))
    assert first == {"pool": {"a": 0, "b": 1, "c": 2}}
    second = assign(first, over(pool("d", "c", "a", policy=Policy.HASH, key=key)))
    assert second == {"pool": {"c": 2, "a": 0, "d": 1}}


def test_a_map_whose_hash_is_asked_for_later_has_no_slots():
    by_domain = pool("a", "b", policy=Policy.HASH, key=HashKey.RECIPIENT_DOMAIN)
    assert assign({}, over(by_domain)) == {}
    assert assign({}, over(pool("a", "b"))) == {}


def test_spares_are_ready_for_relays_that_come():
    before = over(pool("a", "b", policy=Policy.HASH, key=HashKey.SENDER))
    slots = assign({}, before)
    ready = reserve(before, with_spares(slots)).keys()
    for names in (("a", "b", "c"), ("a", "b", "c", "d")):
        after = over(pool(*names, policy=Policy.HASH, key=HashKey.SENDER))
        assert reserve(after, assign(slots, after)).keys() <= ready
    assert SPARE_SLOTS == 2
    more = over(pool("a", "b", "c", "d", "e", policy=Policy.HASH, key=HashKey.SENDER))
    assert not reserve(more, assign(slots, more)).keys() <= ready


TO_POOL = ViaMap("pool")


def picked(table: RoutingTable, asking: Asking | None = None, **down: bool) -> str | None:
    asking = Asking(TO_POOL) if asking is None else asking
    found = relay_for(table, asking, "x.test", frozenset(("pool", name) for name in down), draw)
    return None if found is None else found.host


def test_what_is_out_or_down_is_not_picked_and_health_alone_leaves_none_out():
    table = over(pool("a", "b", policy=Policy.FAILOVER))
    assert picked(table) == "a.test"
    assert picked(table, a=True) == "b.test"
    assert picked(table, a=True, b=True) == "a.test"
    out = replace(table, states={("pool", "a"): OutOfService()})
    assert picked(out) == "b.test"
    assert picked(out, b=True) == "b.test"
    none = replace(out, states={("pool", name): OutOfService() for name in "ab"})
    assert picked(none) is None


def test_mail_of_a_slot_goes_to_its_relay_and_else_where_all_of_that_slot_goes():
    table = over(pool("a", "b", "c", policy=Policy.HASH, key=HashKey.SENDER))
    assert picked(table, Asking(TO_POOL, "b")) == "b.test"
    instead = picked(table, Asking(TO_POOL, "b"), b=True)
    assert instead in {"a.test", "c.test"}
    assert {picked(table, Asking(TO_POOL, "b"), b=True) for _ in range(5)} == {instead}


def test_what_routing_has_no_more_leads_nowhere():
    assert picked(RoutingTable()) is None
    assert picked(RoutingTable(), Asking(ViaTable("none"))) is None


@pytest.mark.parametrize("key", [TableKey.RECIPIENT_DOMAIN, TableKey.SENDER_DOMAIN])
def test_a_table_made_anew_on_another_key_says_nothing_about_mail_of_before(key: TableKey):
    hop = parse_relay_url("smtp://keyed.test")
    table = RoutingTable(tables={"t": Table("t", key)}, entries={"t": {"x.test": hop}})
    wanted = "keyed.test" if key is TableKey.RECIPIENT_DOMAIN else None
    assert picked(table, Asking(ViaTable("t"))) == wanted


@pytest.mark.parametrize(
    ("host", "checks", "wanted"),
    [
        ("a.test", {"verified": True, "allow_unverified": False}, "a.test"),
        ("other.test", {"verified": True, "allow_unverified": False}, None),
        ("a.test", {"verified": False, "allow_unverified": False}, None),
        ("a.test", {"verified": False, "allow_unverified": True}, "a.test"),
    ],
)
def test_a_password_goes_only_where_its_credential_says(
    host: str, checks: dict[str, bool], wanted: str | None
):
    """Mail may be queued under an action that routing has retired since."""
    relay = Relay("a", parse_relay_url("smtps://acct@a.test"))
    table = over(
        RelayMap("pool", Policy.RANDOM, (relay,)),
        credentials={"acct": Credential("acct", 1, (host,), checks["allow_unverified"])},
    )
    assert picked(table, Asking(TO_POOL, None, verified=checks["verified"])) == wanted


def hop(name: str) -> EntryHop:
    return parse_entry_hop(f"smtp://{name}.test")


LEFT_CASES: dict[
    str,
    tuple[dict[str, EntryHop], EntryHop | None, dict[str, tuple[int, EntryHop]], str | None],
] = {
    # entries now, default now, where keys led and when they went, where mail for x.s.test goes
    "an entry was removed": ({}, None, {"x.s.test": (1, hop("left"))}, "left.test"),
    "an entry over it was removed": ({}, None, {"*.s.test": (1, hop("left"))}, "left.test"),
    "the default was removed": ({}, None, {"": (1, hop("left"))}, "left.test"),
    "an entry is mx now": ({"x.s.test": MX}, None, {"x.s.test": (1, hop("left"))}, "left.test"),
    "the default is mx now": ({}, MX, {"": (1, hop("left"))}, "left.test"),
    "an entry of mx came before one": ({"x.s.test": MX, "*.test": hop("h")}, MX, {}, "h.test"),
    "an entry of mx came before a default": ({"x.s.test": MX}, hop("d"), {}, "d.test"),
    "all of it went at once": (
        {},
        None,
        {"x.s.test": (1, hop("left")), "*.test": (1, hop("h")), "": (1, hop("d"))},
        "left.test",
    ),
    "another one went later": (
        {},
        None,
        {"x.s.test": (1, hop("left")), "*.test": (3, hop("h")), "": (2, hop("d"))},
        "h.test",
    ),
    "it led to a map": ({}, None, {"x.s.test": (1, ViaMap("pool"))}, "a.test"),
    "it led to a map that is gone": ({}, None, {"x.s.test": (1, ViaMap("other"))}, None),
    "an entry above it is there": (
        {"*.test": hop("h")},
        None,
        {"x.s.test": (1, hop("left"))},
        "h.test",
    ),
    "a default is there": ({}, hop("d"), {"x.s.test": (1, hop("left"))}, "d.test"),
    "another one was removed": ({}, None, {"y.s.test": (1, hop("left"))}, None),
}


@pytest.mark.parametrize("case", LEFT_CASES)
def test_mail_for_an_entry_that_is_gone_goes_where_it_led(case: str):
    entries, default, left, wanted = LEFT_CASES[case]
    table = over(
        pool("a"),
        tables={"t": Table("t", TableKey.RECIPIENT_DOMAIN, default)},
        entries={"t": entries},
    )
    read: list[tuple[str, str]] = []

    def left_of(name: str, key: str) -> tuple[int, EntryHop] | None:
        read.append((name, key))
        return left.get(key)

    found = relay_for(table, Asking(ViaTable("t")), "x.s.test", frozenset(), draw, left_of)
    assert (None if found is None else found.host) == wanted
    assert {name for name, _ in read} <= {"t"}
    if found is not None and wanted == "left.test":
        assert found is left[read[-1][1]][1], "what is answered is what was read last"


@given(st.integers(min_value=0, max_value=60))
def test_the_turn_is_the_maps_own(turn: int):
    relays = pool("a", "b", "c", policy=Policy.ROUND_ROBIN)
    table = over(relays)
    found = relay_for(table, Asking(TO_POOL), "x.test", frozenset(), lambda _: Draw(turn))
    assert found == relays.relays[turn % 3].url
