"""What each policy promises, counted on a real smtpd that asks for a relay at every attempt."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pytest

from tests.conftest import Tell
from tests.mta.agents import table_program
from tests.mta.agents.answers import Answers, answers
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


def shares_of_600(machine: Machine) -> tuple[Counter[str], Answers]:
    """What each of three slow sinks gets of 600 messages at 1:2:3, and what was asked."""
    serve(machine, 1, pool("ratio", A, B, C, weights=(1, 2, 3)))
    for sink in (A, B, C):
        machine.sinks.behave(sink.name, delay_s=SLOW_S)
    with answers(machine.namespace) as found:
        send(machine, messages([f"u{n}@x.test" for n in range(600)]))
        machine.sinks.wait_for(600)
    return machine.sinks.counts(), found


def without_the_operators_limit(machine: Machine) -> None:
    """Leave the limit to what we render: the bed has one of its own, for static files."""
    text = "".join(
        line for line in operator().text().splitlines(keepends=True) if "task-hiwat" not in line
    )
    machine.smtpd.write(CONF, text)


def test_ratio_is_exact_under_load(machine: Machine, tell: Tell):
    without_the_operators_limit(machine)
    counts, found = shares_of_600(machine)
    asked = found.relays("rm-map-pool")
    tell(f"600 messages at 1:2:3: {dict(counts)}, {len(asked)} look-ups")
    assert counts == {"a": 100, "b": 200, "c": 300}
    assert len(asked) == 600


def test_ratio_under_load_needs_the_limit_that_is_rendered(machine: Machine, tell: Tell):
    """At smtpd's own limit a pick is thrown away while 50 messages wait for the relay."""
    without_the_operators_limit(machine)
    serve(machine, 1, pool("ratio", A, B, C, weights=(1, 2, 3)))
    machine.end_smtpd()
    machine.namespace.run(["sed", "-i", "/task-hiwat/d", INCLUDE])
    assert "task-hiwat" not in machine.read(INCLUDE) + machine.read(CONF)
    machine.smtpd.start()
    for sink in (A, B, C):
        machine.sinks.behave(sink.name, delay_s=SLOW_S)
    with answers(machine.namespace) as found:
        send(machine, messages([f"u{n}@x.test" for n in range(600)]))
        machine.sinks.wait_for(600)
    counts, asked = machine.sinks.counts(), found.relays("rm-map-pool")
    machine.smtpd.stop()
    tell(f"the same at smtpd's own limit: {dict(counts)}, {len(asked)} look-ups")
    assert len(asked) > 600
