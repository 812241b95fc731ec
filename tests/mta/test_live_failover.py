"""Failover from end to end: relays die and come back, and mail waits for none of that."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from tests.mta.agents import table_program
from tests.mta.agents.answers import answers, asked, status
from tests.mta.agents.fleet import MTA, Fleet
from tests.mta.agents.machine import PORT, A, B, Machine, operator
from tests.mta.bed.injector import Submission
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Delivery
from tests.mta.bed.smtpd import LOG

MAP = "/v1/relay-maps/pool"
TABLE = "rm-map-pool"
"""What smtpd asks for a relay of it."""
_LIMIT_S = 120
LOOKS = 100
"""Ten seconds of them: two looks at a relay come within five."""
_PROBES = count()

# The agent, but that all that smtpd logs is kept.
KEEPS_LOG = f"""
from app.agent import supervise
from app.cli import main as run

class Keeping(supervise.Supervise):
    def __init__(self, *given):
        super().__init__(*given)
        self.listeners.append(lambda line: open({LOG!r}, "a").write(line + "\\n"))

from app.agent import main
main.Supervise = Keeping
raise SystemExit(run(["agent"]))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        table_program.install(namespace)
        machine = Machine.open(namespace, A, B)
        machine.smtpd.configure(operator(patient=True))
        yield machine


@pytest.fixture(scope="module")
def fleet(machine: Machine) -> Fleet:
    """An agent with what is shipped by default, and all mail over a map of two relays."""
    fleet = Fleet.open(machine.namespace)
    fleet.start_server()
    fleet.enroll()
    fleet.start_agent("-c", KEEPS_LOG)
    relays = [{"name": "first", "url": A.url()}, {"name": "second", "url": B.url()}]
    fleet.good("PUT", MAP, {"policy": "failover", "relays": relays})
    fleet.serve("map:pool")
    return fleet


def seen(fleet: Fleet, relay: str) -> dict[str, Any]:
    """How the MTA sees a relay, as the server says."""
    relays = fleet.good("GET", f"{MAP}/health")["relays"]
    (found,) = (each["mtas"][0] for each in relays if each["relay"] == relay)
    assert found["mta"] == MTA
    return dict(found)


def stands(fleet: Fleet, relay: str) -> tuple[str, str | None]:
    """The health of a relay, and why it is so."""
    found = seen(fleet, relay)
    return found["health"], found["cause"]


def until(fleet: Fleet, reached: Callable[[], bool], what: str) -> None:
    """Wait for what the agent finds out by itself."""
    limit = time.monotonic() + _LIMIT_S
    while not reached():
        assert time.monotonic() < limit, f"not {what}\n{fleet.log()[-3000:]}"
        time.sleep(0.1)


def send(machine: Machine, phase: str, n: int) -> None:
    """Send so many messages, which must be taken at once."""
    replies = machine.injector.send(
        Submission(
            f"{phase}-{next(_PROBES)}",
            "s@sender.test",
            "u@x.test",
            PORT,
            client=f"127.0.3.{i % 6 + 1}",
        )
        for i in range(n)
    )
    assert Counter(reply.stage for reply in replies) == {"accepted": n}


def arrived(machine: Machine, phase: str, n: int) -> Counter[str]:
    """Wait for the messages of a phase; how many of them each sink took."""

    def is_of(delivery: Delivery) -> bool:
        return delivery.probe.startswith(f"{phase}-")

    taken = machine.sinks.wait_for(n, is_of, limit_s=_LIMIT_S)
    assert len({each.probe for each in taken}) == len(taken) == n
    return Counter(each.sink for each in taken)


def resolved(fleet: Fleet) -> list[str]:
    """The relays that mail goes to at this MTA, as the server says."""
    question = {"recipient": "u@x.test", "sender": "s@sender.test", "client": "192.0.2.1"}
    answer = fleet.good("POST", "/v1/resolve", {**question, "mta": MTA})
    return [each["relay"] for each in answer["candidates"]]


