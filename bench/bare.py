"""The least that an HTTP service can do: read and parse the body, answer a constant."""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

_Message = MutableMapping[str, Any]

ANSWER = os.environb.get(b"BENCH_ANSWER", b"{}")
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
_parse = msgspec.json.decode


async def app(
    scope: _Message,
    receive: Callable[[], Awaitable[_Message]],
    send: Callable[[_Message], Awaitable[None]],
) -> None:
    """One ASGI call."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if body:
        _parse(body)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
