"""Two processes hold what smtpd gave: one answers, the other keeps, and each survives the other.

Where the one that answers is killed, the other forks a new one, which goes on at the same
question. Where the one that keeps is killed, the one that answers takes its part, and forks who
answers. smtpd sees nothing of either; only both at once are its end.
"""

import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app.table_program.in_hand import InHand

_TABLE, _NAME, _END = b"T", b"N", b"E"
_NAMED = struct.Struct("=cIc")
_MAX = 65_536
_AT_ONCE_S = 1.0
_AT_MOST = 10
_IN_VAIN_S = 5.0
"""So many that answer nothing, each killed soon after the other, for so long: it is no chance."""
_WAIT_S = 0.02


@dataclass(slots=True)
class Kept:
    """One table as both processes know it: its socket, and once smtpd has said them, the rest.

    Attributes:
        first: the first octet that smtpd said there; it tells the protocol.
    """

    link: socket.socket
    name: str | None = None
    first: bytes = b""


@dataclass(slots=True)
class Keeper:
    """What both hold; in the one that answers, with its way to the one that keeps."""

    tables: list[Kept]
    in_hand: InHand = field(default_factory=InHand)
    link: socket.socket | None = None

    def add(self, link: socket.socket) -> int:
        """Hold one more table, in both processes; its number."""
        self._tell(_TABLE, [link.fileno()])
        self.tables.append(Kept(link))
        return len(self.tables) - 1

    def name(self, number: int, name: str, first: bytes) -> None:
        """Note which table it is that smtpd asks there, and how."""
        kept = self.tables[number]
        if (kept.name, kept.first) != (name, first):
            kept.name, kept.first = name, first
            self._tell(_NAMED.pack(_NAME, number, first) + name.encode(errors="replace"), [])

    def end(self) -> None:
        """Say that smtpd has gone, and nobody has to go on."""
        self._tell(_END, [])

    def _tell(self, what: bytes, descriptors: list[int]) -> None:
        if self.link is not None:
            try:
                socket.send_fds(self.link, [what], descriptors)
            except OSError:
                self.link = None  # its end is heard next

    # --- the one that keeps --------------------------------------------------------------------

    def keep(self, serve: Callable[["Keeper"], bool]) -> None:
        """Let a process answer, until one has said that smtpd has gone.

        Args:
            serve: runs in a process of its own, and returns once smtpd has gone: true; or whoever
                keeps has: false.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody has to be waited for
        in_vain, since_s = 0, time.monotonic()
        while in_vain < _AT_MOST or time.monotonic() - since_s < _IN_VAIN_S:
            started_s, answered = time.monotonic(), self.in_hand.answered
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            if os.fork() == 0:
                ours.close()
                self.link, in_vain, since_s = theirs, 0, time.monotonic()
                if serve(self):
                    self.end()
                    os._exit(0)
                theirs.close()
                self.link = None
                continue
            theirs.close()
            with ours:
                if self._hear(ours):
                    return
            if answered != self.in_hand.answered or time.monotonic() - started_s > _AT_ONCE_S:
                in_vain, since_s = 0, time.monotonic()
            else:
                time.sleep(_WAIT_S * min(in_vain, _AT_MOST))
                in_vain += 1

    def _hear(self, link: socket.socket) -> bool:
        """Note what is said, until its end; whether smtpd has gone."""
        while True:
            try:
                said, descriptors, _, _ = socket.recv_fds(link, _MAX, 1)
            except OSError:
                return False
            if said == _TABLE and descriptors:
                self.tables.append(Kept(socket.socket(fileno=descriptors[0])))
            elif said[:1] == _NAME:
                _, number, first = _NAMED.unpack_from(said)
                kept = self.tables[number]
                kept.name, kept.first = said[_NAMED.size :].decode(errors="replace"), first
            else:
                return said == _END
