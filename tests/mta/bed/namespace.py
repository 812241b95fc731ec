"""A machine of its own for one test: private mounts, network, pids and host name.

What is done here never reaches the machine outside, and everything inside ends with the process
that opened it, however that process ends.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

HOST_NAME = "mta.bed.test"
OWN = ("203.0.113.5/32", "2001:db8:ffff::5/128")
"""Addresses of the machine inside, beside 127.0.0.1 and ::1."""
FOREIGN = ("192.0.2.0/24", "198.51.100.0/24", "2001:db8:1::/48", "2001:db8:2::/48")
"""Networks whose addresses can be bound inside, and are foreign to every daemon there."""
WORKSPACE = "/run/bed"
"""A directory inside that every user may search: for configuration, tables, state."""

_LIMIT_S = 45
_HOLDER = Path(__file__).with_name("holder.py")
_CLONE_NEWNET = 0x40000000  # setns(2)
_libc = ctypes.CDLL(None, use_errno=True)
_TOOLS = ("smtpd", "smtpctl", "nsenter", "ip")


def missing() -> str | None:
    """Say what keeps a bed from running here, or None when it can run."""
    if not sys.platform.startswith("linux"):
        return "namespaces need Linux"
    if os.geteuid() != 0:
        return "a real smtpd in namespaces needs root"
    absent = [tool for tool in _TOOLS if shutil.which(tool, path=_search_path()) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (packages opensmtpd, iproute2, util-linux)"
    try:
        Namespace.open().close()
    except NamespaceRefused as refused:
        return f"namespaces are refused here: {refused}"
    return None


def _search_path() -> str:
    """Daemons live in sbin, which is not on every PATH."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


class NamespaceRefused(Exception):
    """The kernel, or the container around us, gives no private namespaces."""


class CommandFailed(Exception):
    """A command inside ended with another status than 0, or not in time."""


