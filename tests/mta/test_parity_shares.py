"""Over many messages every relay of a map gets the share that `resolve` names."""

from collections import Counter
from collections.abc import Iterator

import pytest

from app.routing import document
from app.routing.change import Kind, Subject, apply
from app.routing.document import Document
from app.routing.relay_map import OutOfService
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.writes import Put, changes_of
from tests.mta.parity import world
from tests.mta.parity.campaign import Trial, disagreements, spreads, trial
from tests.mta.parity.envelopes import Sent
from tests.mta.parity.live_ward import LiveWard
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
    done = Trial(table, files, sent, ward.send(sent), ward.target())
    assert disagreements([done]) == []
    found = {spread.where.split()[-1]: spread for spread in spreads([done])}
    assert {name: sum(spread.counts.values()) for name, spread in found.items()} == {
        **{f"of-{size}": EACH for size in (1, 2, 3, 5)},
        "of-4": 2 * EACH,
        "out": EACH,
    }
    assert [spread for spread in found.values() if not spread.agrees()] == []
    assert found["of-4"].counts == dict.fromkeys(["plain1", "plain2", "plain3", "plain4"], 20)
    assert found["out"].counts == dict.fromkeys(["plain1", "plain3"], 20)


WEIGHTS = (1, 2, 5)
POLICIES = ("round-robin", "ratio", "random", "failover")


def test_counts_under_every_policy_agree_with_shares_where_the_program_is_asked():
    writes: list[Put] = []
    for place, policy in enumerate(POLICIES, 1):
        relays = [
            {"name": f"r{n}", "url": sink.url("smtp"), "weight": weight}
            for n, (sink, weight) in enumerate(zip(SINKS[:3], WEIGHTS, strict=True))
        ]
        value: Document = {"name": policy, "policy": policy, "relays": relays}
        relay_map = document.read_relay_map(value)
        writes.append(Put(Subject(Kind.RELAY_MAP, policy), relay_map))
        rule: Document = {
            "id": f"r{place}",
            "name": policy,
            "match": {"recipients": [f"{policy}.test"]},
            "action": {"kind": "relay", "via": f"map:{policy}"},
        }
        writes.append(Put(Subject(Kind.RULE, policy), document.read_rule(rule)))
    table = apply(EMPTY, changes_of(EMPTY, writes), 1)
    client = Client("loopback", "127.0.0.1")
    sent = [
        Sent(f"s{n}@s.test", f"u{n}@{policy}.test", client)
        for n in range(6 * EACH)
        for policy in POLICIES
    ]
    ward = LiveWard.open()
    try:
        done = trial(ward, table, sent)
    finally:
        ward.close()
    assert disagreements([done]) == []
    counts = {policy: Counter[str]() for policy in POLICIES}
    for one, seen in zip(sent, done.outcome.seen, strict=True):
        assert seen.delivery is not None
        counts[one.recipient.partition("@")[2].removesuffix(".test")][seen.delivery.sink] += 1
    names = [sink.name for sink in SINKS[:3]]
    assert counts["round-robin"] == dict.fromkeys(names, 80)
    assert counts["ratio"] == dict(zip(names, (30, 60, 150), strict=True))
    assert counts["failover"] == {names[0]: 240}
    # 80 each is expected; 40 and 120 lie more than five standard deviations (7.3) away.
    assert all(40 <= counts["random"][name] <= 120 for name in names)
