"""A smtpd's side of the table program, in both protocols, and the live files that it is asked of."""

import os
import signal
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.agent.live_file import Content, LiveFile
from app.routing.decision import assign, needed, reserve
from app.routing.live_file import Login, Meta
from app.routing.names import IPAddress
from app.routing.routing_table import RoutingTable
from app.table_program import live
from app.table_program.channel import MAX_LINE, Answer, Channel, Question
from app.table_program.keeping import Keeper, Kept
from app.table_program.main import Program

KINDS = {"check": 5, "lookup": 6, "fetch": 7}
SERVICES = {
    "domain": 0x002,
    "credentials": 0x004,
    "netaddr": 0x008,
    "mailaddr": 0x040,
    "relayhost": 0x200,
    "string": 0x400,
    "regex": 0x800,
}


def questions(channel: Channel, pieces: Iterable[bytes]) -> Iterator[Question]:
    """What is asked with octets that come in pieces, each looked at until it can be taken."""
    held = b""
    for piece in pieces:
        held += piece
        at = 0
        while (taken := channel.take(held, at))[1]:
            question, at = taken
            if question is not None:
                yield question
        held = held[at:]
        assert len(held) <= 2 * MAX_LINE, "what is held until it can be taken"


NOW_S = 1_800_000_000
LIVES_S = 5 * 86_400
"""How long mail may live that is queued now."""


def content(
    table: RoutingTable,
    revision: int = 1,
    logins: Mapping[str, Login] | None = None,
    addresses: Iterable[IPAddress] = (),
) -> Content:
    """What an agent writes for a routing, the first time."""
    slots = assign({}, table)
    actions = needed(table, slots) | reserve(table, slots)
    known = {label: Login("user", "secret") for label in table.credentials}
    return Content(
        "history",
        revision,
        f"{revision:064x}",
        table,
        slots,
        known if logins is None else logins,
        tuple(actions.values()),
        frozenset(actions),
        tuple(addresses),
        NOW_S,
        NOW_S + LIVES_S,
    )


@contextmanager
def writer(state_dir: Path) -> Iterator[LiveFile]:
    """The agent's end of the live file of a state directory."""
    file = LiveFile(state_dir, os.getgid())
    file.open()
    try:
        yield file
    finally:
        file.close()


def write(state_dir: Path, what: Content) -> Meta:
    """Write a revision, and the walk beside it as smtpd's configuration names it."""
    walk_file(state_dir).parent.mkdir(exist_ok=True)
    walk_file(state_dir).write_text("".join(f"{each.name}\n" for each in what.actions), "ascii")
    with writer(state_dir) as file:
        return file.write(what)


def walk_file(state_dir: Path) -> Path:
    """The configuration of each table."""
    return state_dir / "live/walk"


def reader(state_dir: Path) -> live.LiveFile:
    """The program's end of it."""
    return live.LiveFile(state_dir / "data")


class Text:
    """smtpd since 7.6, for one table."""

    def __init__(self, table: str, link: socket.socket) -> None:
        self.link = link
        self._lines = link.makefile("rb")
        self._table = table
        self._token = 0
        link.sendall(
            f"config|smtpd-version|7.8.0\nconfig|tablename|{table}\nconfig|ready\n".encode()
        )
        self.services: list[str] = []
        while (line := self.line()) != "register|ready":
            self.services.append(line)

    def line(self) -> str:
        """The next line that the program says."""
        return self._lines.readline().decode().removesuffix("\n")

    def ask(self, kind: str, service: str, key: str = "") -> Answer:
        """The answer to one question."""
        self._token += 1
        token = f"{self._token:016x}"
        asked = f"table|0.1|1.000001|{self._table}|{kind}|{service}|{token}"
        self.link.sendall((asked if kind == "fetch" else f"{asked}|{key}").encode() + b"\n")
        what, answered, result = self.line().split("|", 2)
        assert (what, answered) == (f"{kind}-result", token)
        return self.read(result)

    @staticmethod
    def read(result: str) -> Answer:
        """What the last part of an answer says."""
        if result.startswith("error|"):
            return None
        return result[6:] if result.startswith("found|") else result == "found"


