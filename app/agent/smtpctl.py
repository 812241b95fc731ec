"""What the agent asks of smtpd while it runs: what waits where, and to try again."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from app.agent import process
from app.agent.daemon_log import place_of
from app.agent.process import Daemon
from app.routing.errors import ControlError

_LIMIT_S = 10.0
_ENVELOPE = re.compile("[0-9a-f]{16}")
_RELAY = re.compile(
    r"\[relay:(\[[^\]]{1,64}\]|[^\],]{1,255}),port=([0-9]{1,5}),.*\] refcount=[0-9]+"
    r" ntask=([0-9]{1,15}) nconn=([0-9]{1,15}) "
)
_ROUTE = re.compile(
    r"([0-9]{1,20})\. \S{2,80} <-> (\S{1,64}) \(.*\) [N-](?P<disabled>[D-])[^ ]{2} nconn=[0-9]+"
    r" nerror=[0-9]+ penalty=[0-9]+ timeout=\S+"
)


class NoAnswer(ControlError):
    """smtpctl did not do, or did not end, what it was asked to."""

    code = "no-answer"
    temporary = True


@dataclass(frozen=True, slots=True)
class RelayLoad:
    """What smtpd has in hand for one relay URL.

    Attributes:
        host: of the URL.
        waiting: messages that wait for a session.
        sessions: connections that are open.
    """

    host: str
    port: int
    waiting: int
    sessions: int


@dataclass(frozen=True, slots=True)
class DisabledRoute:
    """A way to an address that smtpd does not go for a while."""

    number: str
    address: str


class Smtpctl:
    """smtpctl(8) of this machine."""

    def __init__(self, smtpctl: Path) -> None:
        self._smtpctl = str(smtpctl)

    async def loads(self) -> list[RelayLoad]:
        """Every relay URL that smtpd knows now; one that is not listed has nothing in hand.

        Raises:
            NoAnswer: smtpd does not run, or does not answer.
        """
        return [found async for line in self._lines("relays") if (found := _load(line))]

    async def disabled_routes(self) -> list[DisabledRoute]:
        """Every route that is off.

        Raises:
            NoAnswer: smtpd does not run, or does not answer.
        """
        return [found async for line in self._lines("routes") if (found := _disabled(line))]

    async def resume(self, route: DisabledRoute) -> None:
        """Let smtpd go a way again; one that is not off any more is fine.

        Raises:
            NoAnswer: smtpd does not run, or does not answer.
        """
        await self._do("resume", "route", route.number)

    async def schedule(self, envelope: str) -> bool:
        """Let smtpd try an envelope now; false where it is gone, or is being tried.

        smtpd's log tells of a failure before its scheduler knows: for a moment after that line the
        envelope is still being tried, and what was asked has no effect.

        Raises:
            NoAnswer: smtpd does not run, or does not answer.
        """
        if not _ENVELOPE.fullmatch(envelope):
            raise AssertionError("without an envelope's id, smtpctl might take others as well")
        return not (await self._do("schedule", envelope)).startswith("0 envelope")

    async def _do(self, *arguments: str) -> str:
        """What smtpctl said last."""
        try:
            done = await process.run([self._smtpctl, *arguments], _LIMIT_S)
        except ControlError as error:
            raise NoAnswer(str(error)) from error
        if done.status != 0:
            raise NoAnswer(f"smtpctl {' '.join(arguments)}: {done.last_line or done.status}")
        return done.last_line

    async def _lines(self, what: str) -> AsyncIterator[str]:
        """The lines of `smtpctl show`; there may be more of them than other children may say."""
        lines: list[str] = []
        status = await self._follow(["show", what], lines.append)
        if status != 0:
            raise NoAnswer(f"smtpctl show {what}: {lines[-1] if lines else status}")
        for line in lines:
            yield line

    async def _follow(self, arguments: list[str], heard: Callable[[str], None]) -> int:
        try:
            child = await Daemon.start([self._smtpctl, *arguments], heard)
        except ControlError as error:
            raise NoAnswer(str(error)) from error
        try:
            async with asyncio.timeout(_LIMIT_S):
                return await child.wait()
        except TimeoutError:
            raise NoAnswer(f"smtpctl {' '.join(arguments)} did not end") from None
        finally:
            await child.stop(0.0)


def _load(line: str) -> RelayLoad | None:
    found = _RELAY.match(line.strip())
    if found is None:
        return None
    return RelayLoad(place_of(found[1]), int(found[2]), int(found[3]), int(found[4]))


def _disabled(line: str) -> DisabledRoute | None:
    found = _ROUTE.fullmatch(line.strip())
    if found is None or found["disabled"] != "D":
        return None
    return DisabledRoute(found[1], place_of(found[2]))
