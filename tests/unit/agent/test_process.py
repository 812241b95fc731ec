"""Children: nothing of our environment, an end in time, and no more output than is kept."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from app.agent import process
from app.agent.process import MAX_OUTPUT, Daemon, NotStarted, TookTooLong

pytestmark = [pytest.mark.io, pytest.mark.anyio]


async def test_a_child_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_BY_MISTAKE", "x")
    done = await process.run(["/usr/bin/env"], 10)
    assert set(done.output.split()) == {f"{k}={v}" for k, v in process.ENVIRONMENT.items()}


async def test_both_outputs_and_the_status_are_told():
    done = await process.run(["/bin/sh", "-c", "echo one; echo two >&2; exit 3"], 10)
    assert (done.status, sorted(done.output.split()), done.last_line) == (3, ["one", "two"], "two")


async def test_what_takes_too_long_is_killed_with_all_that_it_started():
    with pytest.raises(TookTooLong):
        await process.run(["/bin/sh", "-c", "sleep 987 & sleep 987"], 0.2)
    left = [p for p in process.neighbours() if process.arguments(p) == ["sleep", "987"]]
    assert left == []


async def test_output_is_kept_up_to_a_limit_and_the_rest_is_read_all_the_same():
    done = await process.run(["/bin/sh", "-c", "yes | head -c 1000000; exit 4"], 10)
    assert (done.status, len(done.output)) == (4, MAX_OUTPUT)


async def test_a_program_that_is_not_there_is_named():
    with pytest.raises(NotStarted, match="/no/such/program"):
        await process.run(["/no/such/program"], 10)


async def test_a_daemon_is_heard_line_by_line_and_ends_when_told():
    heard: list[str] = []
    script = "echo up; trap 'echo down; exit 7' TERM; while :; do sleep 0.01; done"
    daemon = await Daemon.start(["/bin/sh", "-c", script], heard.append)
    while not heard:
        await process.run(["/bin/true"], 10)
    assert await daemon.stop(10) == 7
    assert heard == ["up", "down"]


async def test_a_line_without_end_does_not_stop_a_daemon_from_being_heard():
    heard: list[str] = []
    script = "yes | tr -d '\\n' | head -c 100000; echo; echo after"
    daemon = await Daemon.start(["/bin/sh", "-c", script], heard.append)
    assert await daemon.wait() == 0
    assert heard[-1].endswith("after")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "988"]) as started:
        yield started
        started.kill()


async def test_a_stranger_is_ended_and_one_with_its_pid_is_not(child: subprocess.Popen[bytes]):
    known = process.identity(child.pid)
    assert known is not None
    await process.end(process.Identity(known.pid, known.started - 1, known.boot), 10)
    assert process.identity(child.pid) == known
    await process.end(known, 10)
    assert child.wait() == -15
    assert process.identity(os.getpid()) is not None
