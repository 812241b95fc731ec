"""A PostgreSQL connection that can be lost at COMMIT: a proxy between two Unix sockets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

SOCKET = ".s.PGSQL.5432"
_COMMIT = b"COMMIT\x00"
_CHUNK = 65_536


class Loss(Enum):
    """What is lost of the next COMMIT, once."""

    NOTHING = "nothing"
    QUESTION = "the COMMIT itself"
    ANSWER = "the answer to it"


class Proxy:
    """Passes everything on, and breaks the connection where it was told to.

    Attributes:
        loss: of the next COMMIT.
        away: after that, nobody is let in.
        losses: how often a COMMIT or its answer was lost.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self.loss = Loss.NOTHING
        self.stays_away = False
        self.away = False
        self.losses = 0
        self._server = str(server / SOCKET)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen(20)
        self._open: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Cut every connection, and wait for the threads."""
        for each in self._open:
            _cut(each)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            if self.away:
                _cut(client)
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._open.append(server)
            muted = threading.Event()
            self._run(self._questions, client, server, muted)
            self._run(self._answers, client, server, muted)

    def _questions(
        self, client: socket.socket, server: socket.socket, muted: threading.Event
    ) -> None:
        while data := _read(client):
            if _COMMIT in data and self.loss is not Loss.NOTHING:
                loss, self.loss = self.loss, Loss.NOTHING
                self.losses += 1
                self.away = self.stays_away
                if loss is Loss.QUESTION:
                    break
                muted.set()
            server.sendall(data)
        if not muted.is_set():
            _cut(client, server)

    def _answers(
        self, client: socket.socket, server: socket.socket, muted: threading.Event
    ) -> None:
        while data := _read(server):
            if muted.is_set():
                break  # The server has answered, so it has committed; nobody hears of it.
            client.sendall(data)
        _cut(client, server)


def _read(source: socket.socket) -> bytes:
    try:
        return source.recv(_CHUNK)
    except OSError:
        return b""


def _cut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):  # The other side may have cut it already.
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(folder: Path, server: Path) -> Iterator[Proxy]:
    """A proxy in `folder` before the server whose socket is in `server`."""
    running = Proxy(folder, server)
    try:
        yield running
    finally:
        running.close()
