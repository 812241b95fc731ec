"""kill -9 of the agent, the table program, smtpd and the server, under mail and under pushes.

How much of it is run says RELAYMAP_SOAK_KILLS; `make soak` runs it in full.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.table_program.handover import parent_of
from tests.conftest import Tell
from tests.mta.agents import table_program
from tests.mta.agents.answers import answered, status
from tests.mta.agents.fleet import MTA, Fleet
from tests.mta.agents.machine import STATE_DIR, A, B, C, Machine
from tests.mta.agents.strace import calls
from tests.mta.agents.stream import Stream
from tests.mta.agents.wanting import keyed_table, rule, wanted
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Sink

KILLS = int(os.environ.get("RELAYMAP_SOAK_KILLS", "12"))
MESSAGES_A_KILL = 20
"""At least; they go on while a push is waited for."""
MOST_MESSAGES = 1_000_000
PACE_S = 0.01
LONG_AS_A_PUSH_S = 1.5
"""With static files it takes smtpd a start, and then a second of looking whether it goes on."""
SEED = int(os.environ.get("RELAYMAP_SOAK_SEED", "6"))
STRANGER = Sink("stranger", "127.0.1.99", 26025)
"""It takes mail, and no revision names it."""
VICTIMS = ("program", "smtpd", "agent", "server")
_PROGRAM = b"/table-relaymap"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 12 * KILLS)]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, A, B, C, STRANGER)


def program_pids(machine: Machine) -> list[int]:
    """Answer the pids of the table program, as seen from outside: who answers is the child."""
    found = []
    for pid in machine.namespace.pids():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"python" in words[0] and any(word.endswith(_PROGRAM) for word in words[1:3]):
            found.append(pid)
    return sorted(found, key=lambda pid: parent_of(pid) not in found)


def both(machine: Machine) -> tuple[int, int]:
    """Answer the process of the program that answers and the one that keeps, once they are two."""
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        pids = program_pids(machine)
        if len(pids) == 2 and parent_of(pids[0]) == pids[1]:
            return pids[0], pids[1]
        time.sleep(0.005)
    raise AssertionError("the table program is not two processes")


ON_THEIR_WAY = 15
"""Messages that smtpd hands over at one time: one a connection, five to each of three relays."""


@dataclass(slots=True)
class Struck:
    """A fleet of one that things are killed in."""

    machine: Machine
    fleet: Fleet
    live: bool
    stop: threading.Event = field(default_factory=threading.Event)
    pushes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def open(cls, machine: Machine, *, live: bool) -> "Struck":
        """Start all of it, with mail going over a map."""
        if live:
            table_program.install(machine.namespace)
        fleet = Fleet.open(machine.namespace)
        fleet.start_server()
        fleet.enroll()
        fleet.start_agent()
        struck = cls(machine, fleet, live)
        relays = [{"name": s.name, "url": s.url()} for s in (A, B)]
        fleet.good("PUT", "/v1/relay-maps/pool", {"policy": "round-robin", "relays": relays})
        fleet.route_to("map:pool")
        push = fleet.push()
        assert push["state"] == "applied", push
        fleet.until(machine.greets)
        return struck

    def pushing(self) -> None:
        """Push revisions in turn until told to stop: with a third relay, and without it."""
        for n in range(1_000_000):
            if self.stop.is_set():
                return
            sinks = (A, B, C) if n % 2 == 0 else (A, B)
            relays = [{"name": sink.name, "url": sink.url()} for sink in sinks]
            body = {"policy": "round-robin", "relays": relays}
            status, _ = self.fleet.call("PUT", "/v1/relay-maps/pool", body)
            if status in {200, 201}:
                _, answer = self.fleet.call("POST", "/v1/pushes?wait=5", {})
                found = answer if isinstance(answer, dict) else {}
                self.pushes[found.get("push", found).get("state", "unanswered")] += 1
            self.stop.wait(0.05)

    def until_pushed(self) -> None:
        """Wait until a push that ends from now on is applied."""
        before = self.pushes["applied"]
        self.fleet.until(lambda: self.pushes["applied"] > before)

    def pids(self, victim: str) -> list[int]:
        """Answer the processes of a victim; the one to kill is the first."""
        if victim == "smtpd" or (victim == "program" and not self.live):
            return self.machine.pids()[:1]
        if victim == "program":
            return list(both(self.machine))
        inside = self.fleet.agent if victim == "agent" else self.fleet.server
        assert inside is not None
        return [inside.pid] if inside.poll() is None else []

    def kill(self, victim: str, turn: int) -> bool:
        """Kill it without a word, and start again what nobody else starts; whether it was there."""
        pids = self.pids(victim)
        if victim in {"agent", "server"}:
            self.kill_only(victim)
        elif pids:  # of the program in turn who answers, and who keeps
            try:
                os.kill(pids[turn % len(pids)], signal.SIGKILL)
            except ProcessLookupError:  # it ended by itself, as smtpd does after a kill before
                return False
        if victim == "agent":
            time.sleep(0.2)  # for mail that comes while nobody is there
            self.fleet.start_agent()
        if victim == "server":
            self.fleet.start_server()
        return bool(pids)

    def kill_only(self, victim: str) -> None:
        """Kill the agent or the server, and leave it at that."""
        for pid in self.pids(victim):
            os.kill(pid, signal.SIGKILL)
        inside = self.fleet.agent if victim == "agent" else self.fleet.server
        assert inside is not None
        inside.wait()

    def serves(self) -> bool:
        """Say whether mail is taken, and whoever answers for it is there."""
        asked = program_pids(self.machine) if self.live else self.machine.pids()
        return bool(asked) and self.machine.greets()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the messages of one run."""

    lost: int
    doubled: int
    strangers: int
    refused: int
    tries: int
    kills: Counter[str]
    pushes: Counter[str]

    def __str__(self) -> str:
        return (
            f"{self.kills.total()} kills {dict(self.kills)}, {self.lost} lost,"
            f" {self.doubled} doubled, {self.strangers} to a stranger, {self.refused} refused,"
            f" {self.tries} tries again; pushes {dict(self.pushes)}"
        )


