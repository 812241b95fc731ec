"""Rules are found by what they ask for: all that match, few that do not, and filed once."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from app.routing.change import Kind, Subject, apply
from app.routing.envelope import Envelope
from app.routing.next_hop import MX
from app.routing.resolve import walk
from app.routing.routing_table import RoutingTable
from app.routing.rule import Rule
from app.routing.writes import Put, changes_of
from tests.unit.routing import strategies
from tests.unit.routing.making import Document, envelope, routing

MANY = 500


def met(table: RoutingTable, letter: Envelope) -> list[str]:
    return [rule.name for bucket in table.index.met_by(letter) for _, rule, *_ in bucket]


def rules(*matches: Document) -> RoutingTable:
    each = {"action": "mx", "open_relay": True}
    return routing({"rules": [{"match": match, **each} for match in matches]})


@settings(max_examples=500)
@given(strategies.routings(), strategies.envelopes)
def test_every_rule_that_matches_is_met_and_each_bucket_is_in_order(
    table: RoutingTable, letter: Envelope
) -> None:
    buckets = table.index.met_by(letter)
    matching = {rule.name for rule in table.ordered if rule.match.first_failing(letter) is None}
    assert matching <= {rule.name for bucket in buckets for _, rule, *_ in bucket}
    for bucket in buckets:
        places = [place for place, *_ in bucket]
        assert places == sorted(set(places))
        assert [rule for _, rule, *_ in bucket] == [table.ordered[place] for place in places]


@pytest.mark.parametrize(
    ("condition", "patterns", "asked"),
    [
        ("recipients", ["joe@d{}.test"], {"recipient": "joe@d7.test"}),
        ("recipients", ["d{}.test", "*.d{}.test"], {"recipient": "joe@a.b.d7.test"}),
        ("senders", ["*.d{}.test"], {"sender": "joe@a.d7.test"}),
        ("helos", ["h{}.test"], {"helo": "h7.test"}),
        ("tags", ["t{}"], {"tag": "t7"}),
        ("auth_users", ["u{}"], {"auth_user": "u7"}),
        ("clients", ["10.{}.0.0/16"], {"client": "10.7.3.4"}),
        ("clients", ["2001:db8:{}::/48"], {"client": "2001:db8:7::1"}),
        ("clients", ["192.0.2.{}"], {"client": "192.0.2.7"}),
    ],
)
def test_of_many_rules_an_envelope_meets_its_own(
    condition: str, patterns: list[str], asked: dict[str, str]
) -> None:
    client = {} if condition == "clients" else {"clients": ["any"]}
    texts = [[pattern.format(n) for pattern in patterns] for n in range(200)]
    table = rules(*({**client, condition: each, "not": {"tags": ["no"]}} for each in texts))
    assert met(table, envelope(asked)) == ["r8"]
    assert walk(table, envelope(asked)) == (table.rules["r8"], MX)
    assert met(table, envelope({"client": "local"})) == []


def test_a_rule_is_filed_where_the_crowd_is_least() -> None:
    """All ask for one recipient domain, which tells nobody apart, and each for another user."""
    shared = [
        {"auth_users": [f"u{n}"], "recipients": ["shared.test"], "senders": ["*.test"]}
        for n in range(MANY)
    ]
    table = rules(*shared)
    letter = envelope({"auth_user": "u7", "recipient": "u@shared.test"})
    assert met(table, letter) == ["r8"]


def test_rules_that_ask_nothing_are_met_by_all_and_looked_at_up_to_the_best() -> None:
    table = rules({"recipients": ["d.test"]}, *({"clients": ["any"]} for _ in range(MANY)))
    for client in ("local", "192.0.2.1", "2001:db8::1"):
        assert len(met(table, envelope({"client": client}))) == MANY
    walked = walk(table, envelope({"recipient": "u@d.test"}))
    assert walked is not None
    assert walked[0].name == "r1"


def test_a_table_without_the_key_leaves_the_envelope_to_a_later_rule() -> None:
    via = {"kind": "relay", "via": "table:t"}
    table = routing(
        {
            "tables": {"t": {"key": "sender", "entries": {"joe@a.test": "mx"}}},
            "rules": [
                {"match": {"recipients": ["d.test"]}, "action": via},
                {"action": {"kind": "reject", "message": "no"}},
            ],
        }
    )
    asked = {"recipient": "u@d.test"}
    found = [walk(table, envelope({**asked, "sender": s})) for s in ("joe@a.test", "ann@a.test")]
    assert [walked and walked[0].name for walked in found] == ["r1", "r2"]


def test_the_index_is_kept_over_edits_of_anything_else_and_only_then() -> None:
    table = routing(
        {
            "maps": {"m": {"policy": "failover", "relays": ["smtp://a.test", "smtp://b.test"]}},
            "tables": {"t": {"key": "sender", "entries": {}}},
            "rules": [{"action": "map:m"}],
        }
    )
    index, active = table.index, table.active_relays(table.maps["m"])
    entry = Put(Subject(Kind.ENTRY, "t", "a.test"), MX)
    later = apply(table, changes_of(table, [entry]), 2)
    assert later.index is index
    assert later.active_relays(later.maps["m"]) is active
    rule = Put(Subject(Kind.RULE, "r1"), replace(table.rules["r1"], priority=7))
    edited = apply(later, changes_of(later, [rule]), 3)
    assert edited.index is not index
    assert [each.priority for each in edited.ordered] == [7]
    assert edited.active_relays(edited.maps["m"]) is active


def test_a_disabled_rule_is_not_met() -> None:
    table = rules({"recipients": ["d.test"]})
    off: dict[str, Rule] = {"r1": replace(table.rules["r1"], enabled=False)}
    assert met(replace(table, rules=off), envelope({"recipient": "u@d.test"})) == []