@dataclass(slots=True)
class Inside:
    """A command that runs inside, with its pid as seen from outside.

    nsenter(1) stands between: it forks into the pid namespace, waits, and ends as the command did.
    Signals therefore go to the command itself.
    """

    entering: subprocess.Popen[bytes]
    pid: int

    @property
    def stdin(self) -> IO[bytes]:
        """The command's standard input; only when it was opened with a pipe."""
        assert self.entering.stdin is not None
        return self.entering.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The command's standard output; only when it was opened with a pipe."""
        assert self.entering.stdout is not None
        return self.entering.stdout

    def poll(self) -> int | None:
        """Answer the exit status, negative for a signal, or None while it runs."""
        return self.entering.poll()

    def wait(self, timeout_s: float = _LIMIT_S) -> int:
        """Wait for the end and answer the exit status, negative for a signal."""
        return self.entering.wait(timeout_s)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command, if it still runs."""
        if self.poll() is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return  # it ended between the two lines

    def stop(self, timeout_s: float = _LIMIT_S) -> int:
        """Ask it to end, insist when it does not, and answer its exit status."""
        self.send(signal.SIGTERM)
        try:
            return self.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            return self.wait(timeout_s)


@dataclass(slots=True)
class Namespace:
    """The machine inside; `open` makes it, `close` ends everything in it."""

    holder: subprocess.Popen[bytes]
    pid: int
    _started: list[Inside] = field(default_factory=list)

    @classmethod
    def open(cls, hosts: Mapping[str, str] | None = None) -> Self:
        """Make a machine; `hosts` maps names to addresses for its /etc/hosts.

        Raises:
            NamespaceRefused: with what the kernel said.
        """
        lines = [f"127.0.0.1 localhost {HOST_NAME}", "::1 localhost"]
        lines += [f"{address} {name}" for name, address in (hosts or {}).items()]
        settings = {
            "host_name": HOST_NAME,
            "hosts": "\n".join(lines) + "\n",
            "own": OWN,
            "foreign": FOREIGN,
        }
        holder = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_HOLDER), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us; the pipe tells it when we are done
            env=_environment({}),
        )
        assert holder.stdout is not None
        pid, ready = holder.stdout.readline(), holder.stdout.readline()
        if ready != b"ready\n":
            raise NamespaceRefused(_last_words(holder))
        namespace = cls(holder, int(pid))
        namespace.outside(WORKSPACE).mkdir(mode=0o755)
        return namespace

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process inside and wait until all are gone."""
        assert self.holder.stdin is not None
        self.holder.stdin.close()
        self.holder.wait(_LIMIT_S)
        for inside in self._started:
            inside.wait()  # the kernel has killed it; this collects the nsenter around it
            for pipe in (inside.entering.stdin, inside.entering.stdout, inside.entering.stderr):
                if pipe is not None:
                    _close_quietly(pipe)
        for pipe in (self.holder.stdout, self.holder.stderr):
            if pipe is not None:
                pipe.close()

    def outside(self, path: str | Path) -> Path:
        """Answer where a path inside is found from outside, while the machine lives."""
        return Path(f"/proc/{self.pid}/root", str(path).lstrip("/"))

    def pids(self) -> list[int]:
        """Answer the pids, as seen from outside, of all that runs inside but its first process."""
        here = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "ns/pid").readlink() == here:
                    found.append(int(process.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # over by now, or of another container
        return sorted(pid for pid in found if pid != self.pid)

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        directory: str = "/",
    ) -> Inside:
        """Start a command inside, in the C locale, standing in a directory of the machine."""
        entering = subprocess.Popen(
            [*self._enter(), "env", "-C", directory, *argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            env=_environment(environment or {}),
        )
        inside = Inside(entering, _child_of(entering))
        self._started.append(inside)
        return inside

    def run(
        self,
        argv: Sequence[str],
        *,
        text: str = "",
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        directory: str = "/",
        timeout_s: float = _LIMIT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end, with `text` as its input.

        Raises:
            CommandFailed: with its output, when it ended badly (unless `check` is false) or
                did not end in time.
        """
        inside = self.popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            environment=environment,
            directory=directory,
        )
        self._started.remove(inside)
        try:
            out, err = inside.entering.communicate(text.encode(), timeout_s)
        except subprocess.TimeoutExpired as late:
            inside.send(signal.SIGKILL)
            inside.entering.communicate()
            raise CommandFailed(f"{argv[0]} did not end within {timeout_s:.0f} s") from late
        done = subprocess.CompletedProcess(
            list(argv), inside.entering.returncode, out.decode(), err.decode()
        )
        if check and done.returncode != 0:
            raise CommandFailed(f"{argv} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def connect(self, address: str, port: int) -> socket.socket:
        """Answer a TCP connection to something inside, made from inside, for use out here.

        Raises:
            OSError: as connect(2).
        """
        made: list[socket.socket] = []
        failed: list[OSError] = []

        def inside() -> None:
            # A socket belongs to the network that its thread stands in when it is made.
            with open(f"/proc/{self.pid}/ns/net", encoding="ascii") as network:
                if _libc.setns(network.fileno(), _CLONE_NEWNET) != 0:
                    failed.append(OSError(ctypes.get_errno(), "setns"))
                    return
            try:
                made.append(socket.create_connection((address, port), _LIMIT_S))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return made[0]

    def _enter(self) -> list[str]:
        # --root: in a chroot, joining a mount namespace would otherwise leave the chroot.
        return ["nsenter", f"--target={self.pid}", "-m", "-n", "-p", "-u", "--root", "--"]


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
    return kept | {"LC_ALL": "C", "PATH": _search_path()} | dict(more)


def _child_of(entering: subprocess.Popen[bytes]) -> int:
    """Answer the pid of the command that nsenter has forked, or nsenter's own if it is over."""
    children = Path(f"/proc/{entering.pid}/task/{entering.pid}/children")
    while entering.poll() is None:
        found = children.read_text(encoding="ascii").split()
        if found:
            return int(found[0])
    return entering.pid


def _last_words(holder: subprocess.Popen[bytes]) -> str:
    """Answer the last line that a holder that failed has written."""
    _, errors = holder.communicate()
    lines = errors.decode().strip().splitlines()
    return lines[-1] if lines else f"it ended with {holder.returncode}"


def _close_quietly(pipe: IO[bytes]) -> None:
    """Close a pipe whose reader is dead: what was still to be written is of no use to anyone."""
    try:
        pipe.close()
    except BrokenPipeError:
        return