class Frames:
    """smtpd 6.4 to 7.5, for one table."""

    def __init__(self, table: str, link: socket.socket) -> None:
        self.link = link
        link.sendall(frame(2, struct.pack("=I", 2) + table.encode() + b"\0"))
        assert self.body() == b""

    def body(self) -> bytes:
        """What the next frame holds."""
        kind, size, _, _, _ = struct.unpack("=IHHII", self._read(16))
        assert kind == 0
        return self._read(size - 16)

    def ask(self, kind: str, service: str, key: str = "") -> Answer:
        """The answer to one question."""
        self.link.sendall(question_frame(kind, service, key.encode()))
        return self.read(self.body())

    @staticmethod
    def read(body: bytes) -> Answer:
        """What a frame says."""
        (result,) = struct.unpack_from("=i", body)
        if result < 0:
            return None
        return body[4:-1].decode() if len(body) > 4 else bool(result)

    def _read(self, size: int) -> bytes:
        data = self.link.recv(size, socket.MSG_WAITALL) if size else b""
        assert len(data) == size
        return data


def frame(kind: int, body: bytes) -> bytes:
    """One imsg."""
    return struct.pack("=IHHII", kind, 16 + len(body), 0, 0, os.getpid()) + body


def question_frame(kind: str, service: str, key: bytes) -> bytes:
    """A question as a frame."""
    head = struct.pack("=iQ", SERVICES[service], 0)
    return frame(KINDS[kind], head + (b"" if kind == "fetch" else key + b"\0"))


Asker = Text | Frames
Speaks = Callable[[str, socket.socket], Asker]


@contextmanager
def program(state_dir: Path, tables: Iterable[str], speaks: Speaks = Text) -> Iterator[list[Asker]]:
    """The program in a process of its own, and who asks it for each table.

    It has to end by itself once they have gone.
    """
    pairs = [(name, socket.socketpair()) for name in tables]
    child = os.fork()
    if child == 0:
        _serve(state_dir, [theirs for _, (_, theirs) in pairs], [ours for _, (ours, _) in pairs])
    for _, (_, theirs) in pairs:
        theirs.close()
    try:
        yield [speaks(name, ours) for name, (ours, _) in pairs]
    finally:
        for _, (ours, _) in pairs:
            ours.shutdown(socket.SHUT_RDWR)
            ours.close()
        assert os.waitpid(child, 0)[1] == 0


def _serve(state_dir: Path, links: list[socket.socket], others: list[socket.socket]) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    ended = 1
    try:
        for other in others:
            other.close()
        actions = tuple(walk_file(state_dir).read_text("ascii").splitlines())
        keeper = Keeper([Kept(link) for link in links])
        config = str(walk_file(state_dir))
        Program(config, reader(state_dir), actions, keeper=keeper).run(None)
        ended = 0
    finally:
        os._exit(ended)


def walk(
    asker: Asker,
    *,
    sender: str = "a@src.test",
    recipient: str = "u@dst.test",
    client: str = "local",
    helo: str = "mx.test",
    tag: str = "",
    user: str | None = None,
    lines: int = 1,
) -> int | str | None:
    """Walk the lines of the rules as smtpd does.

    Returns:
        the number of the action that takes the envelope; None where none does; "cannot tell".
    """
    steps = [("netaddr", client)]
    if user is not None:
        steps.append(("regex", user))
    for service, key in steps:
        answer = asker.ask("check", service, key)
        if answer is None:
            return "cannot tell"
        assert answer == (service == "netaddr")
    asked = [("string", tag), ("domain", helo), ("mailaddr", sender), ("mailaddr", recipient)]
    for number in range(lines):
        for service, key in asked:
            answer = asker.ask("check", service, key)
            if answer is None:
                return "cannot tell"
            if answer is False:
                break
        else:
            return number
        asked = [("string", tag)]
    return None
