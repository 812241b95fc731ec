"""An envelope goes where the rows say, and where a plain reading of the rules would send it."""

import json
from dataclasses import replace
from functools import partial
from typing import assert_never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.routing import mx
from app.routing.envelope import NULL, Envelope, parse_mail_address
from app.routing.names import host_address, parse_address
from app.routing.relay_url import TLS
from app.routing.resolve import DrawFor, brief, resolve
from app.routing.route import (
    Brief,
    Candidate,
    Draw,
    Host,
    MxAnswer,
    MxFailure,
    MxHosts,
    MxNeeded,
    NeverDelivered,
    Rejected,
    Resolution,
    Route,
    Step,
    TryAgain,
    Unrouted,
)
from app.routing.routing_table import RoutingTable
from tests.oracle import Chance
from tests.unit.routing import plain, strategies
from tests.unit.routing.making import envelope, routing
from tests.vectors.rows import HERE, Row, ids, rows

ROWS = rows("resolution")
ROUTING = json.loads((HERE / "routing.json").read_text(encoding="utf-8"))
SEEN = rows("smtpd_parity_examples")
SEEN_ROUTING = json.loads((HERE / "smtpd_parity_examples.json").read_text(encoding="utf-8"))
FAILURES = {value.code: value for value in vars(mx).values() if isinstance(value, MxFailure)}
NOBODY: frozenset[tuple[str, str]] = frozenset()


def always(draw: Draw) -> DrawFor:
    return lambda _map: draw


def members(text: str) -> frozenset[tuple[str, str]]:
    pairs = (member.split("/") for member in text.split())
    return frozenset((relay_map, relay) for relay_map, relay in pairs)


def mx_of(text: str) -> MxAnswer | None:
    return FAILURES.get(text, MxHosts(tuple(text.split()))) if text else None


def answer(row: Row, *, explain: bool = False) -> Resolution | MxNeeded:
    table = routing(ROUTING | {"out": row["out"].split()})
    draw = Draw(int(row["turn"] or 0))
    mx_answer = mx_of(row["mx"])
    down = members(row["down"])
    return resolve(table, envelope(row), down, lambda _map: draw, mx_answer, explain=explain)


def how(candidate: Candidate) -> str:
    words = {True: "verified", False: "unverified", None: "nobody"}
    transport = candidate.transport
    return f"{transport.protocol} {transport.tls} {words[transport.verify]}"


def said(found: Resolution | MxNeeded) -> dict[str, str]:
    """An answer in the words of the vector."""
    match found:
        case MxNeeded():
            return {"outcome": "mx?"}
        case Unrouted():
            return {"outcome": "unrouted"}
        case Rejected():
            return {"outcome": "reject", "rule": found.rule, "because": found.message or ""}
        case NeverDelivered():
            rule = found.rule or ""
            return {"outcome": "undeliverable", "rule": rule, "because": found.code}
        case TryAgain():
            via = " ".join(filter(None, (found.table, found.relay_map)))
            words = {"outcome": "try-again", "rule": found.rule, "via": via}
            return {**words, "because": found.code}
        case Route():
            return {"outcome": "relay", **_said_of_route(found)}
        case _:
            assert_never(found)


def _said_of_route(found: Route) -> dict[str, str]:
    shares = ("-" if c.share is None else f"{c.share:g}" for c in found.candidates)
    return {
        "rule": found.rule,
        "via": " ".join(filter(None, (found.table, found.relay_map))),
        "places": " ".join(f"{c.mx.host}:{c.mx.port}" for c in found.candidates),
        "shares": " ".join(shares),
        "how": how(found.chosen),
        "mail_from": found.mail_from or "<>",
    }


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_an_envelope_goes_where_its_row_says(row: Row) -> None:
    expected = {
        column: row[column]
        for column in ("outcome", "rule", "via", "places", "shares", "how", "mail_from", "because")
        if row[column]
    }
    assert {name: text for name, text in said(answer(row)).items() if text} == expected


@pytest.mark.parametrize("row", SEEN, ids=ids(SEEN))
def test_an_envelope_goes_where_a_real_mta_took_it(row: Row) -> None:
    """The rows are what smtpd 6.8 and 7.8 were seen to do; 550 is any refusal at RCPT."""
    found = resolve(routing(SEEN_ROUTING), envelope(row), NOBODY, lambda _map: Draw())
    places = {c.mx.host for c in found.candidates if c.share} if isinstance(found, Route) else set()
    assert (said(found).get("rule", "unrouted"), places or {"550"}) == (
        row["rule"],
        set(row["place"].split("|")),
    )


def one(rule: str) -> Row:
    return next(row for row in ROWS if row["rule"] == rule and row["outcome"] == "relay")


