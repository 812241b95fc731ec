"""Watches the table program of the smtpd that runs: where it ends, smtpd must be started anew.

smtpd ends with its program, but only when it asks it the next time; until then it takes nobody's
mail and says nothing. A connection to the program ends when the program does, at once.
"""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Protocol

from app.agent import process
from app.agent.control import NotServing
from app.agent.process import Identity
from app.observe import event
from app.routing.errors import ControlError

_LOOK_S = 0.1
"""Between two looks for a program that is not there yet, as after each start of smtpd."""
_ENDS_S = 0.05
"""An smtpd that ends closes its tables first: a moment later it is gone, and nothing is amiss."""
_REFUSALS = 3
"""A socket is bound a moment before it listens; one that goes on refusing was left by the dead."""
_RESTART_LIMIT_S = 30.0
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 30.0
_SETTLED_S = 5.0
_TOLD_S = 3600.0


class Restarts(Protocol):
    """What starts smtpd anew."""

    async def running(self) -> Identity | None:
        """The first process of smtpd as it is now; None if there is none."""

    async def replace(self, known: Identity, limit_s: float) -> None:
        """Start smtpd anew, unless the one that is known has been replaced already.

        Raises:
            NotServing: it could not be started.
        """


class Watch:
    """Follows one smtpd after the other for as long as `run` runs.

    Args:
        room: where table programs listen.
        control: starts smtpd anew.
    """

    def __init__(self, room: Path, control: Restarts) -> None:
        self._room = room
        self._control = control
        self._ends = 0
        self._last_s: float | None = None

    def said(self) -> str:
        """What people should know of the last hour; "" where nothing happened."""
        if self._last_s is None or _now_s() - self._last_s > _TOLD_S:
            return ""
        times = "once" if self._ends == 1 else f"{self._ends} times"
        return (
            f"the table program ended by itself, {times} since the agent started; smtpd was"
            " started anew at once"
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        wait_s, quick_s = _FIRST_WAIT_S, _now_s()
        while True:
            smtpd = await self._until_it_ends()
            if _now_s() - quick_s > _SETTLED_S:
                wait_s = _FIRST_WAIT_S
            else:  # one that ends as soon as it is started: ever slower
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            await self._repair(smtpd)
            quick_s = _now_s()

    async def _until_it_ends(self) -> Identity:
        """The smtpd whose program has ended, which itself is still there."""
        refused = 0
        while True:
            smtpd, path = await self._found()
            if smtpd is not None and path is not None:
                if await _connected_until_it_ends(path):
                    refused = _REFUSALS
                else:
                    refused += 1
                if refused >= _REFUSALS:
                    refused = 0
                    await asyncio.sleep(_ENDS_S)
                    if await self._running() == smtpd:
                        return smtpd
                    continue
            await asyncio.sleep(_LOOK_S)

    async def _found(self) -> tuple[Identity | None, Path | None]:
        """The smtpd that runs, and where its program listens, or did."""
        smtpd = await self._running()
        if smtpd is None:
            return None, None
        for path in await asyncio.to_thread(lambda: sorted(self._room.glob("*.sock"))):
            if path.stem.isdecimal() and process.parent(int(path.stem)) == smtpd.pid:
                return smtpd, path
        return smtpd, None

    async def _running(self) -> Identity | None:
        try:
            return await self._control.running()
        except NotServing:
            return None

    async def _repair(self, smtpd: Identity) -> None:
        self._ends += 1
        self._last_s = _now_s()
        event("table-program-ended", logging.WARNING, smtpd=smtpd.pid, times=self._ends)
        try:
            await self._control.replace(smtpd, _RESTART_LIMIT_S)
        except ControlError as error:
            event("smtpd-not-started", logging.ERROR, reason=str(error))


async def _connected_until_it_ends(path: Path) -> bool:
    """Wait until the program that listens there ends; false where none listens."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    try:
        with contextlib.suppress(OSError):  # which is an end as well
            await reader.read()  # it says nothing that it was not asked
    finally:
        writer.close()
    return True


def _now_s() -> float:
    return asyncio.get_running_loop().time()
