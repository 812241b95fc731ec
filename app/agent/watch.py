"""Watches the table program of the smtpd that runs: where all of it ends, smtpd is started anew.

Where a process of it is killed, another one goes on, and smtpd sees nothing of it: this is told,
and no more. smtpd ends with the whole of its program, but only when it asks it the next time; until
then it takes nobody's mail and says nothing. A connection to the process that answers ends when
that does, at once; and nobody listens where none is left.
"""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Protocol

from app.agent import program
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
        self._went_on = 0
        self._repaired = 0
        self._last_s: float | None = None

    def said(self) -> str:
        """What people should know of the last hour; "" where nothing happened."""
        if self._last_s is None or _now_s() - self._last_s > _TOLD_S:
            return ""
        told = []
        if self._went_on:
            told.append(
                f"a process of the table program was killed, {_times(self._went_on)} since the"
                " agent started; another one went on at once, and smtpd with it"
            )
        if self._repaired:
            told.append(
                f"the table program ended as a whole, {_times(self._repaired)} since the agent"
                " started; smtpd was started anew at once"
            )
        return "; ".join(told)

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
            smtpd = await self._running()
            places = [] if smtpd is None else await asyncio.to_thread(self._places, smtpd)
            if smtpd is None or not places:
                refused = 0
            elif await _connected_until_it_ends(places[0]):
                refused = 0
                await self._tell_if_it_goes_on(smtpd)
                continue
            else:
                refused += 1
                if refused >= _REFUSALS and await self._is_still_there(smtpd):
                    return smtpd
            await asyncio.sleep(_LOOK_S)

    def _places(self, smtpd: Identity) -> list[Path]:
        return program.places(self._room, smtpd)

    async def _is_still_there(self, smtpd: Identity) -> bool:
        await asyncio.sleep(_ENDS_S)
        return await self._running() == smtpd

    async def _tell_if_it_goes_on(self, smtpd: Identity) -> None:
        """Note where another process answers the same smtpd."""
        if await program.ask(self._room, smtpd) is None or await self._running() != smtpd:
            return
        self._went_on += 1
        self._last_s = _now_s()
        event("table-program-went-on", logging.WARNING, smtpd=smtpd.pid, times=self._went_on)

    async def _running(self) -> Identity | None:
        try:
            return await self._control.running()
        except NotServing:
            return None

    async def _repair(self, smtpd: Identity) -> None:
        event("table-program-ended", logging.WARNING, smtpd=smtpd.pid)
        try:
            await self._control.replace(smtpd, _RESTART_LIMIT_S)
        except ControlError as error:
            event("smtpd-not-started", logging.ERROR, reason=str(error))
            return
        self._repaired += 1
        self._last_s = _now_s()


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


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _now_s() -> float:
    return asyncio.get_running_loop().time()
