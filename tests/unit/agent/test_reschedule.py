"""Which envelopes are hurried on, how fast, and what is asked of smtpctl for it."""

import asyncio
from pathlib import Path

import pytest

from app.agent.daemon_log import Waits
from app.agent.last_tries import LastTries, is_queued
from app.agent.reschedule import A_SECOND, Rescheduler
from app.agent.smtpctl import DisabledRoute, NoAnswer, RelayLoad, Smtpctl

pytestmark = [pytest.mark.io, pytest.mark.anyio]

A, B = "192.0.2.1", "192.0.2.2"
RELAYS = """\
[relay:127.0.1.11,port=26025,smtp+notls,mx] refcount=2 ntask=3 nconn=1 lastconn=0s timeout=1s wait=connector
  connector [] refcount=0 nconn=1 lastconn=0s timeout=5s flags=WAIT
[relay:[::1],port=465,smtps,auth=words:kept,mx] refcount=1 ntask=0 nconn=2 lastconn=1s timeout=- wait=
  connector [] refcount=0 nconn=2 lastconn=0s timeout=5s flags=
"""
ROUTES = """\
1. [] <-> 192.0.2.1 (a.test) ND-- nconn=0 nerror=0 penalty=1 timeout=14s
2. [] <-> 192.0.2.2 (b.test) ---- nconn=1 nerror=0 penalty=0 timeout=-
3. [192.0.2.9] <-> [2001:db8::1] (x) ND-- nconn=0 () ---- nconn=0) ND-- nconn=0 nerror=0 penalty=1 timeout=3600s
4. [] <-> 192.0.2.1 (a) ---- nconn=1 nerror=0 penalty=0 timeout=-) -D-- nconn=0 nerror=0 penalty=9 timeout=1s
"""


def waits(number: int, place: str = A, *, unconnected: bool = True) -> Waits:
    return Waits(f"{number:016x}", place, unconnected)


class Smtpd:
    """A program in smtpctl's place that keeps what it was asked."""

    def __init__(self, directory: Path) -> None:
        self._asked = directory / "asked"
        self._program = directory / "smtpctl"
        self.failed = directory / "failed"
        (directory / "relays").write_text(RELAYS)
        (directory / "routes").write_text(ROUTES)
        self.script = f'echo "$*" >>{self._asked}; [ "$1" != show ] || cat {directory}/"$2"'
        self.answer(self.script)
        self.ctl = Smtpctl(self._program)

    def answer(self, script: str) -> None:
        self._program.write_text(f"#!/bin/sh\n{script}\n")
        self._program.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        return self._asked.read_text().splitlines() if self._asked.exists() else []


