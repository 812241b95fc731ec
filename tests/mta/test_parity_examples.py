"""48 envelopes that a mail engineer can read, over one routing that uses everything."""

from collections.abc import Iterator

import pytest

from app.routing import document
from app.routing.change import Kind, Subject, apply
from app.routing.document import Document
from app.routing.next_hop import parse_entry_hop
from app.routing.route import NeverDelivered, Rejected, Route, TryAgain, Unrouted
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.writes import Put, changes_of
from tests.mta.bed.sinks import Sink
from tests.mta.parity import world
from tests.mta.parity.envelopes import Sent
from tests.mta.parity.expectation import resolution, sinks_of
from tests.mta.parity.live_ward import LiveWard
from tests.mta.parity.observation import Ward
from tests.mta.parity.world import Client
from tests.vectors.rows import rows

# A sink is named by what the vectors call it, and stands where the world has one of its kind.
SINKS: dict[str, Sink] = {
    **{f"s{n}": sink for n, sink in enumerate(world.PLAIN[:4], 1)},
    "s5": world.PLAIN[4],
    "s6": world.SIX,
    "s7": world.OPTIONAL,
    "tls": world.OTHERS[0],
}
URLS = {name: sink.url("smtp+notls") for name, sink in SINKS.items()}
POOL: Document = {
    "name": "pool",
    "relays": [{"name": name, "url": URLS[name]} for name in ("s1", "s2")],
}
TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "bydom": (
        "recipient-domain",
        {"vip.test": URLS["s4"], "*.vip.test": URLS["s5"], "old.test": "map:pool"},
    ),
    "bysend": ("sender", {"ceo@corp.test": URLS["s6"], "*.corp.test": URLS["s7"]}),
}
RULES: dict[str, Document] = {
    "r1": {
        "match": {
            "clients": ["any"],
            "senders": ["spam.test", "*.spam.test"],
            "recipients": ["example.test", "*.example.test", "postmaster@other.test"],
            "not": {"recipients": ["abuse@example.test"], "tags": ["SUB"]},
        },
        "action": {"kind": "reject"},
    },
    "r2": {
        "match": {
            "clients": ["any"],
            "auth_users": ["alice", "bob"],
            "tags": ["SUB"],
            "not": {"recipients": ["*.internal.test"]},
        },
        "action": {
            "kind": "relay",
            "via": URLS["s3"],
            "mail_from": "@out.example.test",
            "helo": "out.example.test",
            "sources": ["127.0.1.80"],
        },
    },
    "r3": {
        "match": {
            "clients": ["local", "192.0.2.0/24"],
            "not": {"clients": ["192.0.2.128/25"]},
        },
        "action": {"kind": "relay", "via": "table:bydom"},
    },
    "r4": {
        "match": {"clients": ["local", "198.51.100.0/24", "2001:db8:1::/48"]},
        "action": {"kind": "relay", "via": "table:bysend"},
    },
    "r5": {
        "match": {
            "clients": ["local", "192.0.2.0/24"],
            "senders": ["example.test", "*.example.test", "<>"],
            "helos": ["*.example.test", "mx.test"],
            "not": {"senders": ["bulk@example.test", "*.bulk.example.test"]},
        },
        "action": {"kind": "relay", "via": "map:pool", "ttl_s": 3600},
    },
    "r6": {
        "match": {"recipients": ["tls.test", "*.tls.test", "joe@mixed.test"]},
        "action": {
            "kind": "relay",
            "via": world.OTHERS[0].url("smtp+tls"),
            "ca": world.OTHER_CA,
        },
    },
}


def routing() -> RoutingTable:
    writes = [Put(Subject(Kind.RELAY_MAP, "pool"), document.read_relay_map(POOL))]
    for name, (key, entries) in TABLES.items():
        writes.append(
            Put(Subject(Kind.TABLE, name), document.read_table({"name": name, "key": key}))
        )
        writes += [
            Put(Subject(Kind.ENTRY, name, text), parse_entry_hop(hop))
            for text, hop in entries.items()
        ]
    for place, (name, rule) in enumerate(RULES.items(), 1):
        fixed: Document = {"name": name, "id": name, "priority": 10 * place}
        writes.append(Put(Subject(Kind.RULE, name), document.read_rule(rule | fixed)))
    return apply(EMPTY, changes_of(EMPTY, writes), 1)


def examples() -> list[tuple[Sent, str, set[str]]]:
    return [
        (
            Sent(
                row["sender"].replace("<>", ""),
                row["recipient"],
                Client("", row["client"].replace("local", "127.0.0.1")),
                row["auth_user"],
                row["helo"],
                row["tag"],
            ),
            row["rule"],
            set(row["place"].split("|")),
        )
        for row in rows("smtpd_parity_examples")
    ]


@pytest.fixture(scope="module", params=[Ward, LiveWard], ids=["static", "live"])
def ward(request: pytest.FixtureRequest) -> Iterator[Ward]:
    opened = request.param.open()
    yield opened
    opened.close()


def places_of(answer: Route | Rejected | Unrouted | NeverDelivered | TryAgain) -> set[str]:
    if not isinstance(answer, Route):
        return {"550"}
    reached = [sink.name for one in answer.candidates if one.share for sink in sinks_of(one)]
    return {name for name, sink in SINKS.items() if sink.name in reached}


def test_resolve_and_the_daemon_say_what_the_examples_say(ward: Ward):
    table = routing()
    known = examples()
    assert len(known) == 48
    ward.load(table)
    outcome = ward.send([sent for sent, _, _ in known])
    named = {sink.name: name for name, sink in SINKS.items()}
    for (sent, rule, places), seen in zip(known, outcome.seen, strict=True):
        answer = resolution(table, sent.envelope())
        assert (getattr(answer, "rule", "unrouted"), places_of(answer)) == (rule, places), sent
        place = named[seen.delivery.sink] if seen.delivery else str(seen.code)
        assert place in places, sent
