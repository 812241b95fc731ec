"""A rule that nobody can have meant is refused where it is written."""

from typing import Any

import pytest

from app.routing.document import read_rule
from app.routing.errors import Invalid

RELAY = {"kind": "relay", "via": "smtp://a.example"}
REJECT = {"kind": "reject"}


def faults(match: dict[str, Any], action: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    try:
        read_rule({"name": "r", "match": match, "action": action, **more})
    except Invalid as invalid:
        return [(fault.code, fault.pointer) for fault in invalid.faults]
    return []


OPEN = [("open-relay", "/match/clients")]


@pytest.mark.parametrize(
    ("match", "found"),
    [
        ({}, []),
        ({"clients": ["any"]}, OPEN),
        ({"clients": ["local", "any"]}, OPEN),
        ({"clients": ["any"], "senders": ["a.test"]}, OPEN),
        ({"clients": ["any"], "helos": ["mx.test"], "tags": ["in"]}, OPEN),
        ({"clients": ["any"], "not": {"recipients": ["a.test"]}}, OPEN),
        ({"clients": ["any"], "not": {"auth_users": ["*"]}}, OPEN),
        ({"clients": ["0.0.0.0/0"]}, OPEN),
        ({"clients": ["::/0", "192.0.2.1"]}, OPEN),
        ({"clients": ["0.0.0.0/1", "128.0.0.0/1"]}, OPEN),
        ({"clients": ["0.0.0.0/1"]}, []),
        ({"clients": ["any"], "recipients": ["a.test"]}, []),
        ({"clients": ["any"], "auth_users": ["*"]}, []),
        ({"auth_users": ["joe"]}, []),
        ({"clients": ["192.0.2.0/24"]}, []),
    ],
    ids=str,
)
def test_relaying_for_anyone_to_anywhere_must_be_said(
    match: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    assert faults(match, RELAY) == found
    assert faults(match, RELAY, open_relay=True) == []
    assert faults(match, REJECT) == []


@pytest.mark.parametrize(
    ("match", "name"),
    [
        ({"not": {"clients": ["any"]}}, "clients"),
        ({"not": {"clients": ["local"]}}, "clients"),
        ({"clients": ["192.0.2.0/24"], "not": {"clients": ["192.0.0.0/16"]}}, "clients"),
        (
            {"clients": ["192.0.2.0/24"], "not": {"clients": ["192.0.2.0/25", "192.0.2.128/25"]}},
            "clients",
        ),
        ({"auth_users": ["joe"], "not": {"auth_users": ["*"]}}, "auth_users"),
        ({"senders": ["joe@a.test", "<>"], "not": {"senders": ["a.test", "<>"]}}, "senders"),
        ({"recipients": ["b.a.test"], "not": {"recipients": ["*.a.test"]}}, "recipients"),
        ({"helos": ["*.mx.test"], "not": {"helos": ["*.test"]}}, "helos"),
        ({"tags": ["in"], "not": {"tags": ["IN", "out"]}}, "tags"),
    ],
    ids=str,
)
def test_a_rule_that_can_never_match_is_refused(match: dict[str, Any], name: str) -> None:
    assert faults(match, REJECT) == [("never-matches", f"/match/not/{name}")]


@pytest.mark.parametrize(
    "match",
    [
        {"not": {"clients": ["127.0.0.1", "::1"]}},
        {"clients": ["any"], "not": {"clients": ["0.0.0.0/0", "::/0"]}},
        {"clients": ["192.0.2.0/24"], "not": {"clients": ["192.0.2.128/25"]}},
        {"not": {"senders": ["*.test"]}},
        {"senders": ["a.test"], "not": {"senders": ["*.a.test", "joe@a.test"]}},
        {"recipients": ["*.a.test"], "not": {"recipients": ["a.test"]}},
        {"auth_users": ["*"], "not": {"auth_users": ["joe"]}},
    ],
    ids=str,
)
def test_a_rule_that_some_envelope_meets_is_taken(match: dict[str, Any]) -> None:
    assert faults(match, REJECT) == []


@pytest.mark.parametrize(
    ("member", "value"),
    [("ttl_s", 59), ("ttl_s", 2_592_001), ("priority", -1), ("priority", 1_000_001)],
)
def test_numbers_of_a_rule_have_bounds(member: str, value: int) -> None:
    if member == "priority":
        assert faults({}, REJECT, priority=value) == [("out-of-range", "/priority")]
    else:
        found = faults({}, {**RELAY, member: value})
        assert found == [("out-of-range", f"/action/{member}")]


def test_a_rule_has_at_most_100_sources() -> None:
    sources = [f"192.0.2.{n}" for n in range(101)]
    assert faults({}, {**RELAY, "sources": sources}) == [("bad-list", "/action/sources")]
    assert faults({}, {**RELAY, "sources": sources[:100]}) == []


def test_a_reject_takes_nothing_of_a_relay_action() -> None:
    assert faults({}, {**REJECT, "via": "mx"}) == [("unknown-member", "/action")]
