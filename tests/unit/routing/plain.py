"""Holds answers of the core against those of the plain resolver, which reads documents."""

from typing import Any

from app.routing import document
from app.routing.envelope import LOOPBACK, Envelope
from app.routing.route import (
    Candidate,
    MxNeeded,
    NeverDelivered,
    Rejected,
    Resolution,
    Route,
    TryAgain,
    Unrouted,
)
from app.routing.routing_table import RoutingTable
from tests.oracle import Letter, Routing

Seen = dict[str, Any]

_OUTCOMES = {Rejected: "reject", Unrouted: "unrouted", TryAgain: "try-again", Route: "relay"}


def documents(table: RoutingTable) -> Routing:
    """The routing as its documents say it."""
    return Routing(
        {name: document.relay_map_document(each) for name, each in table.maps.items()},
        {name: document.table_document(each) for name, each in table.tables.items()},
        {n: {key: str(hop) for key, hop in each.items()} for n, each in table.entries.items()},
        {name: document.rule_document(each) for name, each in table.rules.items()},
        set(table.states),
    )


def letter_of(envelope: Envelope) -> Letter:
    """The envelope in texts."""
    assert envelope.own_addresses == LOOPBACK
    return Letter(
        envelope.sender.spelling,
        envelope.recipient.spelling,
        "local" if envelope.client is None else str(envelope.client),
        envelope.auth_user,
        envelope.helo,
        envelope.tag,
    )


def agree(found: Resolution | MxNeeded, expected: Seen) -> None:
    """Fail unless an answer is what the plain resolver says; its trace only if it has one."""
    assert not isinstance(found, MxNeeded | NeverDelivered)
    seen: Seen = {"outcome": _OUTCOMES[type(found)]}
    wanted = {name: value for name, value in expected.items() if name != "first"}
    if not isinstance(found, Unrouted):
        seen["rule"] = found.rule
    if isinstance(found, Route):
        seen |= {"table": found.table, "map": found.relay_map, "mail_from": found.mail_from}
        seen["all"] = {_place(candidate) for candidate in found.candidates}
        assert _place(found.chosen) in expected.get("first", ())
    seen["trace"] = [(step.rule, step.because) for step in found.trace] or wanted["trace"]
    assert seen == wanted


def _place(candidate: Candidate) -> str:
    return candidate.relay or (str(candidate.url) if candidate.url else "mx")
