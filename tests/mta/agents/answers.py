"""All that a table program answered while something was done, each with its revision."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.mta.agents.machine import STATE_DIR
from tests.mta.bed.namespace import Namespace

ROOM = f"{STATE_DIR}/data/run"
WALK = "rm-walk"
CREDENTIALS = "rm-credentials"
_LIMIT_S = 60
_CHUNK = 1 << 20


class NotAnswered(Exception):
    """smtpd did not ask what was waited for."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer to smtpd."""

    table: str
    kind: str
    service: str
    key: str
    answer: str | bool | None
    revision: int

    @property
    def is_relay(self) -> bool:
        """Say whether it is about who gets an envelope at a delivery attempt."""
        return self.service == "relayhost"

    @property
    def is_decision(self) -> bool:
        """Say whether it was the recipient, from which on a walk is decided."""
        return self.table == WALK and self.service == "mailaddr"


@dataclass(slots=True)
class Answers:
    """Everything that one program answers, as it comes in.

    It waits for nobody: of what is answered while nobody reads, some is not told of here. Who must
    have all of it counts by `asked`, which the program keeps itself.
    """

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _all: list[Answered] = field(default_factory=list)

    def all(self, wanted: Callable[[Answered], bool] = lambda _: True) -> list[Answered]:
        """Answer those wanted, in their order."""
        with self._changed:
            return [each for each in self._all if wanted(each)]

    def relays(self, table: str = "") -> list[Answered]:
        """Answer those about relays, of one action or of all."""
        return self.all(lambda each: each.is_relay and table in {"", each.table})

    def forget(self) -> None:
        """Count from zero again."""
        with self._changed:
            self._all.clear()

    def first(self, wanted: Callable[[Answered], bool]) -> Answered:
        """Wait for the first answer wanted.

        Raises:
            NotAnswered: there is none.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: any(map(wanted, self._all)), _LIMIT_S):
                raise NotAnswered(f"{len(self._all)} other answers")
            return next(each for each in self._all if wanted(each))

    def heard(self, lines: Iterable[bytes]) -> None:
        """Take some lines of a program."""
        said = [json.loads(line) for line in lines]
        # It says how it does as well.
        with self._changed:
            self._all += [Answered(**each) for each in said if "kind" in each]
            self._changed.notify_all()


@contextmanager
def answers(namespace: Namespace) -> Iterator[Answers]:
    """What the program of the smtpd that runs answers from now on."""
    found = Answers()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        _connect(link, namespace)
        link.sendall(b"trace\n")
        begun = threading.Event()

        def read() -> None:
            rest = b""
            while data := link.recv(_CHUNK):
                begun.set()  # its first line says how it does: from here on it traces
                *lines, rest = (rest + data).split(b"\n")
                found.heard(lines)

        reader = threading.Thread(target=read, name="answers", daemon=True)
        reader.start()
        try:
            assert begun.wait(_LIMIT_S), "the table program does not trace"
            yield found
        finally:
            with contextlib.suppress(OSError):  # it has gone
                link.shutdown(socket.SHUT_RDWR)
            reader.join()


def _connect(link: socket.socket, namespace: Namespace) -> None:
    limit = time.monotonic() + _LIMIT_S
    while True:
        for path in namespace.outside(ROOM).glob("*.sock"):
            try:
                link.connect(str(path))
            except OSError:
                continue  # left by one that is gone
            return
        assert time.monotonic() < limit, "no table program listens"
        time.sleep(0.02)


def status(namespace: Namespace) -> dict[str, Any]:
    """Answer what the program says about itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        _connect(link, namespace)
        link.sendall(b"status\n")
        with link.makefile("rb") as lines:
            found: dict[str, Any] = json.loads(lines.readline())
    return found


def asked(namespace: Namespace, table: str) -> int:
    """Answer how many questions about one table the program has answered so far."""
    found: int = status(namespace)["asked"].get(table, 0)
    return found


def answered(namespace: Namespace) -> int:
    """Answer how many questions the program has answered so far."""
    found: int = status(namespace)["answered"]
    return found