def run(machine: Machine, victims: tuple[str, ...], kills: int, *, live: bool) -> Outcome:
    """Kill so often, at random, each once at least, while messages and revisions come in."""
    chance = random.Random(SEED)
    order = list(victims) + chance.choices(victims, k=max(kills - len(victims), 0))
    struck = Struck.open(machine, live=live)
    stream = Stream(machine.namespace, MOST_MESSAGES, pace_s=PACE_S)
    pusher = threading.Thread(target=struck.pushing, name="pusher", daemon=True)
    done: Counter[str] = Counter()
    stream.start()
    pusher.start()
    try:
        for victim in order:
            # So that they come at any moment of a push, each after some messages more; and, however
            # slow the machine, many of them after a push that was applied since the last one.
            struck.fleet.until(partial(_has_sent, stream, stream.sent + MESSAGES_A_KILL))
            if chance.random() < 0.5:
                struck.until_pushed()
                time.sleep(chance.uniform(0, LONG_AS_A_PUSH_S))
            struck.fleet.until(struck.serves)
            time.sleep(chance.uniform(0, 0.2))
            # A push may have ended it a moment ago, to start it anew.
            struck.fleet.until(partial(struck.kill, victim, done[victim]))
            done[victim] += 1
        struck.until_pushed()
        stream.end()
        stream.wait()
    finally:
        struck.stop.set()
        pusher.join()
    struck.fleet.until(struck.serves)
    return outcome(machine, stream, done, struck.pushes)


def _is_gone(machine: Machine, pid: int) -> bool:
    return pid not in program_pids(machine)


def _has_sent(stream: Stream, messages: int) -> bool:
    return stream.sent >= messages


