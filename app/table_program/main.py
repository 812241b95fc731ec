"""The loop of the table program: it listens to smtpd on all tables, and to who asks how it does.

It ends when smtpd has closed every table. Where it is killed, another one goes on (`keeping`).
"""

import gc
import json
import os
import random
import resource
import select
import socket
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

from app.routing.route import Draw
from app.table_program.answers import CREDENTIALS, WALK, Credentials, Relays, Table, Walk
from app.table_program.channel import Answer, Channel, Question, channel_for
from app.table_program.handover import (
    HANDS_OVER,
    KEPT,
    LEFT,
    TAKEN,
    address_of,
    data_of,
    parent_of,
)
from app.table_program.keeping import Keeper, Kept
from app.table_program.live import CannotRead, LiveFile
from app.table_program.log import Log

_CHUNK = 65_536
_LOOK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)  # worked out once: each question is looked at
_BACKLOG = 64
_OVER = select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR


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
    """One table: how it is asked, what answers, and how often it has."""

    channel: Channel | None = None
    name: str = ""
    table: Table | None = None
    answered: int = 0


@dataclass(slots=True)
class _Open(_Asked):
    """A table that smtpd has open: where it asks, and which one it is to who keeps it."""

    link: socket.socket = field(kw_only=True)
    number: int = field(kw_only=True)
    first: bytes = b""


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
    smtpd: int = 0
    keeper: Keeper = field(default_factory=lambda: Keeper([]))
    _open: dict[int, _Open] = field(default_factory=dict)
    _links: dict[int, _Link] = field(default_factory=dict)
    _poll: select.epoll = field(default_factory=select.epoll)

    def run(self, listener: socket.socket | None) -> bool:
        """Answer until smtpd has closed every table: true; or whoever keeps us has ended: false."""
        self._begin(listener)
        keeper = self.keeper.link
        while self._open:
            for descriptor, state in self._poll.poll():
                if opened := self._open.get(descriptor):
                    self._hear(opened, state)
                elif link := self._links.get(descriptor):
                    self._hear_whoever(link)
                elif keeper is not None and descriptor == keeper.fileno():
                    self._leave()
                    return False
                elif listener is not None:
                    self._greet(listener)
        return True

    def _begin(self, listener: socket.socket | None) -> None:
        tables = [kept for kept in enumerate(self.keeper.tables) if kept[1].link.fileno() >= 0]
        self.keeper.in_hand.resume({number: kept.link for number, kept in tables})
        for number, kept in tables:
            self._serve(number, kept)
        for each in (listener, self.keeper.link):
            if each is not None:
                self._poll.register(each, select.EPOLLIN)

    def _leave(self) -> None:
        """Let go of all but the tables: who goes on from here opens it anew."""
        for link in list(self._links.values()):
            self._hang_up(link)
        self._poll.close()
        self.live.close()

    # --- smtpd ---------------------------------------------------------------------------------

    def _serve(self, number: int, kept: Kept) -> None:
        opened = _Open(link=kept.link, number=number)
        if kept.name is not None:
            opened.channel, opened.first = channel_for(kept.first), kept.first
            opened.name, opened.table = kept.name, self._table(kept.name)
            if isinstance(opened.table, Walk):
                opened.table.go_on(self.keeper.in_hand.state())
        self._open[kept.link.fileno()] = opened
        # Told once of what comes, however much of it is left until a question is whole.
        self._poll.register(kept.link, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

    def _hear(self, opened: _Open, state: int) -> None:
        """Answer what is asked; it is looked at first, and only taken with its answer."""
        is_over, looked_at = bool(state & _OVER), _CHUNK
        while looked_at == _CHUNK:
            try:
                data = opened.link.recv(_CHUNK, _LOOK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            looked_at, is_over = len(data), is_over or not data
            self._answer_all(opened, data)
        if is_over:
            self._close(opened)

    def _answer_all(self, opened: _Open, data: bytes) -> None:
        if opened.channel is None and data:
            opened.channel, opened.first = channel_for(data), data[:1]
        if opened.channel is None:
            return
        channel, begun, at = opened.channel, 0, 0
        while (taken := channel.take(data, at))[1]:
            question, at = taken
            said = b"" if question is None else self._said(opened, channel, question)
            if said:
                kept = opened.table.state() if isinstance(opened.table, Walk) else None
                self.keeper.in_hand.give(opened.number, opened.link, at - begun, said, kept)
                begun = at
        # Until a table has its name, who goes on must be able to hear it as well.
        if begun < at and (opened.table is not None or len(data) == _CHUNK):
            opened.link.recv(at - begun)

    def _said(self, opened: _Open, channel: Channel, question: Question) -> bytes:
        said = channel.answer(question, self.answer(opened, question))
        if question.kind == "open":
            self.keeper.name(opened.number, opened.name, opened.first)
        return said

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

    def _close(self, opened: _Open) -> None:
        del self._open[opened.link.fileno()]
        self._poll.unregister(opened.link)
        opened.link.close()

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
        if data == HANDS_OVER and len(descriptors) == 1 and not link.handed:
            link.handed = descriptors
            link.socket.sendall(TAKEN)
            return True
        if data == LEFT and link.handed:
            self._take(socket.socket(fileno=link.handed.pop()))
            link.socket.sendall(KEPT)
            return True
        return False

    def _take(self, table: socket.socket) -> None:
        """Serve one more table, unless it is one of ours: whoever took it was killed too early."""
        if any(_is_same(table, opened.link) for opened in self._open.values()):
            table.close()
            return
        number = self.keeper.add(table)
        self._serve(number, self.keeper.tables[number])

    def status(self) -> dict[str, object]:
        """What would be answered from now, as it is read at this moment."""
        said: dict[str, object] = {
            "pid": os.getpid(),
            "smtpd": self.smtpd,
            "config": self.config,
            "answered": self.keeper.in_hand.answered,
            "tables": sorted(opened.name for opened in self._open.values()),
            "asked": {each.name: each.answered for each in self._open.values() if each.answered},
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


def _is_same(one: socket.socket, other: socket.socket) -> bool:
    return os.fstat(one.fileno()).st_ino == os.fstat(other.fileno()).st_ino


def listen(address: Path) -> socket.socket | None:
    """Where other programs of the same smtpd hand over, and the agent asks; None: nowhere."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        for left in address.parent.glob("*.sock"):
            if left == address or not Path(f"/proc/{left.stem.rpartition('.')[2]}").exists():
                left.unlink(missing_ok=True)
        listener.bind(str(address))
        address.chmod(0o660)  # an agent without the powers of root is of the same group
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        return None
    listener.setblocking(False)  # noqa: FBT003  its only argument
    return listener


def walk_of(config: str) -> tuple[str, ...]:
    """The actions of the running smtpd, in the order of their lines; none where nobody says."""
    try:
        lines = Path(config).read_text("ascii").splitlines()
    except (OSError, ValueError):
        return ()
    return tuple(line for line in lines if not line.startswith("#"))


def main() -> None:
    """Serve the smtpd that started this program."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # one for each table
    config, parent = sys.argv[1], os.getppid()
    address = Path(address_of(config, parent))
    smtpd, actions, listener = parent_of(parent), walk_of(config), listen(address)
    table = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):  # which since 7.6 are one
        os.dup2(null, descriptor)

    def serve(keeper: Keeper) -> bool:
        live = LiveFile(Path(data_of(config)))
        return Program(config, live, actions, smtpd=smtpd, keeper=keeper).run(listener)

    gc.collect()
    gc.freeze()  # what is there now is shared by the two processes, as long as neither touches it
    Keeper([Kept(table)]).keep(serve)
    if listener is not None:
        address.unlink(missing_ok=True)
