"""What is wrong with a routing is found, with the code, the subject and the pointer of its row."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import given

from app.routing import check
from app.routing.change import Kind, Subject, apply
from app.routing.check import Finding, Severity, errors, findings, missing_credentials
from app.routing.next_hop import parse_entry_hop
from app.routing.relay_map import OutOfService
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.writes import Put, changes_of
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


def test_what_rules_say_is_found_once_however_often_anything_else_is_edited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what entries say is found anew: each way to be wrong, among 200 rules and 200 maps."""
    looked = Counter[str]()

    def counted(name: str) -> None:
        whole = getattr(check, name)

        def count(*args: object) -> object:
            looked[name] += 1
            return whole(*args)

        monkeypatch.setattr(check, name, count)

    for name in ("shadowed", "overlapping", "faults_of"):
        counted(name)
    maps = {f"m{n}": {"policy": "random", "relays": [f"smtp://a{n}.example"]} for n in range(200)}
    table = routing(
        {
            "maps": maps,
            "tables": {"t": {"key": "sender", "entries": {}}},
            "credentials": {"acct": ["a.example"], "idle": ["b.example"]},
            "rules": [{"match": {"tags": [f"t{n}"]}, "action": f"map:m{n}"} for n in range(199)]
            + [{"action": "table:t"}],
        }
    )
    unused = ["unused-credential", "unused-credential", "unused-map"]
    assert [finding.code for finding in findings(table)] == unused
    once = looked.copy()
    assert once == {"shadowed": 1, "overlapping": 1, "faults_of": 200}
    for number, (via, expected) in enumerate(
        [
            ("mx", unused),
            ("map:m199", unused[:2]),
            ("map:gone", ["dangling-map", *unused]),
            ("tls://acct@a.example", ["unused-credential", "unused-map"]),
            ("tls://acct@b.example", ["credential-not-for-host", *unused[1:]]),
            ("ssl://c.example:25", [*unused[:2], unused[2], "ssl-on-starttls-port"]),
        ],
        start=2,
    ):
        entry = Put(Subject(Kind.ENTRY, "t", "a.test"), parse_entry_hop(via))
        table = apply(table, changes_of(table, [entry]), number)
        assert sorted(finding.code for finding in findings(table)) == sorted(expected), via
    out = Put(Subject(Kind.RELAY_STATE, "m0", "a0.example"), OutOfService())
    table = apply(table, changes_of(table, [out]), 9)
    assert "all-out" in {finding.code for finding in findings(table)}
    assert looked == once
    rule = Put(Subject(Kind.RULE, "r3"), replace(table.rules["r3"], priority=0))
    findings(apply(table, changes_of(table, [rule]), 10))
    assert looked["shadowed"] == 2, "a rule is another matter"


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
