"""Over many messages every relay of a map gets the share that `resolve` names."""

from collections.abc import Iterator

import pytest

from app.routing import document
from app.routing.change import Kind, Put, Subject, apply, changes_of
from app.routing.document import Document
from app.routing.relay_map import OutOfService
from app.routing.routing_table import EMPTY, RoutingTable
from tests.mta.parity import world
from tests.mta.parity.campaign import Trial, disagreements, spreads
from tests.mta.parity.envelopes import Sent
from tests.mta.parity.observation import Ward
from tests.mta.parity.world import Client

SINKS = (*world.PLAIN[:4], world.LMTP)
EACH = 40


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    opened = Ward.open()
    yield opened
    opened.close()


def routing() -> RoutingTable:
    """Maps of 1 to 5 relays; `out` has three, one of them out; two rules share the map of 4."""
    urls = [sink.url("lmtp" if sink is world.LMTP else "smtp") for sink in SINKS]
    sizes = {f"of-{size}": size for size in range(1, 6)} | {"out": 3}
    writes: list[Put] = []
    for place, (name, size) in enumerate([*sizes.items(), ("again", 4)]):
        if name in sizes:
            relays = [{"name": f"r{n}", "url": url} for n, url in enumerate(urls[:size])]
            relay_map = document.read_relay_map({"name": name, "relays": relays})
            writes.append(Put(Subject(Kind.RELAY_MAP, name), relay_map))
        rule: Document = {
            "id": f"r{place + 1}",
            "name": name,
            "match": {"recipients": [f"{name}.test"]},
            "action": {"kind": "relay", "via": f"map:{'of-4' if name == 'again' else name}"},
        }
        writes.append(Put(Subject(Kind.RULE, name), document.read_rule(rule)))
    writes.append(Put(Subject(Kind.RELAY_STATE, "out", "r1"), OutOfService()))
    return apply(EMPTY, changes_of(EMPTY, writes), 1)


@pytest.mark.slow
def test_counts_over_many_messages_agree_with_shares(ward: Ward):
    table = routing()
    client = Client("loopback", "127.0.0.1")
    sent = [
        Sent(f"s{n}@s.test", f"u{n}@{name}.test", client)
        for n in range(EACH)
        for name in table.rules
    ]
    files = ward.load(table)
    trial = Trial(table, files, sent, ward.send(sent), ward.target())
    assert disagreements([trial]) == []
    found = {spread.where.split()[-1]: spread for spread in spreads([trial])}
    assert {name: sum(spread.counts.values()) for name, spread in found.items()} == {
        **{f"of-{size}": EACH for size in (1, 2, 3, 5)},
        "of-4": 2 * EACH,
        "out": EACH,
    }
    assert [spread for spread in found.values() if not spread.agrees()] == []
    assert found["of-4"].counts == dict.fromkeys(["plain1", "plain2", "plain3", "plain4"], 20)
    assert found["out"].counts == dict.fromkeys(["plain1", "plain3"], 20)
