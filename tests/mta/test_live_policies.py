"""What each policy promises, counted on a real smtpd that asks for a relay at every attempt."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pytest

from tests.conftest import Tell
from tests.mta.agents import table_program
from tests.mta.agents.answers import answers, asked
from tests.mta.agents.machine import INCLUDE, PORT, A, B, C, Machine, operator
from tests.mta.agents.wanting import relay_map, rule, wanted
from tests.mta.bed.injector import Submission
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Sink
from tests.mta.bed.smtpd import CONF

FIVE = tuple(Sink(f"sink-{n}", f"127.0.1.{20 + n}", 26025) for n in range(5))
SLOW_S = 0.0125
"""Before each of the four replies that a message takes: 50 ms a message."""
DOMAINS = tuple(f"d{n}.test" for n in range(200))
MAP = "rm-map-pool"
"""The table that is asked for a relay of the map."""
_MESSAGES = count()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        table_program.install(namespace)
        yield Machine.open(namespace, A, B, C, *FIVE)


@pytest.fixture
def machine(shared: Machine) -> Machine:
    machine = shared.fresh()
    machine.site(live=True)
    machine.do("first")
    for sink in (A, B, C, *FIVE):
        machine.sinks.behave(sink.name)
    return machine


def pool(policy: str, *sinks: Sink, weights: Sequence[int] = (), **more: Any) -> dict[str, Any]:
    """A map of sinks."""
    found = relay_map("pool", *(sink.url() for sink in sinks))
    for relay, weight in zip(found["relays"], weights, strict=False):
        relay["weight"] = weight
    return found | {"policy": policy} | more


def push(machine: Machine, revision: int, one: dict[str, Any], **more: Any) -> tuple[str, str]:
    """Let all mail go over a map."""
    return machine.ended(wanted(revision, [rule(1, "map:pool")], [one], **more))


def serve(machine: Machine, revision: int, one: dict[str, Any]) -> None:
    """Push what must be served."""
    state, _ = push(machine, revision, one)
    assert state == "applied", machine.detail


def messages(recipients: Sequence[str], senders: Sequence[str] = ()) -> list[Submission]:
    """One message for each recipient, from six clients, so that as many sessions run at once."""
    return [
        Submission(
            f"m{next(_MESSAGES)}",
            senders[n] if senders else "s@sender.test",
            recipient,
            PORT,
            client=f"127.0.3.{n % 6 + 1}",
        )
        for n, recipient in enumerate(recipients)
    ]


def send(machine: Machine, submissions: Sequence[Submission]) -> None:
    """Send what must be taken."""
    assert {reply.stage for reply in machine.injector.send(submissions)} == {"accepted"}


def mail(machine: Machine, n: int) -> Counter[str]:
    """Send so many messages at once; how many each sink took."""
    machine.sinks.forget()
    machine.smtpd.hold()
    send(machine, messages([f"u{i}@x.test" for i in range(n)]))
    machine.smtpd.release()
    machine.sinks.wait_for(n)
    return machine.sinks.counts()


# --- ratio


def shares_of_600(machine: Machine) -> tuple[Counter[str], int]:
    """What each of three slow sinks gets of 600 messages, and how often a relay was asked for."""
    for sink in (A, B, C):
        machine.sinks.behave(sink.name, delay_s=SLOW_S)
    before = asked(machine.namespace, MAP)
    send(machine, messages([f"u{n}@x.test" for n in range(600)]))
    machine.sinks.wait_for(600)
    return machine.sinks.counts(), asked(machine.namespace, MAP) - before


def without_the_operators_limit(machine: Machine) -> None:
    """Leave the limit to what we render: the bed has one of its own, for static files."""
    text = "".join(
        line for line in operator().text().splitlines(keepends=True) if "task-hiwat" not in line
    )
    machine.smtpd.write(CONF, text)


def test_ratio_is_exact_under_load(machine: Machine, tell: Tell):
    without_the_operators_limit(machine)
    serve(machine, 1, pool("ratio", A, B, C, weights=(1, 2, 3)))
    counts, picks = shares_of_600(machine)
    tell(f"600 messages at 1:2:3: {dict(counts)}, {picks} look-ups")
    assert counts == {"a": 100, "b": 200, "c": 300}
    assert picks == 600


def test_ratio_under_load_needs_the_limit_that_is_rendered(machine: Machine, tell: Tell):
    """At smtpd's own limit a pick is thrown away while 50 messages wait for the relay."""
    without_the_operators_limit(machine)
    serve(machine, 1, pool("ratio", A, B, C, weights=(1, 2, 3)))
    machine.end_smtpd()
    machine.namespace.run(["sed", "-i", "/task-hiwat/d", INCLUDE])
    assert "task-hiwat" not in machine.read(INCLUDE) + machine.read(CONF)
    machine.smtpd.start()
    counts, picks = shares_of_600(machine)
    machine.smtpd.stop()
    tell(f"the same at smtpd's own limit: {dict(counts)}, {picks} look-ups")
    assert picks > 600
    assert counts != {"a": 100, "b": 200, "c": 300}