def outcome(machine: Machine, stream: Stream, kills: Counter[str], pushes: Counter[str]) -> Outcome:
    """Wait for what is still queued, and count."""
    everything = {f"stream-{n}" for n in range(stream.total)}

    def arrived() -> Counter[str]:
        return Counter(taken.probe for taken in machine.sinks.taken)

    limit = time.monotonic() + 120
    while everything - arrived().keys() and time.monotonic() < limit:
        machine.smtpd.ctl_status("schedule", "all")
        machine.smtpd.ctl_status("resume", "route", "1")
        time.sleep(0.5)
    found = arrived()
    return Outcome(
        lost=len(everything - found.keys()),
        doubled=sum(n - 1 for probe, n in found.items() if probe not in stream.unsure),
        strangers=machine.sinks.counts()["stranger"],
        refused=len(stream.refused),
        tries=stream.tries,
        kills=kills,
        pushes=pushes,
    )


def test_whatever_is_killed_no_message_is_lost(tell: Tell):
    """What is doubled was being handed over as smtpd ended, with static files as well.

    There the program's turns are smtpd's. How many they are is chance, so both are told, and each
    is held to what can be on its way at all.
    """
    for live in (True, False):
        with Namespace.open() as namespace:
            machine = Machine.open(namespace, A, B, C, STRANGER)
            found = run(machine, VICTIMS, KILLS, live=live)
        tell(f"{'live' if live else 'static'}: {found}")
        assert found.kills.total() == max(KILLS, len(VICTIMS))
        assert (found.lost, found.strangers, found.refused) == (0, 0, 0)
        assert found.pushes["applied"] > 0
        # An agent begins with a new smtpd; whoever of the program is killed, smtpd goes on.
        ended = (
            found.kills["smtpd"] + found.kills["agent"] + (0 if live else found.kills["program"])
        )
        assert found.doubled <= ON_THEIR_WAY * ended


def test_a_program_that_is_killed_again_and_again_doubles_nothing(machine: Machine, tell: Tell):
    """smtpd stays the same processes, and no message is so much as tried twice."""
    struck = Struck.open(machine, live=True)
    pids = machine.pids()
    chance, kills = random.Random(SEED), Counter[str]()
    stream = Stream(machine.namespace, MOST_MESSAGES, pace_s=PACE_S)
    stream.start()
    while kills.total() < 10 * KILLS:
        answers, keeps = both(machine)
        is_keeper = chance.random() < 0.5
        victim = keeps if is_keeper else answers
        os.kill(victim, signal.SIGKILL)
        # One at a time: on a busy machine a process is still seen a while after it was killed.
        struck.fleet.until(partial(_is_gone, machine, victim))
        kills["who keeps" if is_keeper else "who answers"] += 1
        time.sleep(chance.uniform(0, 0.05))
    stream.end()
    stream.wait()
    found = outcome(machine, stream, kills, struck.pushes)
    tell(f"{found}; {stream.total} messages")
    assert machine.pids() == pids
    assert len(kills) == 2
    assert stream.total > kills.total()
    assert (found.lost, found.doubled, found.refused, found.tries) == (0, 0, 0, 0)


def test_the_agent_and_the_server_being_killed_holds_nothing_up(machine: Machine, tell: Tell):
    """While they are away every question is answered: no message is tried twice, or doubled."""
    struck = Struck.open(machine, live=True)
    asked = answered(machine.namespace)
    pids = machine.pids()
    struck.kill_only("agent")
    struck.kill_only("server")
    stream = Stream(machine.namespace, 200)
    stream.start()
    stream.wait()
    taken = machine.sinks.wait_for(200)
    assert (stream.tries, stream.refused) == (0, [])
    assert len({each.probe for each in taken}) == len(taken) == 200
    assert {each.sink for each in taken} == {"a", "b"}
    assert answered(machine.namespace) - asked > 200
    assert machine.pids() == pids
    tell("200 messages without an agent and a server: none tried twice, none doubled")


def test_a_program_that_ends_as_a_whole_is_there_again_before_anybody_asks(machine: Machine):
    """No message came in between: what would have made smtpd end has not happened."""
    struck = Struck.open(machine, live=True)
    before, first = both(machine), machine.pids()
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in before:
            os.kill(pid, number)
    struck.fleet.until(lambda: struck.serves() and set(both(machine)).isdisjoint(before))
    assert set(machine.pids()) & set(first) == set()
    assert machine.goes_to("x.test") in {"a", "b"}
    log = struck.fleet.log()
    assert log.count("table-program-ended") == 1
    assert log.count("smtpd-ended") == 0


