"""Mail exchangers: the server's own look-up, `resolve` and a real smtpd, over one DNS."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.routing import document
from app.routing.change import Kind, Subject, apply
from app.routing.envelope import Envelope, parse_mail_address
from app.routing.route import MxAnswer, MxFailure
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.writes import Put, changes_of
from tests.mta.parity import world
from tests.mta.parity.coverage import OUTCOMES
from tests.mta.parity.envelopes import Sent
from tests.mta.parity.expectation import Fate, known_to_differ, mx_answer, resolution
from tests.mta.parity.observation import Ward
from tests.mta.parity.world import Client

REPOSITORY = Path(__file__).parents[2]

# Recipient, what resolve says, and what becomes of the mail: the sink, or how it ends.
EXAMPLES: dict[str, tuple[str, set[str]]] = {
    "u@a.test": ("relay", {"mx1"}),
    "u@x.a.test": ("relay", {"mx2"}),
    "u@y.x.a.test": ("relay", {"mx3"}),
    "u@b.test": ("relay", {"mx2", "mx3"}),
    "u@x.b.test": ("relay", {"mx6"}),
    "u@alias.test": ("relay", {"mx1"}),
    "u@[127.0.1.43]": ("relay", {"mx3"}),
    "u@[IPv6:2001:db8:2::25]": ("relay", {"mx6"}),
    "u@fail.test": ("try-again", {Fate.WAITING}),
    "u@nothing.test": ("try-again", {Fate.WAITING}),
    "u@dead.test": ("try-again", {Fate.WAITING}),
    "u@nx.test": ("undeliverable", {Fate.RETURNED}),
}
# Rows of the capability table: the daemon, before the version that they name, does otherwise.
DIFFERENT: dict[str, tuple[str, str]] = {"u@null.test": ("undeliverable", "null-mx")}

LOOK_UP = """
import asyncio, json, sys
from app.routing.route import MxFailure
from app.server.dns import MxResolver

async def main():
    resolver = MxResolver()
    for domain in sys.argv[1:]:
        found = await resolver.look_up(domain, 0.0)
        failed = isinstance(found, MxFailure)
        print(json.dumps([found.code, found.permanent] if failed else found.hosts))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    opened = Ward.open()
    yield opened
    opened.close()


def routing(*sources: str) -> RoutingTable:
    action = {"kind": "relay", "via": "mx", "sources": list(sources)}
    rule = document.read_rule({"id": "r1", "name": "all", "match": {}, "action": action})
    return apply(EMPTY, changes_of(EMPTY, [Put(Subject(Kind.RULE, "all"), rule)]), 1)


def plain(answer: MxAnswer) -> list[object]:
    if isinstance(answer, MxFailure):
        return [answer.code, answer.permanent]
    return list(answer.hosts)


def test_the_servers_look_up_finds_what_the_zone_says(ward: Ward):
    domains = [name for name in world.ZONE if "zone" not in name] + ["nx.test"]
    done = ward.namespace.run([sys.executable, "-c", LOOK_UP, *domains], directory=str(REPOSITORY))
    found = dict(zip(domains, map(json.loads, done.stdout.splitlines()), strict=True))
    assert found == {domain: plain(mx_answer(domain)) for domain in domains}


def test_mail_goes_to_the_exchangers_that_resolve_names_or_waits_or_comes_back(ward: Ward):
    table = routing()
    recipients = [*EXAMPLES, *DIFFERENT]
    client = Client("loopback", "127.0.0.1")
    ward.load(table)
    outcome = ward.send([Sent("", recipient, client) for recipient in recipients])
    said, became = {}, {}
    for recipient, seen in zip(recipients, outcome.seen, strict=True):
        envelope = Envelope(parse_mail_address(""), parse_mail_address(recipient))
        said[recipient] = OUTCOMES[type(resolution(table, envelope))]
        became[recipient] = seen.delivery.sink if seen.delivery else seen.fate
    assert said == {to: outcome for to, (outcome, _) in (EXAMPLES | DIFFERENT).items()}
    assert all(became[to] in places for to, (_, places) in EXAMPLES.items()), became
    for recipient, (_, code) in DIFFERENT.items():
        differs = known_to_differ(code, ward.version)
        assert became[recipient] == (Fate.WAITING if differs else Fate.RETURNED)


@pytest.mark.parametrize(
    ("sources", "wanted"),
    [
        (["127.0.1.77"], {"u@x.b.test": None, "u@y.x.a.test": "127.0.1.77"}),
        (["2001:db8:ffff::5"], {"u@x.b.test": "2001:db8:ffff::5", "u@y.x.a.test": None}),
    ],
    ids=["IPv4", "IPv6"],
)
def test_a_source_reaches_the_exchangers_of_its_own_family(
    ward: Ward, sources: list[str], wanted: dict[str, str | None]
):
    assert known_to_differ("source-family-found", ward.version)
    client = Client("loopback", "127.0.0.1")
    ward.load(routing(*sources))
    outcome = ward.send([Sent("", recipient, client) for recipient in wanted])
    came_from = [seen.delivery.client if seen.delivery else None for seen in outcome.seen]
    assert came_from == list(wanted.values())
    assert all(seen.delivery or seen.fate is Fate.WAITING for seen in outcome.seen)
