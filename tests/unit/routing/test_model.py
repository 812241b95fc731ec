"""The model that an MTA is given has one digest, wherever and in whatever order it was made."""

import json
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given

from app.routing.errors import Invalid
from app.routing.model import model_digest, read_model
from app.routing.relay_map import OutOfService
from app.routing.routing_table import RoutingTable
from app.routing.uses import labels_in_use
from tests.unit.routing import strategies
from tests.unit.routing.making import model_document, routing


@given(strategies.routings())
def test_a_model_is_read_back_with_the_same_digest(table: RoutingTable) -> None:
    sent = json.loads(json.dumps(model_document(table)))
    read = read_model(sent, table.revision)
    assert read.revision == table.revision
    assert model_document(read) == model_document(table)
    assert model_digest(read) == model_digest(table)
    assert read.ordered == tuple(replace(rule, description="") for rule in table.ordered)


@given(strategies.routings())
def test_the_digest_does_not_hang_on_the_order_of_making(table: RoutingTable) -> None:
    turned = replace(
        table,
        maps=dict(reversed(list(table.maps.items()))),
        states=dict(reversed(list(table.states.items()))),
        tables=dict(reversed(list(table.tables.items()))),
        entries={
            name: dict(reversed(list(entries.items())))
            for name, entries in reversed(list(table.entries.items()))
        },
        rules=dict(reversed(list(table.rules.items()))),
        credentials=dict(reversed(list(table.credentials.items()))),
    )
    assert model_digest(turned) == model_digest(table)


@given(strategies.routings())
def test_what_only_people_read_is_not_in_the_model(table: RoutingTable) -> None:
    reworded = replace(
        table,
        maps={
            name: replace(
                m,
                description="other",
                relays=tuple(replace(relay, comment="other") for relay in m.relays),
            )
            for name, m in table.maps.items()
        },
        states=dict.fromkeys(table.states, OutOfService("other")),
        tables={name: replace(t, description="other") for name, t in table.tables.items()},
        rules={name: replace(rule, description="other") for name, rule in table.rules.items()},
    )
    assert model_digest(reworded) == model_digest(table)


SMALL: dict[str, Any] = {
    "maps": {"m": {"policy": "ratio", "relays": ["tls://acct@a.example", "smtp://b.example"]}},
    "tables": {"t": {"key": "sender", "entries": {"a.test": "map:m"}}},
    "credentials": {"acct": ["a.example"], "spare": ["b.example"]},
    "rules": [{"name": "r", "action": "table:t"}],
}


@pytest.mark.parametrize(
    "change",
    [
        {"maps": {"m": {"policy": "random", "relays": SMALL["maps"]["m"]["relays"]}}},
        {"maps": {"m": {"policy": "ratio", "relays": ["tls://acct@a.example"]}}},
        {"out": ["m/a.example"]},
        {"tables": {"t": {"key": "recipient", "entries": {"a.test": "map:m"}}}},
        {"tables": {"t": {"key": "sender", "entries": {"b.test": "map:m"}}}},
        {"tables": {"t": {"key": "sender", "default": "mx", "entries": {"a.test": "map:m"}}}},
        {"credentials": {"acct": ["*.example"]}},
        {"rules": [{"name": "s", "action": "table:t"}]},
        {"rules": [{"name": "r", "action": "table:t", "match": {"tags": ["in"]}}]},
        {"rules": []},
    ],
    ids=str,
)
def test_whatever_an_mta_would_do_otherwise_changes_the_digest(change: dict[str, object]) -> None:
    assert model_digest(routing(SMALL | change)) != model_digest(routing(SMALL))


def test_a_model_holds_the_credentials_that_its_rules_use_and_no_other() -> None:
    table = routing(SMALL)
    assert labels_in_use(table) == {"acct"}
    (credential,) = cast("list[dict[str, object]]", model_document(table)["credentials"])
    assert credential["label"] == "acct"
    off = routing(SMALL | {"rules": [{"name": "r", "enabled": False, "action": "table:t"}]})
    assert labels_in_use(off) == frozenset()
    assert model_document(off)["rules"] == []


@pytest.mark.parametrize(
    "member", ["relay_maps", "out", "tables", "rules", "credentials", "surprise"]
)
def test_what_is_no_model_is_refused(member: str) -> None:
    broken = {**model_document(routing(SMALL)), member: "x"}
    with pytest.raises(Invalid):
        read_model(broken, 1)
