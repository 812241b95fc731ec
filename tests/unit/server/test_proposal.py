"""What an edit would do: ids and revisions are given, faults point to what was sent."""

import pytest

from app.routing import document
from app.routing.change import Kind, Subject, apply
from app.routing.errors import Invalid, Unknown
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.rule import Rule
from app.routing.writes import Delete, DeleteRelay, Put, PutRelay, Write, changes_of
from app.server.proposal import Proposal, check, propose, propose_restore
from app.server.storage import NewSecret

RULE_A, RULE_B = Subject(Kind.RULE, "a"), Subject(Kind.RULE, "b")
POOL = Subject(Kind.RELAY_MAP, "pool")
LABEL = Subject(Kind.CREDENTIAL, "acct")
SECRET = {"acct": NewSecret("user", "password")}


def rule(subject: Subject, via: str = "mx", given_id: str = "") -> Put:
    read = document.read_rule(
        {
            "id": given_id,
            "name": subject.name,
            "match": {"recipients": [f"{subject.name}.example"]},
            "action": {"kind": "relay", "via": via},
        }
    )
    return Put(subject, read)


def pool(*urls: str) -> Put:
    relays = [{"name": f"mx{n}", "url": url} for n, url in enumerate(urls, start=1)]
    value = document.read_relay_map({"name": "pool", "policy": "random", "relays": relays})
    return Put(POOL, value)


def credential(*hosts: str) -> Put:
    return Put(LABEL, document.read_credential({"label": "acct", "hosts": list(hosts)}))


def made(*writes: Write) -> RoutingTable:
    return apply(EMPTY, propose(EMPTY, writes, 0, SECRET, {}).changes, 1)


def ids(table: RoutingTable) -> dict[str, str]:
    return {name: found.id for name, found in table.rules.items()}


def test_an_id_that_is_sent_is_ignored() -> None:
    assert ids(made(rule(RULE_A, given_id="r77"), rule(RULE_B, given_id="r1"))) == {
        "a": "r1",
        "b": "r2",
    }


def test_the_counter_moves_only_with_rules_that_are_made() -> None:
    table = made(rule(RULE_A))
    assert propose(table, [rule(RULE_A)], 1, {}, {}).rule_counter == 1
    assert propose(table, [rule(RULE_A, "smtp://mx.example")], 1, {}, {}).rule_counter == 1
    assert propose(table, [rule(RULE_B)], 1, {}, {}).rule_counter == 2
    assert propose(table, [rule(RULE_B), Delete(RULE_B)], 1, {}, {}).rule_counter == 1


def test_a_secret_that_is_stored_already_is_not_stored_again() -> None:
    table = made(credential("a.example"))
    same = propose(table, [credential("a.example")], 0, SECRET, SECRET)
    assert (same.changes, dict(same.secrets)) == ((), {})
    wider = propose(table, [credential("a.example", "b.example")], 0, SECRET, SECRET)
    assert len(wider.changes) == 1
    assert dict(wider.secrets) == {}
    other = {"acct": NewSecret("user", "another")}
    changed = propose(table, [credential("a.example")], 0, other, SECRET)
    assert dict(changed.secrets) == other
    (change,) = changed.changes
    assert change.after == apply(table, [change]).credentials["acct"]
    assert apply(table, [change]).credentials["acct"].revision == table.revision + 1


def test_a_secret_without_its_credential_goes_nowhere() -> None:
    assert dict(propose(EMPTY, [rule(RULE_A)], 0, SECRET, {}).secrets) == {}


def checked(table: RoutingTable, proposal: Proposal) -> None:
    check(table, apply(table, proposal.changes), proposal)


def pointers(table: RoutingTable, *writes: Write) -> list[str]:
    with pytest.raises(Invalid) as refused:
        checked(table, propose(table, writes, 0, {}, {}))
    return sorted(fault.pointer for fault in refused.value.faults)


def test_a_fault_points_into_the_body_that_was_sent() -> None:
    assert pointers(EMPTY, rule(RULE_A, "map:none")) == ["/action/via"]
    assert pointers(EMPTY, rule(RULE_B), rule(RULE_A, "map:none")) == ["/changes/1/body/action/via"]
    assert pointers(EMPTY, pool("smtp://a.example", "tls://acct@b.example")) == ["/relays/1/url"]


def test_a_fault_of_a_relay_points_into_the_body_of_the_relay() -> None:
    relay = document.read_relay({"name": "new", "url": "tls://acct@b.example"})
    table = made(pool("smtp://a.example"))
    assert pointers(table, PutRelay("pool", relay)) == ["/url"]


def test_a_fault_in_what_was_not_sent_names_its_subject() -> None:
    table = made(credential("a.example"), pool("tls://acct@a.example"))
    with pytest.raises(Invalid) as refused:
        checked(table, propose(table, [credential("b.example")], 0, SECRET, SECRET))
    (fault,) = refused.value.faults
    assert fault.pointer == ""
    assert fault.detail.startswith("relay-maps/pool: ")


def test_the_last_relay_of_a_map_is_not_deleted_alone() -> None:
    table = made(pool("smtp://a.example"))
    with pytest.raises(Invalid):
        checked(table, propose(table, [DeleteRelay("pool", "mx1")], 0, {}, {}))


def test_what_is_not_there_is_not_deleted() -> None:
    with pytest.raises(Unknown):
        propose(EMPTY, [Delete(RULE_A)], 0, {}, {})


def test_a_restore_gives_back_the_rule_that_it_was() -> None:
    then = made(rule(RULE_A))
    gone = apply(then, changes_of(then, [Delete(RULE_A)]), 2)
    remade = apply(gone, propose(gone, [rule(RULE_A)], 1, {}, {}).changes, 3)
    assert ids(remade) == {"a": "r2"}
    (change,) = propose_restore(remade, then, 2).changes
    assert isinstance(change.after, Rule)
    assert change.after.id == "r1"
