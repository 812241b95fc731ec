"""kill -9 at every step and at every call that changes the disk: what is left is old or new, whole.

After each kill the disk alone is looked at, then an agent starts, ends what was begun, and a message
must arrive where that agent says it goes (unless smtpd was not touched). The pushes alternate between two sinks.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from app.agent.apply import PREPARING, RESTORING, SWITCHING
from tests.conftest import Tell
from tests.mta.agents.machine import A, B, Machine
from tests.mta.agents.strace import CHANGES, calls
from tests.mta.agents.wanting import relay_map, rule, wanted
from tests.mta.bed.namespace import Namespace

PEER = {"a": B, "b": A}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("strace") is None, reason="not installed: strace"),
]


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, A, B)


@pytest.fixture
def machine(shared: Machine) -> Machine:
    return shared.fresh()


class Pusher:
    """Pushes to the sink that mail does not go to, is killed at it, and looks what became of it."""

    def __init__(self, machine: Machine, *, whole: bool = True) -> None:
        self.machine = machine
        self.whole = whole
        self.revisions = count(1)
        self.torn: list[str] = []
        self.diverged: list[str] = []
        machine.do("first")
        machine.ended(self.next_push(A.url()))
        self.serves = "a"

    def next_push(self, url: str) -> dict[str, object]:
        """A push of one rule; a list file beside it makes more than one file change."""
        revision = next(self.revisions)
        maps = [relay_map("pool", url, f"{url.removesuffix('5')}6")]
        rules = [rule(1, url, "x.test"), rule(2, "map:pool", "y.test")]
        return wanted(revision, rules if self.whole else rules[:1], maps)

    def killed(self, **how: Any) -> bool:
        """Push, with a kill on the way; look at the disk, recover, and let mail say what is served."""
        return bool(self.struck(**how)["killed"])

    def struck(self, **how: Any) -> dict[str, Any]:
        """Push, with a fault on the way, and the same; what the fork said of it."""
        target = PEER[self.serves]
        push = self.next_push(target.url())
        before = self.machine.pids()
        done: dict[str, Any] = self.machine.agent.call("do", what="apply", wanted=push, **how)
        after = self.machine.do("aftermath")
        report = after["report"]
        is_new = report["observed"]["revision"] == push["revision"]
        if after["torn"]:
            self.torn.append(f"{how}: {after['torn']}")
        # The very processes of before have read nothing since: mail goes where it went.
        untouched = self.machine.pids() == before
        went = self.serves if untouched else self.machine.goes_to("x.test")
        if (went, report["state"]) != (target.name if is_new else self.serves, "live"):
            self.diverged.append(f"{how}: {went}, {report['state']}, {report['detail']}")
        if after["left"]:
            self.diverged.append(f"{how}: left behind {after['left']}")
        self.serves = went
        return done | {"is_new": is_new}


def test_killed_at_any_step_of_a_push_the_mta_serves_the_old_or_the_new(machine: Machine):
    pusher = Pusher(machine)
    steps = PREPARING + SWITCHING
    assert [step for step in steps if not pusher.killed(kill_at=step)] == []
    assert (pusher.torn, pusher.diverged) == ([], [])


def test_killed_at_any_step_of_going_back_the_mta_serves_the_old(machine: Machine):
    """The new generation never serves: its start dies. Recovery must not bring it up either."""
    script = """#!/bin/sh
case " $* " in *" -n "*|*" -h "*) exec /usr/sbin/smtpd "$@";; esac
grep -q 127.0.1.12 /run/agent/live/relaymap.conf && exit 1
exec /usr/sbin/smtpd "$@"
"""
    machine.smtpd.write("/run/bed/smtpd-faulty", script, mode=0o755)
    machine.site(smtpd="/run/bed/smtpd-faulty")
    pusher = Pusher(machine)
    assert [step for step in RESTORING if not pusher.killed(kill_at=step)] == []
    assert (pusher.torn, pusher.diverged, pusher.serves) == ([], [], "a")


def calls_of_a_push(pusher: Pusher) -> Counter[str]:
    """How often a whole push makes each call."""
    target = PEER[pusher.serves]
    expression = f"trace={','.join(CHANGES)}"
    push = pusher.next_push(target.url())
    done = pusher.machine.agent.call("do", what="apply", wanted=push, trace=expression)
    assert done["answer"]["result"]["state"] == "applied"
    pusher.serves = target.name
    return Counter(call.name for call in calls(done["log"]))


def kill_at_every_call(pusher: Pusher) -> tuple[int, int]:
    """Kill once before each call; how many calls were counted, and how many kills were made."""
    calls = calls_of_a_push(pusher)
    kills = 0
    for call, times in sorted(calls.items()):
        for nth in range(1, times + 1):
            kills += pusher.killed(trace=f"inject={call}:signal=KILL:when={nth}")
    return calls.total(), kills


def test_killed_at_any_call_that_changes_the_disk_nothing_is_torn(machine: Machine, tell: Tell):
    pusher = Pusher(machine)
    calls, kills = kill_at_every_call(pusher)
    tell(
        f"{calls} calls that change the disk in a push, {kills} kills, "
        f"{len(pusher.torn)} torn, {len(pusher.diverged)} diverged"
    )
    assert (pusher.torn, pusher.diverged) == ([], [])
    assert kills == calls > 30


ERRORS = {
    "fallocate": "ENOSPC",
    "write": "ENOSPC",
    "fsync": "EIO",
    "rename": "EROFS",
    "mkdir": "ENOSPC",
    "symlink": "ENOSPC",
}


def test_whatever_call_the_disk_refuses_the_agent_says_what_is_so(machine: Machine, tell: Tell):
    """`applied` is served, and anything else is not; the next push finds nothing in its way."""
    pusher = Pusher(machine)
    calls = calls_of_a_push(pusher)
    said: Counter[str] = Counter()
    lies: list[str] = []
    for call, error in ERRORS.items():
        for nth in range(1, calls[call] + 1):
            done = pusher.struck(trace=f"inject={call}:error={error}:when={nth}")
            if "result" not in done["answer"]:
                continue  # it was the fork that could not write its answer
            state = done["answer"]["result"]["state"]
            said[state] += 1
            if (state == "applied") != done["is_new"]:
                lies.append(f"{call} {nth}: {state}")
    tell(f"{said.total()} calls refused by the disk: {dict(said)}")
    assert (lies, pusher.torn, pusher.diverged) == ([], [], [])
    assert said["failed"] > 20


def test_an_agent_that_writes_in_place_is_caught(machine: Machine):
    """The test above can fail: with a careless writer in its place it finds torn generations."""
    machine.site(in_place=True)
    pusher = Pusher(machine)
    for nth in range(1, 60):
        if pusher.torn or not pusher.killed(trace=f"inject=write:signal=KILL:when={nth}"):
            break
    assert pusher.torn
