"""Lines that come in while others go out: bounded memory, whatever is sent and however it is read.

A line that is too long is passed over and told as such; lines are numbered from 1, blank ones too.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.types import Receive

MAX_LINE = 1 << 16
IDLE_LIMIT_S = 60.0


class Idle(Exception):
    """Nothing came for a minute."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        text: without its end; None where it is too long.
    """

    number: int
    text: bytes | None


class Lines:
    """The lines of a body, as they come.

    Attributes:
        number: of the last line that was given out.
        ended: whether the whole body is here, or will never be.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._rest = bytearray()
        self._too_long = False
        self.number = 0
        self.ended = False
        self.gone = False

    async def more(self) -> Iterator[Line]:
        """The lines that the next octets complete.

        Raises:
            Idle: none came.
        """
        try:
            async with asyncio.timeout(IDLE_LIMIT_S):
                message = await self._receive()
        except TimeoutError:
            raise Idle from None
        if message["type"] == "http.disconnect":
            self.ended = self.gone = True
            return iter(())
        self.ended = not message.get("more_body", False)
        return self._split(message.get("body", b""))

    def _split(self, octets: bytes) -> Iterator[Line]:
        *whole, rest = octets.split(b"\n")
        for part in whole:
            self._keep(part)
            yield from self._line()
        self._keep(rest)
        if self.ended and (self._rest or self._too_long):
            yield from self._line()

    def _keep(self, part: bytes) -> None:
        if not self._too_long:
            self._rest += part
            if len(self._rest) > MAX_LINE:
                self._too_long = True
                self._rest.clear()

    def _line(self) -> Iterator[Line]:
        self.number += 1
        text = None if self._too_long else bytes(self._rest).rstrip(b"\r")
        self._too_long = False
        self._rest.clear()
        if text is None or text.strip():
            yield Line(self.number, text)