def test_a_transport_carries_what_its_action_and_its_relay_say() -> None:
    found = answer(one("shop"))
    assert isinstance(found, Route)
    for candidate in found.candidates:
        transport = candidate.transport
        assert transport.credential == "acct"
        assert (transport.certificate, transport.ca) == ("client", "corp")
        assert transport.helo == "out.shop.example"
        assert [str(source) for source in transport.sources] == ["192.0.2.80", "192.0.2.81"]
    assert [c.relay for c in found.candidates] == ["mx1", "mx2"]
    assert str(found.chosen.url) == "tls+auth://acct@mx1.example.net:587"


def test_a_relay_url_of_a_rule_has_no_name_and_an_exchanger_has_no_url() -> None:
    direct, over_mx = answer(one("trusting")), answer(one("world"))
    assert isinstance(direct, Route)
    assert isinstance(over_mx, Route)
    assert (direct.chosen.relay, str(direct.chosen.url)) == (None, "tls://raw.example")
    assert (over_mx.chosen.relay, over_mx.chosen.url) == (None, None)
    assert over_mx.chosen.mx == Host("mx1.dst.test", 25)


def test_the_trace_names_every_rule_tried_and_what_said_no() -> None:
    found = answer(one("keep"), explain=True)
    assert isinstance(found, Route)
    assert found.trace == (
        Step("spam", matched=False, because="senders"),
        Step("blocked", matched=False, because="recipients"),
        Step("vip", matched=False, because="table"),
        Step("shop", matched=False, because="senders"),
        Step("keep", matched=True),
    )


def test_only_the_map_that_is_picked_from_is_asked_for_its_turn() -> None:
    asked: list[str] = []

    def draw(relay_map: str) -> Draw:
        asked.append(relay_map)
        return Draw()

    table = routing(ROUTING)
    for row in ROWS:
        resolve(table, envelope(row), NOBODY, draw, mx_of(row["mx"]))
        via = row["via"].split()[-1:]
        assert asked == (via if via and via[0] in ROUTING["maps"] else [])
        asked.clear()


def test_a_null_recipient_is_no_recipient() -> None:
    found = resolve(
        routing(ROUTING), Envelope(parse_mail_address("a@b.test"), NULL), NOBODY, lambda _: Draw()
    )
    assert isinstance(found, NeverDelivered)
    assert (found.code, found.trace) == ("bad-address", ())


@settings(max_examples=500)
@given(strategies.routings(), strategies.envelopes, strategies.draws, strategies.draws)
def test_resolve_agrees_with_a_plain_reading_of_the_rules(
    table: RoutingTable, letter: Envelope, draw: Draw, other: Draw
) -> None:
    """The oracle reads the documents word by word and knows no class of the core."""
    asked = MxHosts(("mx.test",))
    written, texts = plain.documents(table), plain.letter_of(letter)
    for drawn in (draw, other):
        expected = written.resolve(texts, Chance(drawn.turn, drawn.uniform))
        for explain in (True, False):
            ask = partial(resolve, table, letter, NOBODY, always(drawn), asked)
            found = ask(explain=explain)
            plain.agree(found, expected)
            assert ask(explain=explain) == found


@settings(max_examples=500)
@given(strategies.routings(), strategies.envelopes, strategies.draws, st.data())
def test_an_answer_without_a_trace_and_one_in_short_are_the_same_answer(
    table: RoutingTable, letter: Envelope, draw: Draw, data: st.DataObject
) -> None:
    relays = sorted((m.name, relay.name) for m in table.maps.values() for relay in m.relays)
    down = frozenset(data.draw(st.lists(st.sampled_from(relays))))
    for asked in (None, MxHosts(("mx.test",))):
        told = resolve(table, letter, down, lambda _map: draw, asked, explain=True)
        found = resolve(table, letter, down, lambda _map: draw, asked)
        assert found == (told if isinstance(told, MxNeeded) else replace(told, trace=()))
        if asked is None:
            assert brief(table, letter, down, lambda _map: draw) == in_short(found)


def in_short(found: Resolution | MxNeeded) -> Brief:
    url = found.chosen.url if isinstance(found, Route) else None
    return type(found), getattr(found, "rule", None), url


@given(strategies.routings(), strategies.envelopes, strategies.draws)
def test_what_is_answered_can_be_done(table: RoutingTable, letter: Envelope, draw: Draw) -> None:
    """A login goes over mandatory TLS, nobody verifies where nobody checks, shares add up."""
    found = resolve(table, letter, NOBODY, lambda _map: draw, MxHosts(("mx.test",)))
    if not isinstance(found, Route):
        return
    for candidate in found.candidates:
        tls = candidate.transport.tls
        assert candidate.transport.credential is None or tls in {TLS.STARTTLS, TLS.SMTPS}
        assert (candidate.transport.verify is None) == (tls in {TLS.OPPORTUNISTIC, TLS.PLAIN})
        address = host_address(candidate.mx.host)
        assert address is None or address == parse_address(candidate.mx.host.strip("[]"))
    shares = [c.share for c in found.candidates if c.share is not None]
    assert sum(shares) == pytest.approx(1) or not shares
