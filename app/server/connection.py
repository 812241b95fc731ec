"""One HTTP connection: its bounds, a problem for what is no HTTP, and whole answers in one packet.

Whoever connects needs no token for it, so a head without an end is not waited for. What a body may
hold and how long it may take, the gate of the API says.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast
from weakref import WeakMethod

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.server.api.problems import MEDIA_TYPE, Problem

MAX_HEAD = 1 << 16
"""Octets of a request line and its headers, or between two parts of a body; a chunk that the kernel
hands over may exceed it."""


WHOLE = "relaymap.whole"
"""By which a request's state has a weak reference to `Connection.send_whole`."""

_TOO_LONG = "the head of the request is too long"


class Connection(HttpToolsProtocol):
    """uvicorn's own, which has bounds on neither.

    Attributes:
        head_limit_s: how long a client may take for the head of a request, from the connection or
            the first octet on.
        stall_limit_s: how long a client may leave unread what was written for it.
    """

    head_limit_s = 20.0
    stall_limit_s = 60.0
    _since: float | None = None
    """When the head began that is not whole yet, or what comes after an answer."""
    _begun: object = None
    """What uvicorn has of that request; None for the first one on the connection."""
    _octets = 0
    """That came of it, or of another part of a request that is no body; less those that came behind
    something else."""
    _fed = False
    """Whether the newest octets held some of a body."""
    _look: asyncio.TimerHandle | None = None
    """When that is looked at next: one timer for many heads, as most are whole at once."""
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        # Each would keep itself alive else, and one that is open while the heap is frozen for ever.
        self.app_state = {**self.app_state, WHOLE: WeakMethod(self.send_whole)}
        self._wait_for(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._since = None
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not for ever."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.stall_limit_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Write on."""
        self._is_read()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Read on, unless what comes has no end and is no body."""
        self._fed = False
        super().data_received(data)
        scope, cycle = self.scope, cast(RequestResponseCycle | None, self.cycle)
        if cycle is None:
            pass  # the first head, which began with the connection
        elif cycle.scope is scope and not cycle.response_complete:
            self._since = None
            if self._fed or not cycle.more_body:
                self._octets = 0
                return
        elif self._begun is not scope or self._since is None:
            # A head that is not whole; or blank lines, or a body that nobody wants: uvicorn waits
            # no more for what follows.
            self._wait_for(scope)
            return
        elif self._fed:
            return
        if not self.transport.is_closing():
            self._octets += len(data)
            if self._octets > MAX_HEAD:
                self.send_400_response(_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is nothing to anybody, and there may be any number of them."""
        cycle = cast(RequestResponseCycle | None, self.cycle)
        if cycle is None or cycle.scope is not self.scope:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._fed = True
        super().on_body(body)

    def send_whole(
        self, scope: Mapping[str, Any], headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> bool:
        """Answer a request with 200 at once, as uvicorn would; false where that cannot be.

        uvicorn takes an answer in parts, looks through each header, and writes head and body one
        after the other: two system calls, two packets, two turns of whoever reads them, and more
        time than it takes to find the answer.

        Args:
            scope: of the request.
            headers: each fit to be sent as it is.
            body: as long as they say.
        """
        cycle = self.cycle
        if cycle.scope is not scope or cycle.response_started or not cycle.keep_alive:
            return False  # one behind it is here already, or something else is to be done as well
        if cycle.disconnected or self.flow.write_paused:
            return False
        said = (*self.server_state.default_headers, *headers)
        head = b"".join([b"%b: %b\r\n" % each for each in said])
        self.transport.write(b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (head, body))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, as every other error is answered, and close.

        Where a request before it still waits for its own answer, nothing may stand in that place.
        """
        cycle = cast(RequestResponseCycle | None, self.cycle)
        if (
            cycle is not None
            and not cycle.response_complete
            and (cycle.response_started or cycle.scope is not self.scope)
        ):
            self.transport.close()
            return
        detail = msg if msg == _TOO_LONG else "this is no HTTP request that can be read"
        body = Problem(400, "bad-request", detail).body()
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _wait_for(self, begun: object) -> None:
        self._begun, self._octets = begun, 0
        self._since = self.loop.time()
        if self._look is None:
            self._look = self.loop.call_later(self.head_limit_s, self._give_up)

    def _is_read(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _give_up(self) -> None:
        self._look = None
        if self._since is None:
            return  # the next head begins anew
        now = self.loop.time()
        cycle = cast(RequestResponseCycle | None, self.cycle)
        if cycle is not None and not cycle.response_complete:
            self._since = now  # a request before it is still being answered
        left = self._since + self.head_limit_s - now
        if left > 0:
            self._look = self.loop.call_later(left, self._give_up)
            return
        self.transport.close()
