"""kill -9 at every step and at every call that changes the disk: what is left is old or new, whole.

After each kill the disk alone is looked at, then an agent starts, ends what was begun, and a message
must arrive where that agent says it goes (unless smtpd was not touched). The pushes alternate between two sinks.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count, cycle
from typing import Any

import pytest

from app.agent.apply import PREPARING, RESTORING, SWITCHING
from tests.conftest import Tell
from tests.mta.agents.machine import Machine
from tests.mta.agents.strace import CHANGES, calls
from tests.mta.agents.wanting import relay_map, rule, wanted
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Sink

COUNTED = f"trace={','.join(CHANGES)}"
# smtpd keeps an idle session for a while, and looks only once a second whether there is more for it.
ROW = [Sink(f"sink-{n}", f"127.0.1.{n}", 26025) for n in range(1, 151)]
"""Where mail goes, one after the other: none is waited for that has just taken a message."""
BAD = Sink("bad", "127.0.2.1", 26025)
"""Where it never comes to go, if smtpd or smtpctl is the faulty one."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("strace") is None, reason="not installed: strace"),
]


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, *ROW, BAD)


@pytest.fixture
def machine(shared: Machine) -> Machine:
    return shared.fresh()


class Pusher:
    """Pushes to a sink that mail does not go to, is killed at it, and looks what became of it.

    With `whole` it changes rules, and smtpd is started anew; without, one list file, which smtpd
    reads again.
    """

    def __init__(self, machine: Machine, *, whole: bool = True) -> None:
        self.machine = machine
        self.whole = whole
        self.revisions = count(1)
        self.sinks = cycle(ROW)
        self.torn: list[str] = []
        self.diverged: list[str] = []
        machine.do("first")
        self.serves = ""
        self.move()

    def move(self, **how: Any) -> dict[str, Any]:
        """Push to the next sink, which succeeds; what the fork said of it."""
        target = next(self.sinks)
        done = self._do("apply", wanted=self._push(target), **how)
        assert done["answer"]["result"]["state"] == "applied"
        self.serves = target.name
        return done

    def killed(self, **how: Any) -> bool:
        """Push, with a kill on the way; look at the disk, recover, and let mail say what is served."""
        return bool(self.struck(**how)["killed"])

    def struck(self, *, target: Sink | None = None, **how: Any) -> dict[str, Any]:
        """Push, with a fault on the way, and the same; what the fork said of it."""
        push, target, before = self._begin(target)
        done = self._do("apply", wanted=push, **how)
        return done | {"is_new": self._look(target, push, before, str(how))}

    def killed_in_recovery(self, kill_at: str, target: Sink | None = None, **how: Any) -> Any:
        """The same, but that the recovery from the kill has a fault; what its fork said of it."""
        push, target, before = self._begin(target)
        assert self._do("apply", wanted=push, kill_at=kill_at)["killed"]
        done = self._do("recover", **how)
        self._look(target, push, before, f"recovery from {kill_at}, {how}")
        return done

    def _do(self, what: str, **how: Any) -> dict[str, Any]:
        done: dict[str, Any] = self.machine.agent.call("do", what=what, **how)
        return done

    def _begin(self, target: Sink | None) -> tuple[dict[str, Any], Sink, list[int]]:
        """A push to a sink, or to the next; and the processes of smtpd before it."""
        if not self.whole:
            self.move()  # should mail go where it went before, it must not be for the second time
        target = target or next(self.sinks)
        return self._push(target), target, self.machine.pids()

    def _push(self, target: Sink) -> dict[str, Any]:
        """A push that mail goes to that sink with."""
        revision, url = next(self.revisions), target.url()
        if not self.whole:
            return wanted(revision, [rule(1, "map:pool", "x.test")], [relay_map("pool", url)])
        # A list file beside the rule makes more than one file change.
        rules = [rule(1, url, "x.test"), rule(2, "map:pool", "y.test")]
        return wanted(revision, rules, [relay_map("pool", url)])

    def _look(self, target: Sink, push: Mapping[str, Any], before: list[int], fault: str) -> bool:
        """Look at the disk, recover, and let mail say what is served; whether it is the new."""
        after = self.machine.do("aftermath")
        report = after["report"]
        observed = report["observed"]  # None where nobody knows what it would be
        is_new = observed is not None and observed["revision"] == push["revision"]
        if after["torn"]:
            self.torn.append(f"{fault}: {after['torn']}")
        # The very processes of before have read no rules since: mail goes where it went.
        untouched = self.whole and self.machine.pids() == before
        went = self.serves if untouched else self.machine.goes_to("x.test")
        if (went, report["state"]) != (target.name if is_new else self.serves, "live"):
            self.diverged.append(f"{fault}: {went}, {report['state']}, {report['detail']}")
        if after["left"]:
            self.diverged.append(f"{fault}: left behind {after['left']}")
        self.serves = went
        return is_new


