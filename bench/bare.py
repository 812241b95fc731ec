"""The least that an HTTP service can do: read and parse the body, answer a constant."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_Message = MutableMapping[str, Any]

ANSWER = json.dumps(
    {
        "outcome": "relay",
        "revision": 42,
        "rule": "rule-00050",
        "table": None,
        "relay_map": "pool",
        "relay": "mx1.example.net",
        "mx": {"host": "mx1.example.net", "port": 2525},
        "url": "smtp+notls://mx1.example.net:2525",
    }
).encode()
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


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
        json.loads(body)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
