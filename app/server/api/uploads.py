"""Bodies that may be long: taken as they come, a bounded part of them at a time, and no faster.

While one part is being read in a thread, the next one comes in; then the client waits.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Receive

from app.server.api.entry_reader import Reader
from app.server.api.refusals import BodyTooLarge, EdgeError

MAX_UPLOAD = 1 << 30
"""Octets: what the most entries that there may be take in any form, ten times over."""
IDLE_LIMIT_S = 60.0
_PART = 1 << 18


async def read_upload(receive: Receive, reader: Reader) -> None:
    """Read a body to its end.

    Raises:
        BodyTooLarge: it is longer than may be.
        EdgeError: the client went away, or sent nothing for a minute.
        NotJson: and what else a reader raises.
    """
    reading: asyncio.Future[None] | None = None
    try:
        async for part in _parts(receive):
            if reading is not None:
                await reading
            reading = asyncio.ensure_future(asyncio.to_thread(reader.feed, part))
        if reading is not None:
            await reading
    finally:
        if reading is not None:
            await asyncio.wait([reading])
            reading.exception()
    await asyncio.to_thread(reader.close)


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    part, length, more = bytearray(), 0, True
    while more:
        octets, more = await _next(receive)
        length += len(octets)
        if length > MAX_UPLOAD:
            detail = f"the body holds more than {MAX_UPLOAD} octets"
            raise BodyTooLarge(detail, headers={"Connection": "close"})
        part += octets
        if part and (len(part) >= _PART or not more):
            yield bytes(part)
            part.clear()


async def _next(receive: Receive) -> tuple[bytes, bool]:
    """The next octets of a body, and whether there are more."""
    try:
        async with asyncio.timeout(IDLE_LIMIT_S):
            message = await receive()
    except TimeoutError:
        slow = f"nothing more of the body came within {IDLE_LIMIT_S:g} s"
        raise EdgeError(slow, headers={"Connection": "close"}) from None
    if message["type"] == "http.disconnect":
        raise EdgeError("the client went away")
    return message.get("body", b""), message.get("more_body", False)