class Clock:
    """Time that only a pause moves on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def smtpd(tmp_path: Path) -> Smtpd:
    return Smtpd(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tries() -> LastTries:
    return LastTries()


@pytest.fixture
def rescheduler(smtpd: Smtpd, tries: LastTries, clock: Clock) -> Rescheduler:
    return Rescheduler(smtpd.ctl, tries, clock=clock, pause=clock.pause)


async def test_those_that_met_nobody_there_are_tried_by_their_ids(
    smtpd: Smtpd, tries: LastTries, rescheduler: Rescheduler
):
    for each in (waits(1), waits(2, B), waits(3, unconnected=False), waits(4)):
        tries.note(each)
    rescheduler.hurry(tries.unconnected([A]))
    await rescheduler.work_off()
    assert smtpd.asked == [f"schedule {1:016x}", f"schedule {4:016x}"]


async def test_no_more_than_so_many_a_second(
    smtpd: Smtpd, tries: LastTries, rescheduler: Rescheduler, clock: Clock
):
    for number in range(A_SECOND):
        tries.note(waits(number))
    rescheduler.hurry(tries.unconnected([A]))
    began = clock.now
    await rescheduler.work_off()
    assert len(smtpd.asked) == A_SECOND
    assert clock.now - began == pytest.approx(1.0)


async def test_one_that_goes_on_failing_is_hurried_ever_more_seldom(
    smtpd: Smtpd, tries: LastTries, rescheduler: Rescheduler, clock: Clock
):
    """Else a message that finds only relays that are down would run in a circle."""
    assert await times_hurried(tries, rescheduler, clock) == [0, 4, 12, 28, 60, 124]
    assert len(smtpd.asked) == 6
    rescheduler.forget([f"{1:016x}"])  # there is news
    assert await times_hurried(tries, rescheduler, clock) == [0, 4, 12, 28, 60, 124]


async def test_one_that_smtpd_goes_on_trying_is_asked_for_ever_more_seldom(
    smtpd: Smtpd,
    tries: LastTries,
    rescheduler: Rescheduler,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
):
    """smtpd logs that an envelope failed before its scheduler can be asked to try it again.

    There may be thousands of them, and each costs a process.
    """
    smtpd.answer(f"{smtpd.script}; echo '0 envelope scheduled'")
    with caplog.at_level("INFO"):
        assert await times_hurried(tries, rescheduler, clock) == [0, 4, 12, 28, 60, 124]
    assert "rescheduled" not in caplog.text
    assert len(tries) == 1  # it is not taken for one that is tried
    clock.now += 200
    smtpd.answer(f"{smtpd.script}; echo '1 envelope scheduled'")
    rescheduler.hurry(tries.unconnected([A]))
    await rescheduler.work_off()
    assert len(tries) == 0


async def times_hurried(tries: LastTries, rescheduler: Rescheduler, clock: Clock) -> list[int]:
    """When one that fails whenever it is tried is hurried within 200 s."""
    began, times = clock.now, []
    while clock.now < began + 200:
        tries.note(waits(1))
        if rescheduler.due(tries.unconnected([A])):
            times.append(round(clock.now - began))
            rescheduler.hurry(tries.unconnected([A]))
            assert rescheduler.due(tries.unconnected([A])) == []
            await rescheduler.work_off()
        clock.now += 1
    return times


async def test_one_that_fails_while_it_is_asked_for_is_not_asked_for_twice(
    smtpd: Smtpd, tries: LastTries, rescheduler: Rescheduler
):
    tries.note(waits(1))
    rescheduler.hurry(tries.unconnected([A]))
    working = asyncio.create_task(rescheduler.work_off())
    while not smtpd.asked:
        await asyncio.sleep(0.001)
        tries.note(waits(1))
        rescheduler.hurry(tries.unconnected([A]))
    await working
    assert smtpd.asked == [f"schedule {1:016x}"]
    assert tries.last(f"{1:016x}") is not None


async def test_one_that_has_left_is_not_asked_for(
    smtpd: Smtpd, tries: LastTries, rescheduler: Rescheduler
):
    tries.note(waits(1))
    rescheduler.hurry(tries.unconnected([A]))
    tries.forget(f"{1:016x}")
    await rescheduler.work_off()
    assert smtpd.asked == []


async def test_what_smtpd_could_not_be_asked_is_asked_later(
    smtpd: Smtpd, tries: LastTries, rescheduler: Rescheduler, clock: Clock
):
    """And no other envelope is lost for it."""
    for number in range(3):
        tries.note(waits(number))
    rescheduler.hurry(tries.unconnected([A]))
    fails_once = f"[ -e {smtpd.failed} ] || {{ : >{smtpd.failed}; exit 1; }}; {smtpd.script}"
    smtpd.answer(fails_once)
    await rescheduler.work_off()
    assert smtpd.asked == [f"schedule {1:016x}", f"schedule {2:016x}"]
    rescheduler.hurry(tries.unconnected([A]))
    await rescheduler.work_off()
    assert smtpd.asked[2:] == [f"schedule {0:016x}"]


async def test_what_could_not_be_asked_was_not_in_vain(
    smtpd: Smtpd, tries: LastTries, rescheduler: Rescheduler
):
    tries.note(waits(1))
    smtpd.answer("exit 1")
    for _ in range(5):
        assert rescheduler.due(tries.unconnected([A]))
        rescheduler.hurry(tries.unconnected([A]))
        await rescheduler.work_off()


async def test_what_would_only_come_back_is_not_tried(smtpd: Smtpd, tries: LastTries):
    """A relay may go down while thousands are to be tried there."""
    rescheduler = Rescheduler(smtpd.ctl, tries, is_of_use=lambda place: place == B, clock=Clock())
    tries.note(waits(1))
    tries.note(waits(2, B))
    rescheduler.hurry(tries.unconnected([A, B]))
    await rescheduler.work_off()
    assert smtpd.asked == [f"schedule {2:016x}"]
    assert rescheduler.due(tries.unconnected([A])) == [f"{1:016x}"]


async def test_no_more_is_wanted_than_may_be_known(
    smtpd: Smtpd, tries: LastTries, rescheduler: Rescheduler, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.agent.reschedule._MAX_KNOWN", 3)
    for number in range(5):
        tries.note(waits(number))
    rescheduler.hurry(tries.unconnected([A]))
    rescheduler.hurry(tries.unconnected([A]))
    await rescheduler.work_off()
    assert len(smtpd.asked) == 3
    rescheduler.hurry(tries.unconnected([A]))
    await rescheduler.work_off()
    assert len(smtpd.asked) == 5


async def test_nothing_but_an_envelope_can_be_scheduled(smtpd: Smtpd):
    for wrong in ("all", "", "548830ab", "548830ab5987ee88 all", "--"):
        with pytest.raises(AssertionError):
            await smtpd.ctl.schedule(wrong)
    assert smtpd.asked == []


async def test_only_routes_that_are_off_and_lead_there_are_resumed(
    smtpd: Smtpd, rescheduler: Rescheduler
):
    assert await smtpd.ctl.disabled_routes() == [
        DisabledRoute("1", A),
        DisabledRoute("3", "2001:db8::1"),
        DisabledRoute("4", A),
    ]
    await rescheduler.resume([A, "a.test"])
    assert smtpd.asked[1:] == ["show routes", "resume route 1", "resume route 4"]


async def test_loads_are_read(smtpd: Smtpd):
    assert await smtpd.ctl.loads() == [
        RelayLoad("127.0.1.11", 26025, 3, 1),
        RelayLoad("::1", 465, 0, 2),
    ]


async def test_there_may_be_any_number_of_relays(smtpd: Smtpd, tmp_path: Path):
    (tmp_path / "relays").write_text(RELAYS * 2_000)
    assert len(await smtpd.ctl.loads()) == 4_000


async def test_no_smtpd_is_not_the_same_as_no_load(smtpd: Smtpd):
    smtpd.answer("echo 'smtpctl: smtpd does not seem to be running' >&2; exit 1")
    with pytest.raises(NoAnswer):
        await smtpd.ctl.loads()


def test_the_newest_tries_are_kept():
    tries = LastTries(most=3)
    for number in range(5):
        tries.note(waits(number))
    assert tries.envelopes() == [f"{number:016x}" for number in (2, 3, 4)]
    assert (tries.count([A]), tries.count([B])) == (3, 0)
    tries.note(waits(2, B))
    assert (tries.count([A]), tries.count([B]), tries.count([A, B])) == (2, 1, 3)
    for envelope in tries.envelopes():
        tries.forget(envelope)
    tries.forget("never seen")
    assert (len(tries), tries._at) == (0, {})


def test_an_envelope_is_looked_for_where_smtpd_keeps_it(tmp_path: Path):
    path = tmp_path / "queue/0a/0a0b0c0d/0a0b0c0d00000001"
    path.parent.mkdir(parents=True)
    path.touch()
    queued = is_queued(tmp_path)
    assert queued("0a0b0c0d00000001")
    assert not queued("0a0b0c0d00000002")
