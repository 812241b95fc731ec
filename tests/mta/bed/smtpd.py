"""A real smtpd inside a namespace: its configuration, its start and stop, its queue, its log."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.table_program.handover import parent_of
from tests.mta.bed.certificates import Authority
from tests.mta.bed.namespace import WORKSPACE, Inside, Namespace

CIPHERS_6_8 = "AECDH-AES256-SHA:@SECLEVEL=0"
"""Debian's 6.8.0p2 fails at every handshake that needs its key (OpenSSL 3): these need none."""
CONF = f"{WORKSPACE}/smtpd.conf"
LOG = f"{WORKSPACE}/smtpd.log"
_CREDENTIALS = f"{WORKSPACE}/logins"
_CERTIFICATE = f"{WORKSPACE}/listener"
_LOCAL_MAIL = "local.bed.test"
_DELAYED = ("host", "route", "source", "connector", "relay", "domain")
_HASTE = (
    # A pick is thrown away when 50 messages wait for its relay, and made again later: counts would
    # then say how fast a sink is.
    "mta limit task-hiwat 100000",
    # It waits seconds between two connections to one place; here all places are ours.
    *(f"mta limit conn-delay-{what} 0" for what in _DELAYED),
    "mta limit reconn-delay-route 0",
)
"""One who refuses connections is then tried thousands of times in a second."""
_LIMIT_S = 60
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that smtpd listens on, with the tag that its sessions get; "" is untagged."""

    port: int
    tag: str = ""
    logins: bool = False
    addresses: tuple[str, ...] = ("127.0.0.1", "::1")


LISTENERS = (
    Listener(27301),
    Listener(27302, "SUB", logins=True),
    Listener(27303, "A"),
    Listener(27304, "B"),
    Listener(27305, logins=True),
)
"""Foreign clients reach 127.0.0.1 and ::1 as well: inside, their networks are local routes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator's smtpd.conf says; our include, if any, comes last."""

    listeners: Sequence[Listener] = LISTENERS
    logins: dict[str, str] = field(default_factory=dict)
    declarations: Sequence[str] = ()
    include: str = ""
    lines: Sequence[str] = ()
    patient: bool = False
    """Whether smtpd keeps its own pace: as on any machine, and slower."""

    def text(self) -> str:
        """Answer the smtpd.conf(5)."""
        parts = [
            f'pki listener cert "{_CERTIFICATE}.crt"',
            f'pki listener key "{_CERTIFICATE}.key"',
            f'smtp ciphers "{CIPHERS_6_8}"',
            *([] if self.patient else _HASTE),
            f'table logins "file:{_CREDENTIALS}"',
            *self.declarations,
            *(line for listener in self.listeners for line in self._listen(listener)),
            'action "to-mailbox" maildir "/var/spool/mailboxes/%{user.username}"',
            f'match from any for domain "{_LOCAL_MAIL}" action "to-mailbox"',
            *self.lines,
            *([f'include "{self.include}"'] if self.include else []),
        ]
        return "\n".join(parts) + "\n"

    def _listen(self, listener: Listener) -> Iterator[str]:
        options = ["tls pki listener auth-optional <logins>"] if listener.logins else []
        options += [f'tag "{listener.tag}"'] if listener.tag else []
        for address in listener.addresses:
            yield " ".join([f"listen on {address} port {listener.port}", *options])


class NotReady(Exception):
    """The daemon ended, or did not come to the state waited for; with the end of its log."""


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


