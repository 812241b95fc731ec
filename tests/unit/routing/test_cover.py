"""What is said of two matches holds for every envelope of a small world, tried one by one."""

from itertools import product
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from app.routing.conditions import CONDITIONS
from app.routing.cover import apart, covers, meet
from app.routing.envelope import Envelope, parse_client, parse_helo, parse_mail_address
from app.routing.overlaps import overlapping, shadowed, share_mail, takes_all_of
from app.routing.routing_table import RoutingTable
from app.routing.rule import Match, Reject, Rule, never_matches
from tests.unit.routing import strategies
from tests.unit.routing.strategies import (
    CLIENTS,
    DOMAINS,
    HELOS,
    LOCALS,
    PATTERNS,
    TAGS,
    USERS,
)

OTHERS = ("test", "other", "new.test", "new.a.test", "new.b.a.test")
"""Domains that no pattern names: every *.parent has one more below it."""
WORLD_CLIENTS = [parse_client(text) for text in (*CLIENTS, "203.0.113.1", "2001:db9::1")]
WORLD_ADDRESSES = [
    parse_mail_address(f"{local}@{domain}")
    for local, domain in product((*LOCALS, "other"), (*DOMAINS, *OTHERS))
]
NULL = parse_mail_address("")
SOMEBODY = parse_mail_address("other@other")


def letters(kind: str) -> list[Envelope]:
    """Envelopes that differ in one part only, over everything that part can be."""
    if kind == "clients":
        return [Envelope(SOMEBODY, SOMEBODY, client) for client in WORLD_CLIENTS]
    if kind == "auth_users":
        users = (None, "other", *USERS)
        return [Envelope(SOMEBODY, SOMEBODY, auth_user=user) for user in users]
    if kind == "senders":
        return [Envelope(sender, SOMEBODY) for sender in (NULL, *WORLD_ADDRESSES)]
    if kind == "recipients":
        return [Envelope(SOMEBODY, recipient) for recipient in WORLD_ADDRESSES]
    if kind == "helos":
        helos = (None, "other", "new.test", "new.mx.test", *map(parse_helo, HELOS))
        return [Envelope(SOMEBODY, SOMEBODY, helo=helo) for helo in helos]
    return [Envelope(SOMEBODY, SOMEBODY, tag=tag) for tag in ("", "other", *TAGS)]


@settings(max_examples=500)
@given(st.data())
def test_one_condition_covers_another_exactly_when_no_envelope_tells_otherwise(
    data: st.DataObject,
) -> None:
    kind = data.draw(st.sampled_from(sorted(PATTERNS)))
    some = st.lists(st.sampled_from(PATTERNS[kind]), min_size=1, max_size=4)
    one, other = (CONDITIONS[kind](tuple(data.draw(some))) for _ in range(2))
    world = letters(kind)
    in_one = {n for n, letter in enumerate(world) if one.holds(letter)}
    in_other = {n for n, letter in enumerate(world) if other.holds(letter)}
    assert covers(one, other) == (in_other <= in_one)
    assert meet(one, other) == bool(in_one & in_other)
    assert not (apart(one, other) and meet(one, other))


LETTERS = [strategies.any_envelope(Random(n)) for n in range(500)]


@given(strategies.matches, strategies.matches)
def test_what_is_said_of_two_matches_holds_for_envelopes(one: Match, other: Match) -> None:
    for letter in LETTERS:
        in_one = one.first_failing(letter) is None
        in_other = other.first_failing(letter) is None
        assert in_one or not in_other or not takes_all_of(one, other)
        assert not (in_one and in_other) or share_mail(one, other)
        assert not in_one or not never_matches(one)


@given(strategies.matches)
def test_a_match_takes_all_of_itself_and_shares_its_mail(match: Match) -> None:
    assert takes_all_of(match, match)
    assert share_mail(match, match) or never_matches(match)


def table_of(found: list[Match], priority: int | None) -> RoutingTable:
    rules = {
        f"r{n:02}": Rule(f"r{n}", f"r{n:02}", Reject(), match, n if priority is None else priority)
        for n, match in enumerate(found)
    }
    return RoutingTable(rules=rules)


@given(st.lists(strategies.matches, max_size=12))
def test_every_shadowed_rule_of_a_few_is_found(found: list[Match]) -> None:
    """With no more rules than are compared, nothing is missed."""
    table = table_of(found, None)
    plainly = {
        rule.name
        for n, rule in enumerate(table.ordered)
        if any(takes_all_of(above.match, rule.match) for above in table.ordered[:n])
    }
    assert {rule.name for rule, _ in shadowed(table.ordered, table.tables)} == plainly


@given(st.lists(strategies.matches, max_size=12))
def test_every_rule_that_shares_mail_with_one_before_it_is_found(found: list[Match]) -> None:
    table = table_of(found, 5)
    plainly = {
        rule.name
        for n, rule in enumerate(table.ordered)
        if any(share_mail(above.match, rule.match) for above in table.ordered[:n])
    }
    assert {rule.name for rule, _ in overlapping(table.ordered)} == plainly