def test_the_second_takes_over_and_gives_back(machine: Machine, fleet: Fleet):
    until(fleet, lambda: stands(fleet, "first") == ("up", None), "up")
    pids = machine.pids()
    send(machine, "before", 100)
    assert arrived(machine, "before", 100) == {"a": 100}
    # Nobody knows yet: what is sent now meets the one that died, and is tried again by its id.
    machine.sinks.die("a")
    send(machine, "dying", 200)
    assert arrived(machine, "dying", 200) == {"b": 200}
    until(fleet, lambda: stands(fleet, "first") == ("down", "refused"), "down")
    assert stands(fleet, "second") == ("up", None)
    assert resolved(fleet) == ["second"]
    send(machine, "dead", 100)
    assert arrived(machine, "dead", 100) == {"b": 100}
    machine.sinks.accept("a")
    until(fleet, lambda: stands(fleet, "first") == ("up", None), "up again")
    assert resolved(fleet)[0] == "first"
    send(machine, "after", 100)
    assert arrived(machine, "after", 100) == {"a": 100}
    machine.smtpd.wait_for_queue(0)
    assert machine.pids() == pids


def findings(fleet: Fleet) -> list[tuple[str, str | None]]:
    """The code of each finding about the map, and at which MTA."""
    found = fleet.good("GET", "/v1/findings")["items"]
    return [(each["code"], each["mta"]) for each in found]


def test_where_all_are_down_health_is_ignored(machine: Machine, fleet: Fleet):
    until(fleet, lambda: stands(fleet, "first")[0] == stands(fleet, "second")[0] == "up", "up")
    pids = machine.pids()
    assert findings(fleet) == []
    machine.sinks.die("a")
    machine.sinks.die("b")
    both = [("down", "refused")] * 2
    until(fleet, lambda: [stands(fleet, "first"), stands(fleet, "second")] == both, "down")
    assert findings(fleet) == [("all-down", MTA)]
    assert resolved(fleet) == ["first", "second"]
    before = asked(machine.namespace, TABLE)
    with answers(machine.namespace) as found:
        send(machine, "nobody", 20)
        until(fleet, lambda: asked(machine.namespace, TABLE) - before >= 20, "asked")
    assert {each.answer for each in found.relays()} == {A.url()}
    machine.sinks.accept("a")
    assert arrived(machine, "nobody", 20) == {"a": 20}
    machine.sinks.accept("b")
    until(fleet, lambda: stands(fleet, "second")[0] == "up", "up again")
    until(fleet, lambda: findings(fleet) == [], "well")
    assert machine.pids() == pids


def test_an_agent_that_starts_forgets_nobody_who_is_down(machine: Machine, fleet: Fleet):
    """Mail would go to it until it had been looked at twice."""
    machine.sinks.die("a")
    until(fleet, lambda: stands(fleet, "first") == ("down", "refused"), "down")
    assert fleet.agent is not None
    fleet.stop(fleet.agent, signal.SIGKILL)
    began = fleet.log().count("agent-started")
    fleet.start_agent("-c", KEEPS_LOG)
    said = []

    def told() -> bool:
        with suppress(ValueError, OSError):  # of a smtpd that ends just now
            said.append(status(machine.namespace)["down"])
        return fleet.log().count("agent-started") > began and len(said) > LOOKS

    until(fleet, told, "started")
    assert set(said) == {1}
    machine.sinks.accept("a")
    until(fleet, lambda: stands(fleet, "first")[0] == "up", "up again")
    until(fleet, lambda: status(machine.namespace)["down"] == 0, "told")


def test_a_relay_that_is_out_is_drained(machine: Machine, fleet: Fleet):
    until(fleet, lambda: stands(fleet, "first")[0] == "up", "up")
    machine.sinks.behave("a", delay_s=5.0)
    send(machine, "draining", 20)
    until(fleet, lambda: (seen(fleet, "first")["sessions"] or 0) > 0, "in a session")
    fleet.good("PUT", f"{MAP}/relays/first/state", {"state": "out", "reason": "test"})
    assert fleet.push()["state"] == "applied"
    found = seen(fleet, "first")
    assert (found["safe_to_delete"], found["quiet_since"]) == (False, None)
    send(machine, "drained", 20)
    assert arrived(machine, "drained", 20) == {"b": 20}
    machine.sinks.behave("a")
    taken = arrived(machine, "draining", 20)
    assert taken["a"] > 0
    until(fleet, lambda: seen(fleet, "first")["quiet_since"] is not None, "quiet")
    found = seen(fleet, "first")
    assert (found["sessions"], found["envelopes"]) == (0, 0)
    until(fleet, lambda: seen(fleet, "first")["safe_to_delete"] is True, "safe to delete")
    fleet.good("DELETE", f"{MAP}/relays/first")
    assert fleet.push()["state"] == "applied"
    send(machine, "deleted", 20)
    assert arrived(machine, "deleted", 20) == {"b": 20}