@dataclass(slots=True)
class Smtpd:
    """The daemon of one namespace."""

    namespace: Namespace
    running: Inside | None = None
    ports: frozenset[int] = frozenset()

    def configure(self, settings: Settings) -> None:
        """Write the operator's files: configuration, listener certificate, logins."""
        self.write(CONF, settings.text())
        self.ports = frozenset(listener.port for listener in settings.listeners)
        if not self._outside(f"{_CERTIFICATE}.key").exists():
            certificate, key = Authority.create().issue("127.0.0.1")
            self.write(f"{_CERTIFICATE}.crt", certificate)
            self.write(f"{_CERTIFICATE}.key", key, mode=0o600)
        lines = [f"{user}\t{self.encrypt(word)}\n" for user, word in settings.logins.items()]
        self.write(_CREDENTIALS, "".join(lines), mode=0o640, group="opensmtpd")

    def write(self, path: str, text: str, *, mode: int = 0o644, group: str = "root") -> None:
        """Write a file inside."""
        target = self._outside(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(mode)
        shutil.chown(target, "root", group)

    def encrypt(self, password: str) -> str:
        """Answer a password as a credentials table of a listener holds it (crypt(3))."""
        return self.namespace.run(["smtpctl", "encrypt", password]).stdout.strip()

    def version(self) -> tuple[int, int]:
        """Answer the version that `smtpd -h` names."""
        said = self.namespace.run(["smtpd", "-h"], check=False)
        found = re.search(r"OpenSMTPD (\d+)\.(\d+)", said.stdout + said.stderr)
        assert found is not None
        return int(found[1]), int(found[2])

    def check(self, path: str = CONF) -> str:
        """Answer what `smtpd -n` says against a configuration; nothing means that it is good."""
        done = self.namespace.run(["smtpd", "-n", "-f", path], check=False)
        return "" if done.returncode == 0 else done.stderr.strip()

    def start(self, path: str = CONF) -> None:
        """Start the daemon and wait until it serves.

        Raises:
            NotReady: it ended instead.
        """
        assert self.running is None, "it runs already"
        with self._outside(LOG).open("ab") as log:
            argv = ["smtpd", "-d", "-f", path]
            self.running = self.namespace.popen(argv, stdout=log, stderr=subprocess.STDOUT)
        self._until(self.serves, "started")

    def serves(self) -> bool:
        """Say whether it listens on all ports configured, and answers on its control socket."""
        # The socket answers some milliseconds before the ports do.
        return self.ports <= self._listening() and self.ctl_status("show", "stats") == 0

    def stop(self) -> int | None:
        """Ask the daemon to end, wait for it, and answer its exit status; None if none ran."""
        running, self.running = self.running, None
        return None if running is None else running.stop()

    def kill(self) -> None:
        """End the daemon's first process without a word; the others follow by themselves."""
        running, self.running = self.running, None
        if running is not None:
            running.send(signal.SIGKILL)
            running.wait()
        self._until(lambda: not self.pids(), "ended")

    def restart(self) -> None:
        """Stop and start; this is how smtpd takes another configuration."""
        self.stop()
        self.start()

    def ctl(self, *arguments: str) -> str:
        """Run smtpctl(8) and answer its output.

        Raises:
            CommandFailed: with its words.
        """
        return self.namespace.run(["smtpctl", *arguments]).stdout

    def ctl_status(self, *arguments: str) -> int:
        """Run smtpctl(8) and answer its exit status."""
        return self.namespace.run(["smtpctl", *arguments], check=False).returncode

    def update_table(self, name: str) -> None:
        """Let the daemon read the file of a table again."""
        self.ctl("update", "table", name)

    def hold(self) -> None:
        """Keep what is accepted in the queue until `release`.

        Mail that comes in drops finds the daemon between two connections, and it then waits 1 s,
        10 s, … before it makes another: a test that sends everything first waits for nothing.
        """
        self.ctl("pause", "mta")

    def release(self) -> None:
        """Let queued mail leave."""
        self.ctl("resume", "mta")

    def stats(self) -> dict[str, int]:
        """Answer the counters of `smtpctl show stats`."""
        pairs = (line.split("=", 1) for line in self.ctl("show", "stats").splitlines())
        return {name: int(value) for name, value in pairs if value.isdigit()}

    def queue(self) -> list[str]:
        """Answer the envelopes on disk, by id: also those that smtpctl(8) does not show."""
        root = self._outside("/var/spool/smtpd/queue")
        names = [name for _, _, files in os.walk(root) for name in files]
        return sorted(name for name in names if re.fullmatch("[0-9a-f]{16}", name))

    def waiting(self) -> dict[str, str]:
        """Answer the queued envelopes, by id, each with its message as it will leave."""
        found = {}
        for envelope in self.queue():
            path = f"/var/spool/smtpd/queue/{envelope[:2]}/{envelope[:8]}/message"
            with contextlib.suppress(FileNotFoundError):  # gone since
                found[envelope] = self._outside(path).read_text("utf-8", "replace")
        return found

    def wait_for_rest(self) -> None:
        """Wait until every queued envelope was tried and must wait for its next attempt.

        Raises:
            NotReady: it does not come to that.
        """

        def at_rest() -> bool:
            # evpid|from|type|flags|sender|rcpt|dest|ctime|expire|last try|retries|state|…
            rows = [line.split("|") for line in self.ctl("show", "queue").splitlines()]
            tried = {row[0] for row in rows if int(row[10]) > 0 and row[11] == "pending"}
            return set(self.queue()) <= tried

        self._until(at_rest, "come to rest")

    def wait_for_queue(self, size: int) -> None:
        """Wait until exactly so many envelopes are queued.

        Raises:
            NotReady: it does not come to that.
        """
        self._until(lambda: len(self.queue()) == size, f"down to {size} queued envelopes")

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Wait until a text stands in the log so often.

        Raises:
            NotReady: it does not.
        """
        self._until(lambda: self.log().count(text) >= times, f"logged {text!r}")

    def log(self) -> str:
        """Answer all that the daemon has written to its standard error since the first start."""
        path = self._outside(LOG)
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _until(self, reached: Callable[[], bool], state: str) -> None:
        limit = time.monotonic() + _LIMIT_S
        while not reached():
            ended = self.running is not None and self.running.poll() is not None
            if ended or time.monotonic() > limit:
                if ended:
                    self.running = None
                raise NotReady(f"smtpd has not {state}:\n{self.log()[-2000:]}")
            time.sleep(_PAUSE_S)

    def _listening(self) -> set[int]:
        """Answer the TCP ports that something inside listens on (proc(5): state 0A)."""
        ports = set()
        for family in ("tcp", "tcp6"):
            table = Path(f"/proc/{self.namespace.pid}/net/{family}").read_text(encoding="ascii")
            rows = [line.split() for line in table.splitlines()[1:]]
            ports |= {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
        return ports

    def pids(self) -> list[int]:
        """Answer the pids of all processes of the daemon, as seen from outside; the first first.

        One that only says its version, or checks a file, is no part of it.
        """
        found = []
        for pid in self.namespace.pids():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                # One that begins or ends has no words: it is of the daemon if its parent is.
                is_known = words[0] or _name(parent_of(pid)) == "smtpd"
                if is_known and _name(pid) == "smtpd" and not {b"-h", b"-n"} & set(words):
                    found.append(pid)
        return found

    def _outside(self, path: str) -> Path:
        return self.namespace.outside(path)
