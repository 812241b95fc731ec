"""A client that has its mail accepted whatever ends meanwhile: it tries again, as a queue does."""

import re
import socket
import threading
import time
from dataclasses import dataclass, field

from tests.mta.agents.machine import PORT
from tests.mta.bed.namespace import Namespace

_LIMIT_S = 120
_PAUSE_S = 0.02
_MESSAGES_A_SESSION = 50


class Gone(Exception):
    """The connection has ended before its time."""


@dataclass(slots=True)
class Stream:
    """Sends messages one after the other, in a thread of its own.

    Attributes:
        total: how many there are, unless it is ended before.
        sent: how many were accepted.
        tries: how often one had to be tried again.
        refused: replies that say never (5xx): a queue would give the message back.
        unsure: messages that may have been accepted before they were tried again.
    """

    namespace: Namespace
    total: int
    domain: str = "x.test"
    pace_s: float = 0.0
    sent: int = 0
    tries: int = 0
    refused: list[str] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)
    _link: socket.socket | None = None
    _rest: bytes = b""
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Begin no other; the one on its way is the last. `total` then says how many there are."""
        self.total = min(self.total, self.sent + 1)

    def wait(self) -> None:
        """Wait until all were accepted."""
        assert self._thread is not None
        self._thread.join(_LIMIT_S + self.total)
        assert not self._thread.is_alive(), f"{self.sent} of {self.total} were accepted"

    def _run(self) -> None:
        while self.sent < self.total:
            while not self._send(f"stream-{self.sent}"):
                self.tries += 1
                time.sleep(_PAUSE_S)
            self.sent += 1
            if self.sent % _MESSAGES_A_SESSION == 0:
                self._hang_up()
            time.sleep(self.pace_s)
        self._hang_up()

    def _send(self, probe: str) -> bool:
        text = f"Message-ID: <{probe}@bed.test>\r\nX-Probe: {probe}\r\n\r\nprobe\r\n.\r\n"
        stage = ""
        try:
            if self._link is None:
                self._connect()
            for stage, line in (
                ("mail", "MAIL FROM:<s@sender.test>\r\n"),
                ("rcpt", f"RCPT TO:<u@{self.domain}>\r\n"),
                ("data", "DATA\r\n"),
                ("message", text),
            ):
                code = self._say(line)
                if code >= 400:
                    if code >= 500:
                        self.refused.append(f"{probe}: {stage} {code}")
                    self._hang_up()
                    return False
        except (OSError, Gone):
            if stage == "message":
                self.unsure.add(probe)
            self._hang_up()
            return False
        return True

    def _connect(self) -> None:
        self._rest = b""
        self._link = self.namespace.connect("127.0.0.1", PORT)
        self._link.settimeout(_LIMIT_S)
        if self._reply() != 220 or self._say("EHLO client.test\r\n") != 250:
            raise Gone

    def _say(self, text: str) -> int:
        assert self._link is not None
        self._link.sendall(text.encode())
        return self._reply()

    def _reply(self) -> int:
        assert self._link is not None
        while True:
            found = re.match(rb"(?:\d\d\d-[^\n]*\n)*(\d\d\d) [^\n]*\n", self._rest)
            if found is not None:
                self._rest = self._rest[found.end() :]
                return int(found[1])
            data = self._link.recv(65_536)
            if not data:
                raise Gone
            self._rest += data

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
