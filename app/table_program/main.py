"""The loop of the table program: it listens to smtpd on all tables, and to who asks how it does.

It ends when smtpd has closed every table, and for no other reason: smtpd ends with it.
"""

import contextlib
import errno
import json
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.routing.route import Draw
from app.table_program.answers import CREDENTIALS, WALK, Credentials, Relays, Table, Walk
from app.table_program.channel import Answer, Channel, Imsg, Question, channel_for
from app.table_program.handover import HANDS_OVER, LEFT, TAKEN, address_of, data_of
from app.table_program.live import CannotRead, LiveFile

_CHUNK = 65_536
_BACKLOG = 64
_SAY_EVERY_S = 1.0


class Log:
    """Lines on standard error, one a second of each cause at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, cause: str, what: str) -> None:
        """Write a line, unless one of the same cause was written within a second."""
        now = self._clock()
        last, kept_back = self._said.get(cause, (-_SAY_EVERY_S, 0))
        # Who does not read what we say must not stop us: then it is kept back as well.
        if now - last < _SAY_EVERY_S or not _takes_more(2):
            self._said[cause] = (last, kept_back + 1)
            return
        self._said[cause] = (now, 0)
        more = f" ({kept_back} more of this)" if kept_back else ""
        with contextlib.suppress(OSError):
            os.write(2, f"table-relaymap: {what}{more}\n".encode())


def _takes_more(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(state & select.POLLOUT for _, state in poll.poll(0))


class Turns:
    """The turn of each map: it goes on over every change, and begins anywhere."""

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}

    def draw(self, relay_map: str) -> Draw:
        """The next draw."""
        turn = self._turns.get(relay_map)
        turn = _chance() if turn is None else turn + 1
        self._turns[relay_map] = turn
        return Draw(turn, random.random())  # noqa: S311  chooses, guards nothing


def _chance() -> int:
    return random.getrandbits(32)


@dataclass(slots=True)
class _Asked:
    """One table: its descriptors, how it is asked, what answers, and how often it has."""

    reads: int
    writes: int
    channel: Channel | None = None
    name: str = ""
    table: Table | None = None
    answered: int = 0


@dataclass(slots=True)
class _Link:
    """Somebody on our own socket: another program that hands over, or who asks how we do."""

    socket: socket.socket
    traces: bool = False
    said: bytes = b""
    handed: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Program:
    """All tables of one smtpd."""

    config: str
    live: LiveFile
    actions: tuple[str, ...]
    log: Log = field(default_factory=Log)
    turns: Turns = field(default_factory=Turns)
    answered: int = 0
    smtpd: int = 0
    _asked: dict[int, _Asked] = field(default_factory=dict)
    _links: dict[int, _Link] = field(default_factory=dict)
    _poll: select.epoll = field(default_factory=select.epoll)

    def open(self, reads: int, writes: int) -> None:
        """Listen to one more table."""
        self._asked[reads] = _Asked(reads, writes)
        self._poll.register(reads, select.EPOLLIN)

    def run(self, listener: socket.socket | None) -> None:
        """Answer until smtpd has closed every table."""
        if listener is not None:
            self._poll.register(listener, select.EPOLLIN)
        while self._asked:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._asked:
                    self._hear(self._asked[descriptor])
                elif descriptor in self._links:
                    self._hear_whoever(self._links[descriptor])
                elif listener is not None:
                    self._greet(listener)

    # --- smtpd ---------------------------------------------------------------------------------

    def _hear(self, asked: _Asked) -> None:
        try:
            data = os.read(asked.reads, _CHUNK)
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EINTR}:
                return
            data = b""
        if not data:
            self._close(asked)
            return
        if asked.channel is None:
            asked.channel = channel_for(data)
            if isinstance(asked.channel, Imsg):  # which goes both ways on one descriptor
                asked.writes = asked.reads
        for question in asked.channel.feed(data):
            self._write(asked, asked.channel.answer(question, self.answer(asked, question)))

    def _write(self, asked: _Asked, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(asked.writes, data) :]
            except BlockingIOError:
                waits = select.poll()  # it may be a number that select(2) has no room for
                waits.register(asked.writes, select.POLLOUT)
                waits.poll()
            except OSError:  # it has gone; its end is read next
                return

    def answer(self, asked: _Asked, question: Question) -> Answer:
        """The answer to one question; whatever goes wrong, there is one."""
        if question.kind == "open":
            asked.name, asked.table = question.key, self._table(question.key)
            return True
        if question.kind == "update":
            return True
        if question.kind in {"close", ""} or asked.table is None:
            return None
        answer = self._look_up(asked.table, question)
        self.answered += 1
        asked.answered += 1
        if self._links:
            self._trace(asked, question, answer)
        return answer

    def _look_up(self, table: Table, question: Question) -> Answer:
        try:
            answer = table.answer(question)
        except CannotRead as error:
            self.log.say("live file", str(error))
            return None
        except Exception as error:  # noqa: BLE001  smtpd ends if we do
            self.log.say("own error", f"an error of its own: {type(error).__name__}")
            return None
        if self.live.trouble:
            self.log.say("live file", self.live.trouble)
        return answer

    def _table(self, name: str) -> Table:
        if name == WALK:
            return Walk(self.live, self.actions, self.log.say)
        if name == CREDENTIALS:
            return Credentials(self.live)
        return Relays(self.live, name, self.turns.draw)

    def _close(self, asked: _Asked) -> None:
        del self._asked[asked.reads]
        self._poll.unregister(asked.reads)
        for descriptor in {asked.reads, asked.writes}:
            os.close(descriptor)

    # --- our own socket ------------------------------------------------------------------------

    def _greet(self, listener: socket.socket) -> None:
        try:
            link, _ = listener.accept()
        except OSError:
            return
        said = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", said)[1] not in {0, os.getuid()}:
            link.close()
            return
        link.setblocking(False)  # noqa: FBT003  its only argument
        self._links[link.fileno()] = _Link(link)
        self._poll.register(link, select.EPOLLIN)

    def _hear_whoever(self, link: _Link) -> None:
        try:
            self._hear_link(link)
        except Exception as error:  # noqa: BLE001  whoever it is, smtpd must be served
            self.log.say("own error", f"an error of its own: {type(error).__name__}")
            self._hang_up(link)

    def _hear_link(self, link: _Link) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(link.socket, _CHUNK, 2)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if self._takes_over(link, data, descriptors):
            return
        for descriptor in descriptors:
            os.close(descriptor)
        if not data or len(link.said) > _CHUNK:
            self._hang_up(link)
            return
        *lines, link.said = (link.said + data).split(b"\n")
        for line in lines:
            if line == b"trace":
                link.traces = True
            self._tell(link, self.status())

    def _takes_over(self, link: _Link, data: bytes, descriptors: list[int]) -> bool:
        """Take what is handed over, and serve it once its owner has said that it has left it."""
        if data == HANDS_OVER and len(descriptors) == 2 and not link.handed:
            link.handed = descriptors
            link.socket.sendall(TAKEN)
            return True
        if data == LEFT and link.handed:
            reads, writes = link.handed
            link.handed = []
            self.open(reads, writes)
            return True
        return False

    def status(self) -> dict[str, object]:
        """What would be answered from now, as it is read at this moment."""
        said: dict[str, object] = {
            "pid": os.getpid(),
            "smtpd": self.smtpd,
            "config": self.config,
            "answered": self.answered,
            "tables": sorted(asked.name for asked in self._asked.values()),
            "asked": {each.name: each.answered for each in self._asked.values() if each.answered},
        }
        try:
            with self.live.read() as view:
                meta = view.meta
                said |= {
                    "history": meta.history,
                    "revision": meta.revision,
                    "model_digest": meta.model_digest,
                    "writes": meta.writes,
                    "down": len(view.down),
                }
        except CannotRead as error:
            said["trouble"] = str(error)
        return said

    def _trace(self, asked: _Asked, question: Question, answer: Answer) -> None:
        """Tell who wants to know each answer, and the revision that it came from."""
        hidden = asked.name == CREDENTIALS and isinstance(answer, str)
        line: dict[str, object] = {
            "table": asked.name,
            "kind": question.kind,
            "service": question.service,
            "key": question.key,
            "answer": "********" if hidden else answer,
            "revision": 0 if asked.table is None else asked.table.revision,
        }
        for link in list(self._links.values()):
            if link.traces:
                self._tell(link, line)

    def _tell(self, link: _Link, what: dict[str, object]) -> None:
        line = json.dumps(what).encode() + b"\n"
        try:
            if link.socket.send(line) < len(line):
                self._hang_up(link)  # half a line, and the rest of it would wait for room
        except BlockingIOError:
            return  # smtpd does not wait for who reads slowly
        except OSError:
            self._hang_up(link)

    def _hang_up(self, link: _Link) -> None:
        if self._links.pop(link.socket.fileno(), None) is not None:
            self._poll.unregister(link.socket)
            link.socket.close()
            for descriptor in link.handed:  # of who has gone on to serve them itself
                os.close(descriptor)


def listen(config: str, parent: int) -> socket.socket | None:
    """Where other programs of the same smtpd hand over, and the agent asks; None: nowhere."""
    address = Path(address_of(config, parent))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        for left in address.parent.glob("*.sock"):
            if not Path(f"/proc/{left.stem}").exists() or left == address:
                left.unlink(missing_ok=True)
        listener.bind(str(address))
        address.chmod(0o660)  # an agent without the powers of root is of the same group
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        return None
    listener.setblocking(False)  # noqa: FBT003  its only argument
    return listener


def parent_of(pid: int) -> int:
    """The process that a process is a child of; 0 where that is not known."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def walk_of(config: str) -> tuple[str, ...]:
    """The actions of the running smtpd, in the order of their lines; none where nobody says."""
    try:
        lines = Path(config).read_text("ascii").splitlines()
    except (OSError, ValueError):
        return ()
    return tuple(line for line in lines if not line.startswith("#"))


def main() -> None:
    """Serve the smtpd that started this program."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # three for each table
    config = sys.argv[1]
    parent = os.getppid()
    listener = listen(config, parent)
    program = Program(config, LiveFile(Path(data_of(config))), walk_of(config))
    program.smtpd = parent_of(parent)
    program.open(0, 1)
    program.run(listener)
    if listener is not None:
        Path(address_of(config, parent)).unlink(missing_ok=True)