def test_a_process_of_the_program_that_is_killed_is_told_of(machine: Machine):
    struck = Struck.open(machine, live=True)
    first = machine.pids()
    for _ in range(2):
        os.kill(both(machine)[0], signal.SIGKILL)
        assert machine.goes_to("x.test") in {"a", "b"}
        struck.fleet.until(lambda: "table-program-went-on" in struck.fleet.log())
    struck.fleet.until(lambda: struck.fleet.log().count("table-program-went-on") == 2)
    assert machine.pids() == first
    assert "table-program-ended" not in struck.fleet.log()
    told = "was killed, 2 times since the agent started; another one went on"
    struck.fleet.until(lambda: told in struck.fleet.good("GET", f"/v1/mtas/{MTA}/status")["detail"])
    assert struck.fleet.state() == "live"


def test_a_push_goes_on_when_the_program_is_killed_in_the_middle(machine: Machine):
    """It waits for the answer of a program, and the next one gives it."""
    struck = Struck.open(machine, live=True)
    relays = [{"name": sink.name, "url": sink.url()} for sink in (A, B, C)]
    body = {"policy": "round-robin", "relays": relays}
    struck.fleet.good("PUT", "/v1/relay-maps/pool", body)
    pid, _ = both(machine)
    os.kill(pid, signal.SIGSTOP)  # it says nothing, so the push is on its way when it ends
    pushing = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
    pushing.start()
    push = struck.fleet.push()
    pushing.join()
    assert push["state"] == "applied", push
    assert {machine.goes_to("x.test") for _ in range(6)} == {"a", "b", "c"}


# --- in the middle of a write

ROWS = 20_000
WRITES = "trace=pwrite64,pwritev,writev,fdatasync,msync,ftruncate"
NAMED = f"{STATE_DIR}/data/data.mdb"


def big(revision: int, sink: Sink) -> dict[str, Any]:
    """A routing with a table of many entries, which all lead to one sink."""
    entries = {f"d{n}.test": sink.url() for n in range(ROWS)}
    tables = [keyed_table("big", "recipient-domain", entries)]
    return wanted(revision, [rule(1, "table:big")], tables=tables)


def test_killed_in_the_middle_of_a_write_the_program_reads_the_old_or_the_new(
    machine: Machine, tell: Tell
):
    """And a program that is started then, with no agent there, reads the same."""
    table_program.install(machine.namespace)
    machine.fresh()
    machine.site(live=True)
    machine.do("first")
    assert machine.ended(big(1, A)) == ("applied", "restart")
    done = machine.agent.call("do", what="apply", wanted=big(2, B), trace=WRITES, path=NAMED)
    assert done["answer"]["result"]["reload"] == "live"
    writes = Counter(each.name for each in calls(done["log"]) if NAMED in each.arguments)
    (name, times) = writes.most_common(1)[0]
    assert times >= 4
    serves, other = B, A
    revision, said = 2, Counter[str]()
    for nth in sorted({1, 2, times // 2, times - 1, times}):
        revision += 1
        push = big(revision, other)
        trace = f"inject={name}:signal=KILL:when={nth}"
        # Only the writer of the live file is counted: from the step on at which it writes.
        done = machine.agent.call("do", what="apply", wanted=push, trace=trace, path=NAMED)
        assert done["killed"], f"{name} {nth}"
        machine.end_smtpd()
        machine.smtpd.start()
        now = status(machine.namespace)
        assert now["revision"] in {revision - 1, revision}
        is_new = now["revision"] == revision
        said["new" if is_new else "old"] += 1
        expected = other if is_new else serves
        probes = ["d0.test", f"d{ROWS // 2}.test", f"d{ROWS - 1}.test"]
        assert [machine.goes_to(domain) for domain in probes] == [expected.name] * 3
        machine.smtpd.stop()
        machine.do("recover")
        state, _ = machine.ended(push | {"push": revision + 1000})
        assert state == "applied", machine.detail
        serves, other = other, serves
    tell(f"killed at {said.total()} of {times} calls of {name} in a write: {dict(said)}")
