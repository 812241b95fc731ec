"""Of many envelopes at once the same is found as of each of them."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.routing.envelope import Envelope, parse_mail_address
from app.routing.pairs import Pairs, walk_pairs
from app.routing.resolve import walk
from app.routing.routing_table import RoutingTable
from tests.unit.routing import strategies
from tests.unit.routing.making import Document, routing

DEEP = "a.b.c.d.e.test"


def together(table: RoutingTable, asked: Sequence[tuple[str, str]]) -> list[tuple[object, object]]:
    """What is found of these senders and recipients at once."""
    found = Pairs.of([sender for sender, _ in asked], [recipient for _, recipient in asked])
    assert found is not None
    led = walk_pairs(table, found)
    for number in led.alone:
        led.walk_alone(number)
    assert led.alone == sorted(set(led.alone))
    return [led.walked(number) or (None, None) for number in range(len(asked))]


def alone(table: RoutingTable, asked: Sequence[tuple[str, str]]) -> list[tuple[object, object]]:
    """What is found of each."""
    return [
        walk(table, Envelope(parse_mail_address(sender), parse_mail_address(recipient)))
        or (None, None)
        for sender, recipient in asked
    ]


@settings(max_examples=500)
@given(strategies.routings(), st.lists(strategies.envelopes, min_size=1, max_size=30))
def test_columns_say_what_is_said_of_each(table: RoutingTable, letters: list[Envelope]) -> None:
    asked = [
        (letter.sender.spelling, letter.recipient.spelling)
        for letter in letters
        if letter.sender.literal is None and letter.recipient.literal is None
    ]
    assert not asked or together(table, asked) == alone(table, asked)


def over(match: Document, **table: object) -> RoutingTable:
    """One rule over a table, and a later one that takes the rest."""
    rule = {"match": match, "action": "table:found", "open_relay": True}
    rest = {"match": {}, "action": "smtp://rest.test", "open_relay": True}
    return routing({"tables": {"found": table}, "rules": [rule, rest]})


@pytest.mark.parametrize(
    "match",
    [
        {},
        {"senders": ["x.test"]},
        {"senders": ["*.b.c.d.e.test", "*.test"]},
        {"senders": ["<>", "joe@x.test"]},
        {"recipients": ["*.c.d.e.test"]},
        {"recipients": ["Joe@x.test"], "not": {"senders": ["<>"]}},
        {"clients": ["any"], "not": {"recipients": ["*.test"]}},
        {"clients": ["192.0.2.1"]},
        {"tags": ["t"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("key", ["recipient-domain", "sender-domain", "recipient", "sender"])
@pytest.mark.parametrize("default", [None, "smtp://default.test"])
def test_each_kind_of_condition_and_of_table(
    match: Document, key: str, default: str | None
) -> None:
    entries = {"x.test": "smtp://one.test", "*.d.e.test": "map:pool", "*.e.test": "mx"}
    found = {"key": key, "entries": entries} | ({} if default is None else {"default": default})
    table = over(match, **found)
    addresses = ["", "joe@x.test", "Joe@X.test", f"ann@{DEEP}", "ann@e.test", "ann@elsewhere.org"]
    asked = [(sender, recipient) for sender in addresses for recipient in addresses[1:]]
    assert together(table, asked) == alone(table, asked)


@pytest.mark.parametrize(
    ("side", "pattern"),
    [
        *((side, text) for side in ("senders", "recipients") for text in ("joe@x.test", "x.test")),
        ("senders", "*.test"),
        ("recipients", "*.test"),
        ("senders", "<>"),
    ],
)
def test_of_rules_under_one_key_the_first_takes_it(side: str, pattern: str) -> None:
    rules = [
        {"match": {side: [pattern]}, "action": f"smtp://{place}.test", "open_relay": True}
        for place in ("first", "second", "third")
    ]
    table = routing({"rules": rules})
    asked = [(sender, "joe@x.test") for sender in ("joe@x.test", "", "ann@elsewhere.org")]
    found = together(table, asked)
    assert found == alone(table, asked)
    assert table.ordered[0] in [rule for rule, _ in found]


def test_few_envelopes_are_walked_alone() -> None:
    rules = [
        {"match": {"senders": ["*.x.test"]}, "action": "smtp://one.test"},
        {"match": {"senders": ["y.test"], "not": {"senders": ["ann@y.test"]}}, "action": "mx"},
        {"match": {"clients": ["any"]}, "action": "table:found", "open_relay": True},
    ]
    entries = {f"d{n}.test": "smtp://two.test" for n in range(5)} | {"*.e.test": "mx"}
    tables = {"found": {"key": "recipient-domain", "entries": entries}}
    senders = ["a@s.x.test", "a@b.test", "a@b.test", "a@y.test", "ann@y.test", "a@b.test"]
    recipients = ["u@d1.test", "u@d2.test", f"u@{DEEP}", "u@d1.test", "u@none.test", "u@none.test"]
    pairs = Pairs.of(senders, recipients)
    assert pairs is not None
    assert walk_pairs(routing({"tables": tables, "rules": rules}), pairs).alone == [3, 4, 5]


@pytest.mark.parametrize("recipient", ["", "joe@[192.0.2.1]", '"q"@x.test', "joe"])
def test_what_is_not_ordinary_is_no_pair(recipient: str) -> None:
    assert Pairs.of(["a@b.test", ""], ["x@y.test", recipient]) is None