# --- random

CRITICAL = 18.467
"""Of the chi-square distribution with 4 degrees of freedom at p = 0.001."""


def chi_square(counts: Counter[str], places: int) -> float:
    """How far counts are from being equal."""
    expected = counts.total() / places
    found = sum((n - expected) ** 2 / expected for n in counts.values())
    return found + (places - len(counts)) * expected


def test_random_gives_each_relay_the_same_chance(machine: Machine, tell: Tell):
    """Whatever its weight. All picks count: smtpd asks once for each of these messages."""
    serve(machine, 1, pool("random", *FIVE, weights=(1, 2, 3, 4, 5)))
    machine.smtpd.hold()
    send(machine, messages([f"u{n}@x.test" for n in range(3000)]))
    before = asked(machine.namespace, MAP)
    machine.smtpd.release()
    machine.sinks.wait_for(3000)
    counts, picks = machine.sinks.counts(), asked(machine.namespace, MAP) - before
    tell(f"{picks:,} random picks of five: {sorted(counts.values())}, {chi_square(counts, 5):.1f}")
    assert (counts.total(), picks) == (3000, 3000)
    assert chi_square(counts, 5) < CRITICAL


def test_a_chance_that_is_not_the_same_is_caught(machine: Machine):
    """The test above can fail: by weight, as `ratio` shares, it is far off."""
    serve(machine, 1, pool("ratio", *FIVE, weights=(1, 2, 3, 4, 5)))
    assert chi_square(mail(machine, 300), 5) > CRITICAL


# --- hash


def belongs(machine: Machine, key: str) -> dict[str, set[str]]:
    """Send two messages for each domain, in any order; which sinks each domain came to."""
    domains = [*DOMAINS, *DOMAINS]
    random.shuffle(domains)
    machine.sinks.forget()
    machine.smtpd.hold()
    if key.startswith("recipient"):
        sent = messages([f"u@{domain}" for domain in domains])
    else:
        sent = messages(["u@x.test"] * len(domains), [f"s@{domain}" for domain in domains])
    send(machine, sent)
    machine.smtpd.release()
    taken = machine.sinks.wait_for(len(sent))
    of_probe = {each.probe: domain for each, domain in zip(sent, domains, strict=True)}
    found: dict[str, set[str]] = defaultdict(set)
    for delivery in taken:
        found[of_probe[delivery.probe]].add(delivery.sink)
    return found