WAYS = pytest.mark.parametrize("whole", [True, False], ids=["restart", "table update"])


@WAYS
def test_killed_at_any_step_of_a_push_the_mta_serves_the_old_or_the_new(
    machine: Machine, *, whole: bool
):
    pusher = Pusher(machine, whole=whole)
    steps = PREPARING + SWITCHING
    # A table update takes no action away.
    reached = [step for step in steps if whole or step != "would-strand"]
    assert [step for step in reached if not pusher.killed(kill_at=step)] == []
    assert (pusher.torn, pusher.diverged) == ([], [])


def faulty_smtpd(machine: Machine) -> None:
    """Let a generation that sends mail to the bad sink never serve."""
    script = """#!/bin/sh
case " $* " in *" -n "*|*" -h "*) exec /usr/sbin/smtpd "$@";; esac
grep -q '127[.]0[.]2[.]1:' /run/agent/live/relaymap.conf && exit 1
exec /usr/sbin/smtpd "$@"
"""
    machine.smtpd.write("/run/bed/smtpd-faulty", script, mode=0o755)
    machine.site(smtpd="/run/bed/smtpd-faulty")


def faulty_smtpctl(machine: Machine) -> None:
    """Let a list that names the bad sink never be read again."""
    script = """#!/bin/sh
case " $* " in *" update "*) grep -q '127[.]0[.]2[.]1:' /run/agent/live/m-pool && exit 1;; esac
exec /usr/sbin/smtpctl "$@"
"""
    machine.smtpd.write("/run/bed/smtpctl-faulty", script, mode=0o755)
    machine.site(smtpctl="/run/bed/smtpctl-faulty")


@WAYS
def test_killed_at_any_step_of_going_back_the_mta_serves_the_old(machine: Machine, *, whole: bool):
    """The new generation never serves. Recovery must not bring it up either."""
    (faulty_smtpd if whole else faulty_smtpctl)(machine)
    pusher = Pusher(machine, whole=whole)
    struck = [pusher.struck(kill_at=step, target=BAD) for step in RESTORING]
    assert [(each["killed"], each["is_new"]) for each in struck] == [(True, False)] * len(struck)
    assert (pusher.torn, pusher.diverged) == ([], [])


def calls_of_a_push(pusher: Pusher) -> Counter[str]:
    """How often a whole push makes each call."""
    done = pusher.move(trace=COUNTED)
    assert done["answer"]["result"]["reload"] == ("restart" if pusher.whole else "table-update")
    return Counter(call.name for call in calls(done["log"]))


def each_once(counted: Counter[str]) -> list[str]:
    """For each call that was counted, what lets strace(1) kill before it."""
    return [
        f"inject={call}:signal=KILL:when={nth}"
        for call, times in sorted(counted.items())
        for nth in range(1, times + 1)
    ]


@WAYS
def test_killed_at_any_call_that_changes_the_disk_nothing_is_torn(
    machine: Machine, tell: Tell, *, whole: bool
):
    pusher = Pusher(machine, whole=whole)
    counted = calls_of_a_push(pusher)
    kills = sum(pusher.killed(trace=each) for each in each_once(counted))
    tell(
        f"{counted.total()} calls that change the disk in a push{'' if whole else ' of one list'}, "
        f"{kills} kills, {len(pusher.torn)} torn, {len(pusher.diverged)} diverged"
    )
    assert (pusher.torn, pusher.diverged) == ([], [])
    assert kills == counted.total() > 30


@pytest.mark.parametrize(
    ("kill_at", "target"), [("reload", None), ("reload-old", BAD)], ids=["going on", "going back"]
)
def test_killed_again_at_any_call_of_the_recovery_nothing_is_torn(
    machine: Machine, tell: Tell, kill_at: str, target: Sink | None
):
    """It takes three agents then until a push has ended."""
    faulty_smtpctl(machine)
    pusher = Pusher(machine, whole=False)
    done = pusher.killed_in_recovery(kill_at, target, trace=COUNTED)
    counted = Counter(call.name for call in calls(done["log"]))
    kills = sum(
        pusher.killed_in_recovery(kill_at, target, trace=each)["killed"]
        for each in each_once(counted)
    )
    tell(
        f"{counted.total()} calls that change the disk in a recovery from {kill_at}, "
        f"{kills} kills, {len(pusher.torn)} torn, {len(pusher.diverged)} diverged"
    )
    assert (pusher.torn, pusher.diverged) == ([], [])
    assert kills == counted.total() >= 20


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


@WAYS
def test_an_agent_that_does_not_recover_is_caught(machine: Machine, *, whole: bool):
    """Nothing is torn then, and it does not pretend to know what is served; but nothing is ended."""
    machine.site(forgetful=True)
    pusher = Pusher(machine, whole=whole)
    assert pusher.killed(kill_at="reload")
    assert pusher.torn == []
    (left,) = pusher.diverged
    assert "intent.json" in left
