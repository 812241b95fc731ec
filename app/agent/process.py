"""Child processes: an argv list, a time limit, capped output, the C locale, never a shell.

This is the only module that may import `subprocess`. No child sees the agent's environment: what
a secret was put into there by mistake stays there.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.routing.errors import ControlError

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
MAX_OUTPUT = 65_536
"""Octets of a child's output that are kept; what comes after them is read and dropped."""
_MAX_LINE = 8_192
_CHUNK = 65_536
_KILL_WAIT_S = 5.0
_TICKS = 100
"""Of proc(5) in a second: USER_HZ is 100 on every architecture that Debian has."""


class NotStarted(ControlError):
    """A program is not there, or may not be run."""

    code = "not-started"

    def __init__(self, program: str, reason: str) -> None:
        super().__init__(f"{program} could not be started: {reason}")


class TookTooLong(ControlError):
    """A child did not end within its limit and was killed."""

    code = "took-too-long"
    temporary = True

    def __init__(self, program: str, limit_s: float) -> None:
        super().__init__(f"{program} did not end within {limit_s:g} s")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended.

    Attributes:
        status: its exit status; negative: the signal that ended it.
        output: standard output and standard error as they came, at most `MAX_OUTPUT` octets.
    """

    status: int
    output: str

    @property
    def last_line(self) -> str:
        """The last line that says anything; "" if none does."""
        lines = [line.strip() for line in self.output.splitlines()]
        return next((line for line in reversed(lines) if line), "")


async def run(argv: Sequence[str], limit_s: float) -> Finished:
    """Run a program to its end.

    Args:
        argv: the program's path and its arguments; no secret may be among them.
        limit_s: after so many seconds it is killed, with all that it started.

    Raises:
        NotStarted: there is no such program, or it may not be run.
        TookTooLong: the limit passed.
    """
    child = await _start(argv, subprocess.STDOUT)
    try:
        async with asyncio.timeout(limit_s):
            output = await _read_capped(_pipe(child))
            status = await child.wait()
    except TimeoutError:
        raise TookTooLong(argv[0], limit_s) from None
    finally:
        await _kill(child)
    return Finished(status, output.decode("utf-8", "replace"))


async def _start(argv: Sequence[str], errors: int) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(  # noqa: TID251  the one place that may
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            limit=_MAX_LINE,
        )
    except OSError as error:
        raise NotStarted(argv[0], error.strerror or "no reason given") from error


def _pipe(child: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if child.stdout is None:
        raise AssertionError("children are started with a pipe")
    return child.stdout


async def _read_capped(stream: asyncio.StreamReader) -> bytes:
    kept = bytearray()
    while chunk := await stream.read(_CHUNK):
        kept += chunk[: MAX_OUTPUT - len(kept)]
    return bytes(kept)


async def _kill(child: asyncio.subprocess.Process) -> None:
    """End a child that still runs, and its whole session."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it ended between the two lines
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


class Daemon:
    """A child that is meant to stay; its lines go to `heard` until it ends."""

    def __init__(self, child: asyncio.subprocess.Process, heard: Callable[[str], None]) -> None:
        self.pid = child.pid
        self._child = child
        self._heard = heard
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, argv: Sequence[str], heard: Callable[[str], None]) -> "Daemon":
        """Start it.

        Raises:
            NotStarted: there is no such program, or it may not be run.
        """
        return cls(await _start(argv, subprocess.STDOUT), heard)

    async def wait(self) -> int:
        """Wait for its end and answer its exit status; negative: the signal that ended it."""
        status = await self._child.wait()
        # Its own children may hold the pipe a little longer; what they say then is not waited for.
        await asyncio.wait({self._reading}, timeout=1.0)
        self._reading.cancel()
        return status

    async def stop(self, limit_s: float) -> int:
        """Ask it to end, insist after `limit_s` seconds, and answer its exit status."""
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.terminate()
        try:
            async with asyncio.timeout(limit_s):
                await self._child.wait()
        except TimeoutError:
            await _kill(self._child)
        return await self.wait()

    async def _read(self) -> None:
        stream = _pipe(self._child)
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than _MAX_LINE: what was buffered of it is dropped
                continue
            if not line:
                return
            self._heard(line.decode("utf-8", "replace").rstrip())


@dataclass(frozen=True, slots=True)
class Identity:
    """One process and no other: a pid comes back, a pid with its start and its boot does not.

    Attributes:
        started: on the clock of whoever says it: clock ticks after boot (proc(5), field 22 of
            stat), or microseconds of the monotonic clock (systemd).
        boot: the kernel's id of this boot, or systemd's of this start of a unit.
    """

    pid: int
    started: int
    boot: str


def identity(pid: int) -> Identity | None:
    """The process that has this pid now; None if there is none, or only its remains."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold any character, parentheses as well.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    return Identity(pid, int(fields[19]), boot_id())


def now_ticks() -> int:
    """The present moment in clock ticks after boot."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def name(pid: int) -> str:
    """The file name of the program that a process runs, as the kernel cut it; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def arguments(pid: int) -> list[str]:
    """What a process was started with; empty if it is gone."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [part.decode("utf-8", "replace") for part in line.removesuffix(b"\0").split(b"\0")]


def neighbours() -> Iterator[int]:
    """The pids of this machine, or container; from a host, those in its containers are left out."""
    ours = _spaces("self")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _spaces(entry.name) == ours:
            yield int(entry.name)


def _spaces(pid: str) -> tuple[str, str] | None:
    try:
        pids, network = (str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("pid", "net"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return pids, network


async def end(wanted: Identity, limit_s: float) -> None:
    """End a process that is no child of ours, and wait until it is gone.

    Raises:
        TookTooLong: it is still there `_KILL_WAIT_S` seconds after it was killed.
    """
    try:
        descriptor = os.pidfd_open(wanted.pid)
    except ProcessLookupError:
        return
    try:
        for number, wait_s in ((signal.SIGTERM, limit_s), (signal.SIGKILL, _KILL_WAIT_S)):
            if identity(wanted.pid) != wanted:  # the descriptor may be of a successor
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if await _ended(descriptor, wait_s):
                return
    finally:
        os.close(descriptor)
    raise TookTooLong(f"process {wanted.pid}", _KILL_WAIT_S)


async def _ended(descriptor: int, wait_s: float) -> bool:
    """Whether the process of a pidfd ends within `wait_s` seconds."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)  # pidfd_open(2): readable once it has ended
    try:
        async with asyncio.timeout(wait_s):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True
