"""What is wrong with a routing is found, with the code, the subject and the pointer of its row."""

import json
from collections.abc import Mapping
from typing import TypeVar

import pytest
from hypothesis import given

from app.routing.check import Finding, Severity, errors, findings, missing_credentials
from app.routing.routing_table import EMPTY, RoutingTable
from tests.unit.routing import strategies
from tests.unit.routing.making import routing
from tests.vectors.rows import Row, ids, rows

ROWS = rows("findings")

K = TypeVar("K")
V = TypeVar("V")


def said(finding: Finding) -> str:
    return f"{finding.severity} {finding.code} {finding.subject} {finding.pointer}"


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_a_routing_has_the_findings_of_its_row(row: Row) -> None:
    found = findings(routing(json.loads(row["routing"])))
    expected = [text.strip(" ") for text in row["found"].split(";") if text.strip()]
    assert sorted(said(finding).strip() for finding in found) == sorted(expected)


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_errors_are_the_findings_that_refuse(row: Row) -> None:
    table = routing(json.loads(row["routing"]))
    assert errors(table) == tuple(f for f in findings(table) if f.severity is Severity.ERROR)


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_a_label_that_may_not_be_used_is_missing_for_a_restore(row: Row) -> None:
    table = routing(json.loads(row["routing"]))
    about = {"dangling-credential", "credential-not-for-host", "credential-needs-verify"}
    expected = sorted(f.code for f in findings(table) if f.code in about)
    assert sorted(fault.code for fault in missing_credentials(table)) == expected


def test_errors_come_before_warnings() -> None:
    found = findings(
        routing(
            {
                "maps": {"a": {"policy": "random", "relays": ["smtp://a.example"]}},
                "rules": [{"name": "z", "action": "map:gone"}],
            }
        )
    )
    assert [f.severity for f in found] == [Severity.ERROR, Severity.WARNING]


def test_a_map_whose_relays_in_service_are_all_down_is_found() -> None:
    relays = ["smtp://a.example", "smtp://b.example"]
    table = routing(
        {
            "maps": {"m": {"policy": "random", "relays": relays}},
            "rules": [{"action": "map:m"}],
            "out": ["m/a.example"],
        }
    )
    assert findings(table, frozenset({("m", "a.example")})) == ()
    (found,) = findings(table, frozenset({("m", "b.example")}))
    assert said(found) == "warning all-down relay-maps/m /relays"


def test_an_empty_routing_has_no_findings() -> None:
    assert findings(EMPTY) == ()


def backwards(collection: Mapping[K, V]) -> dict[K, V]:
    return {key: collection[key] for key in reversed(list(collection))}


@given(strategies.routings())
def test_findings_are_alike_however_a_routing_was_made(table: RoutingTable) -> None:
    turned = RoutingTable(
        table.revision,
        backwards(table.maps),
        backwards(table.states),
        backwards(table.tables),
        {name: backwards(entries) for name, entries in backwards(table.entries).items()},
        backwards(table.rules),
        backwards(table.credentials),
    )
    assert findings(turned) == findings(table)