@pytest.mark.parametrize("key", ["recipient-domain", "sender-domain"])
def test_a_domain_stays_with_its_relay_until_that_goes(machine: Machine, tell: Tell, key: str):
    hashed = pool("hash", *FIVE, hash_key=key)
    serve(machine, 1, hashed)
    before = belongs(machine, key)
    assert len(before) == len(DOMAINS)
    assert [domain for domain, sinks in before.items() if len(sinks) != 1] == []
    assert {sink for sinks in before.values() for sink in sinks} == {s.name for s in FIVE}
    pids = machine.pids()
    fewer = hashed | {"relays": [r for r in hashed["relays"] if r["name"] != "r2"]}
    assert push(machine, 2, fewer) == ("applied", "live")
    after = belongs(machine, key)
    moved = {domain for domain in DOMAINS if before[domain] != after[domain]}
    own = {domain for domain in DOMAINS if before[domain] == {FIVE[2].name}}
    tell(f"hash by {key}: {len(moved)} of {len(DOMAINS)} domains moved with their relay of five")
    assert moved == own
    assert [domain for domain, sinks in after.items() if len(sinks) != 1] == []
    # It comes back under its name, and so do its domains; nobody else moves.
    assert push(machine, 3, hashed) == ("applied", "live")
    assert belongs(machine, key) == before
    assert machine.pids() == pids


def test_what_waits_for_a_relay_that_goes_is_taken_by_another(machine: Machine):
    """Hashed by sender it was accepted for one relay: that is asked for again at each attempt."""
    hashed = pool("hash", *FIVE, hash_key="sender-domain")
    serve(machine, 1, hashed)
    machine.smtpd.hold()
    send(machine, messages(["u@x.test"] * 40, [f"s@{domain}" for domain in DOMAINS[:40]]))
    fewer = hashed | {"relays": [r for r in hashed["relays"] if r["name"] != "r2"]}
    assert push(machine, 2, fewer) == ("applied", "live")
    machine.smtpd.release()
    machine.sinks.wait_for(40)
    assert machine.sinks.counts()[FIVE[2].name] == 0


# --- failover


def test_the_next_takes_over_while_the_first_is_down(machine: Machine):
    serve(machine, 1, pool("failover", A, B, C))
    pids = machine.pids()
    assert mail(machine, 20) == {"a": 20}
    machine.do("tell", down=[["pool", "r0"]])
    assert mail(machine, 20) == {"b": 20}
    machine.do("tell", down=[["pool", "r0"], ["pool", "r1"]])
    assert mail(machine, 20) == {"c": 20}
    machine.do("tell", down=[["pool", "r1"]])
    assert mail(machine, 20) == {"a": 20}
    # Where health leaves nobody it says nothing.
    machine.do("tell", down=[["pool", "r0"], ["pool", "r1"], ["pool", "r2"]])
    assert mail(machine, 20) == {"a": 20}
    machine.do("tell", down=[])
    assert mail(machine, 20) == {"a": 20}
    assert machine.pids() == pids


# --- round-robin


def test_round_robin_goes_on_over_changes_of_the_map(machine: Machine):
    """Nobody has two turns more than another, however often the map is pushed in between."""
    serve(machine, 1, pool("round-robin", A, B, C))
    before = asked(machine.namespace, MAP)
    picks: list[str] = []
    for revision in range(2, 12):
        picks += mail(machine, 1).elements()
        changed = pool("round-robin", A, B, C, weights=(revision, 1, 1))
        assert push(machine, revision, changed) == ("applied", "live")
    assert len(picks) == asked(machine.namespace, MAP) - before == 10
    assert [picks[n] == picks[n - 3] for n in range(3, 10)] == [True] * 7
    assert len(set(picks[:3])) == 3


def test_round_robin_goes_on_with_one_relay_more_and_one_less(machine: Machine):
    serve(machine, 1, pool("round-robin", A, B))
    before = asked(machine.namespace, MAP)
    with answers(machine.namespace) as found:
        for revision, sinks in ((1, (A, B)), (2, (A, B, C)), (3, (B, C))):
            if revision > 1:
                assert push(machine, revision, pool("round-robin", *sinks)) == ("applied", "live")
            found.forget()
            assert mail(machine, 3 * len(sinks)) == {sink.name: 3 for sink in sinks}
            assert {each.revision for each in found.relays(MAP)} == {revision}
    assert asked(machine.namespace, MAP) - before == 21
