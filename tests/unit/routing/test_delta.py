"""A delta done to a model gives the other model, and nothing that is no delta is done at all."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.change import Kind, Subject, apply, diff
from app.routing.credential import Credential
from app.routing.delta import delta_of, done, read_delta
from app.routing.errors import Invalid, Unknown
from app.routing.model import model_digest, read_model
from app.routing.next_hop import MX, parse_entry_hop
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.table import Table, TableKey
from app.routing.writes import Delete, Put, changes_of
from tests.unit.routing import strategies
from tests.unit.routing.counting import Counting
from tests.unit.routing.making import model_document, routing


def model_of(table: RoutingTable) -> RoutingTable:
    """The routing as an agent has it that was given the whole model."""
    return read_model(json.loads(json.dumps(model_document(table))), table.revision)


def told(old: RoutingTable, new: RoutingTable) -> RoutingTable:
    """What an agent that has the old model makes of what it is told."""
    touched = [change.subject for change in diff(old, new)]
    rows = json.loads(json.dumps(delta_of(old, new, touched).rows))
    had = model_of(old)
    return done(had, read_delta(rows, had.tables), new.revision)


@given(st.data(), strategies.routings())
def test_the_delta_of_an_edit_makes_the_new_model_of_the_old(
    data: st.DataObject, table: RoutingTable
) -> None:
    edit = data.draw(strategies.edits(table))
    after = apply(table, changes_of(table, edit), table.revision + 1)
    made = told(table, after)
    assert made.revision == after.revision
    assert model_document(made) == model_document(after)
    assert model_digest(made) == model_digest(after)
    assert model_digest(made) == model_digest(model_of(after)), "carried on is made anew"


@given(strategies.routings(), strategies.routings())
def test_the_delta_of_any_two_routings_makes_one_of_the_other(
    old: RoutingTable, new: RoutingTable
) -> None:
    assert model_document(told(old, new)) == model_document(new)


@given(st.data(), strategies.routings())
def test_the_labels_of_a_delta_are_what_the_agent_lacks(
    data: st.DataObject, table: RoutingTable
) -> None:
    used = {each["label"]: each for each in credentials(table)}
    moved = (
        data.draw(st.sets(st.sampled_from(sorted(table.credentials)))) if table.credentials else ()
    )
    later = {
        label: replace(each, revision=5) if label in moved else each
        for label, each in table.credentials.items()
    }
    after = replace(table, credentials=later)
    touched = [Subject(Kind.CREDENTIAL, label) for label in moved]
    assert delta_of(table, after, touched).labels == used.keys() & moved
    assert delta_of(EMPTY, after, [c.subject for c in diff(EMPTY, after)]).labels == used.keys()


def credentials(table: RoutingTable) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = model_document(table)["credentials"]
    return found


MADE: dict[str, Any] = {
    "maps": {"m": {"policy": "ratio", "relays": ["tls://acct@a.example", "smtp://b.example"]}},
    "tables": {"t": {"key": "sender", "entries": {"a.test": "map:m", "b.test": "mx"}}},
    "credentials": {"acct": ["a.example"], "spare": ["b.example"]},
    "rules": [{"name": "r", "action": "table:t"}],
}
ENTRY = Subject(Kind.ENTRY, "t", "c.test")


def rows_of(old: RoutingTable, new: RoutingTable) -> list[str]:
    rows = delta_of(old, new, [change.subject for change in diff(old, new)]).rows
    return [
        f"{'-' if row['value'] is None else '+'} {Subject(Kind(str(row['kind'])), str(row['name']), str(row['member']))}"
        for row in rows
    ]


def test_only_what_an_mta_would_do_otherwise_is_told() -> None:
    table = routing(MADE)
    reworded = replace(table.tables["t"], description="other")
    assert rows_of(table, replace(table, tables={"t": reworded})) == []
    spare = replace(table.credentials["spare"], revision=9)
    assert (
        rows_of(table, replace(table, credentials=dict(table.credentials) | {"spare": spare})) == []
    )
    off = {"r": replace(table.rules["r"], enabled=False)}
    assert rows_of(table, replace(table, rules=off)) == ["- rules/r", "- credentials/acct"]
    assert rows_of(replace(table, rules=off), table) == ["+ credentials/acct", "+ rules/r"]
    added = apply(table, changes_of(table, [Put(ENTRY, MX)]))
    assert rows_of(table, added) == ["+ tables/t/entries/c.test"]
    assert rows_of(added, table) == ["- tables/t/entries/c.test"]


def test_a_credential_comes_into_use_by_an_entry_and_goes_with_it() -> None:
    table = routing(MADE)
    using = apply(table, changes_of(table, [Put(ENTRY, parse_entry_hop("tls://spare@b.example"))]))
    assert rows_of(table, using) == ["+ credentials/spare", "+ tables/t/entries/c.test"]
    assert rows_of(using, table) == ["- tables/t/entries/c.test", "- credentials/spare"]
    assert delta_of(table, using, [ENTRY]).labels == {"spare"}
    assert delta_of(using, table, [ENTRY]).labels == frozenset()


def test_a_table_that_comes_to_have_another_key_has_all_its_entries_anew() -> None:
    old = routing(MADE)
    new = replace(old, tables={"t": Table("t", TableKey.RECIPIENT)})
    assert rows_of(old, new) == [
        "- tables/t/entries/a.test",
        "- tables/t/entries/b.test",
        "+ tables/t",
        "+ tables/t/entries/a.test",
        "+ tables/t/entries/b.test",
    ]
    assert model_digest(told(old, new)) == model_digest(new)


def test_the_order_is_that_in_which_it_can_be_done() -> None:
    table = routing(MADE | {"out": ["m/a.example"]})
    assert rows_of(EMPTY, table) == [
        "+ credentials/acct",
        "+ relay-maps/m",
        "+ relay-maps/m/relays/a.example/state",
        "+ tables/t",
        "+ tables/t/entries/a.test",
        "+ tables/t/entries/b.test",
        "+ rules/r",
    ]
    assert rows_of(table, EMPTY) == [
        "- rules/r",
        "- tables/t/entries/a.test",
        "- tables/t/entries/b.test",
        "- tables/t",
        "- relay-maps/m/relays/a.example/state",
        "- relay-maps/m",
        "- credentials/acct",
    ]


def row(kind: str, name: str, member: str = "", value: object = None) -> dict[str, object]:
    return {"kind": kind, "name": name, "member": member, "value": value}


_RULE = {"name": "r", "action": {"kind": "relay", "via": "mx"}}
_TABLE = {"name": "n", "key": "auth-user"}


@pytest.mark.parametrize(
    "rows",
    [
        [row("tables", "n", value=_TABLE), row("entries", "n", "bob", {"key": "bob", "via": "mx"})],
        [row("entries", "t", "a.test")],
        [row("relay-maps", "m")],
        [row("state", "m", "a.example", {"state": "out"})],
        [row("rules", "r", value=_RULE)],
        [],
    ],
    ids=str,
)
def test_what_is_a_delta_is_read(rows: list[object]) -> None:
    writes = read_delta(rows, {"t": Table("t", TableKey.SENDER)})
    assert len(writes) == len(rows)
    assert all(isinstance(write, Put | Delete) for write in writes)


@pytest.mark.parametrize(
    ("rows", "pointer"),
    [
        ("x", ""),
        ({}, ""),
        ([row("rules", "r")] * 11, ""),
        (["x"], "/0"),
        ([row("surprise", "r")], "/0/kind"),
        ([{"name": "r", "member": "", "value": None}], "/0/kind"),
        ([{"kind": "rules", "member": "", "value": None}], "/0/name"),
        ([{"kind": "rules", "name": "r", "value": None}], "/0/member"),
        ([row("rules", "r") | {"more": 1}], "/0"),
        ([row("rules", "R")], "/0/name"),
        ([row("rules", "../r")], "/0/name"),
        ([row("credentials", "Acct")], "/0/name"),
        ([row("rules", "r", "x")], "/0/member"),
        ([row("state", "m", "A.example")], "/0/member"),
        ([row("entries", "t", "A.test")], "/0/member"),
        ([row("entries", "t", "a b")], "/0/member"),
        ([row("entries", "none", "a.test")], "/0/member"),
        ([row("entries", "t", "a.test", {"key": "b.test", "via": "mx"})], "/0/value"),
        ([row("entries", "t", "a.test", {"key": "a.test", "via": "table:t"})], "/0/value/via"),
        ([row("entries", "t", "a.test", {"key": "a.test", "via": "mx", "x": 1})], "/0/value"),
        ([row("state", "m", "r", {"state": "active"})], "/0/value"),
        ([row("state", "m", "r", {"state": "out", "reason": "x"})], "/0/value/reason"),
        ([row("rules", "r", value=_RULE | {"name": "s"})], "/0/value"),
        ([row("rules", "r", value=_RULE | {"enabled": False})], "/0/value/enabled"),
        ([row("rules", "r", value="x")], "/0/value"),
        ([row("tables", "n", value={"name": "n", "key": "x"})], "/0/value/key"),
        ([row("rules", "r"), row("tables", "n", value={})], "/1/value/name"),
    ],
    ids=str,
)
def test_what_is_no_delta_is_refused_with_its_place(rows: object, pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_delta(rows, {"t": Table("t", TableKey.SENDER)}, limit=10)
    assert pointer in {fault.pointer for fault in refused.value.faults}


@pytest.mark.parametrize(
    "rows", [[row("rules", "none")], [row("state", "m", "none", {"state": "out"})]], ids=str
)
def test_what_does_not_fit_the_model_is_not_done(rows: list[object]) -> None:
    table = routing(MADE)
    with pytest.raises(Unknown):
        done(table, read_delta(rows, table.tables), 2)


def test_a_small_delta_of_many_entries_is_done_without_walking_over_them() -> None:
    kept = Counting({f"k{number}.test": MX for number in range(10_000)})
    table = replace(routing(MADE), entries={"t": kept})
    model_digest(table)
    walks = kept.walks
    wide = Credential("acct", 7, ("a.example", "c.example"))
    using = parse_entry_hop("tls://acct@c.example")
    writes = [Put(Subject(Kind.CREDENTIAL, "acct"), wide), Put(ENTRY, using)]
    after = apply(table, changes_of(table, writes), 2)
    delta = delta_of(table, after, [write.subject for write in writes])
    made = done(table, read_delta(list(delta.rows), table.tables), 2)
    assert model_digest(made) == model_digest(after) != model_digest(table)
    assert kept.walks == walks
