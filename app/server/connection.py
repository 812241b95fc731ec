"""One HTTP connection: its bounds, a problem for what is no HTTP, and answers that are one packet.

Whoever connects needs no token for it, so a head without an end is not waited for. What a body may
hold and how long it may take, the gate of the API says.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.server.api.problems import MEDIA_TYPE, Problem

MAX_HEAD = 1 << 16
"""Octets of a request line and its headers; a chunk that the kernel hands over may exceed it."""


_TOO_LONG = "the head of the request is too long"


class _Joining:
    """A transport that sends the head of an answer together with what is written next.

    uvicorn writes head and body one after the other, and the loop sends each of them at once: two
    system calls for every answer, two packets, and two turns of whoever reads it.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write; a head that nothing follows is sent at the next turn of the loop.

        So is a part of a body that begins like one, and what says to go on (RFC 9110 15.2.1).
        """
        head = self._head
        if head:
            self._head = b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self.flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close, once all is written."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what is held back."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def __getattr__(self, name: str) -> object:
        """Whatever else a transport does."""
        found: object = getattr(self._transport, name)
        return found


class Connection(HttpToolsProtocol):
    """uvicorn's own, which has bounds on neither.

    Attributes:
        head_limit_s: how long a client may take for the head of a request, from the connection or
            the first octet on.
        stall_limit_s: how long a client may leave unread what was written for it.
    """

    head_limit_s = 20.0
    stall_limit_s = 60.0
    _joining: _Joining
    _head = 0
    _heads = 0
    _since: float | None = None
    """When the head began that is not whole yet."""
    _look: asyncio.TimerHandle | None = None
    """When that is looked at next: one timer for many heads, as most are whole at once."""
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        self._joining = _Joining(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._joining))
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._since = None
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._is_read()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Send what is held back: after this the loop closes, and by no `close` of ours."""
        self._joining.flush()

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not for ever."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.stall_limit_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Write on."""
        self._is_read()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head has no end."""
        heads = self._heads if self._since is not None else None
        super().data_received(data)
        if self._since is None or heads != self._heads or self.transport.is_closing():
            return  # it is whole, or has just begun, behind what else was in these octets
        self._head += len(data)
        if self._head > MAX_HEAD:
            self.send_400_response(_TOO_LONG)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a head."""
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Let the request begin."""
        self._since = None
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, as every other error is answered, and close."""
        detail = msg if msg == _TOO_LONG else "this is no HTTP request that can be read"
        body = Problem(400, "bad-request", detail).body()
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _wait_for_head(self) -> None:
        if self._since is None:
            self._head = 0
            self._heads += 1
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
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        if cycle is not None and not cycle.response_complete:
            self._since = now  # a request before it is still being answered
        left = self._since + self.head_limit_s - now
        if left > 0:
            self._look = self.loop.call_later(left, self._give_up)
            return
        self.transport.close()
