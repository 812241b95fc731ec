"""Mail that met nobody at a relay is tried again long before smtpd would, envelope by envelope.

smtpd itself would wait 400 s, and longer each time. Each envelope is tried again by its id: others
keep their pace.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from math import inf
from typing import NamedTuple

from app.agent.daemon_log import place_of
from app.agent.last_tries import LastTries
from app.agent.smtpctl import NoAnswer, Smtpctl
from app.observe import event

A_SECOND = 50
SOON_S = 4.0
"""An envelope is left alone for so long once it was hurried, and each time for twice as long: the
other relays may be no better, or smtpd was trying it that moment. What is in vain again and again
is soon left to smtpd."""
_MAX_KNOWN = 100_000


class _Pause(NamedTuple):
    """Until when an envelope is left alone, and for how long."""

    ends: float
    seconds: float


_NO_PAUSE = _Pause(-inf, SOON_S / 2)


class Rescheduler:
    """Lets smtpd try envelopes now, `A_SECOND` of them in a second at most.

    Args:
        smtpctl: how smtpd is asked.
        tries: where envelopes were tried last.
        is_of_use: whether what waits at a place is tried for anything but nothing now.
        clock: seconds that only ever grow.
        pause: sleeps for so many seconds.
    """

    def __init__(
        self,
        smtpctl: Smtpctl,
        tries: LastTries,
        *,
        is_of_use: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._smtpctl = smtpctl
        self._tries = tries
        self._is_of_use = is_of_use
        self._clock = clock
        self._pause = pause
        self._wanted: OrderedDict[str, None] = OrderedDict()
        self._hurried: dict[str, _Pause] = {}
        self._asked = asyncio.Event()

    def due(self, envelopes: Iterable[str]) -> list[str]:
        """Those of them, or of places, that are not left alone, and not to be tried already."""
        now = self._clock()
        return [
            envelope
            for envelope in envelopes
            if envelope not in self._wanted and self._hurried.get(envelope, _NO_PAUSE).ends <= now
        ]

    def hurry(self, envelopes: Iterable[str]) -> None:
        """Have those of them tried that are `due`."""
        room = max(0, _MAX_KNOWN - len(self._wanted))
        self._wanted.update(dict.fromkeys(self.due(envelopes)[:room]))
        if self._wanted:
            self._asked.set()

    def put_off(self, envelope: str) -> None:
        """Leave an envelope, or a place, alone for a while."""
        self._leave(envelope, 2 * self._hurried.get(envelope, _NO_PAUSE).seconds)

    def forget(self, envelopes: Iterable[str]) -> None:
        """Leave them alone no more: they have left, or there is news for them."""
        for envelope in envelopes:
            self._hurried.pop(envelope, None)

    async def run(self) -> None:
        """Do it until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.work_off()

    async def work_off(self) -> None:
        """Have everything tried that is wanted now."""
        done = 0
        while self._wanted:
            envelope, _ = self._wanted.popitem(last=False)
            before = self._tries.last(envelope)
            if before is None or not self._is_of_use(before.place):
                continue  # it has left since, or would only come back
            paused = self._hurried.get(envelope, _NO_PAUSE).seconds
            self._leave(envelope, inf)  # it may be heard to fail while smtpctl works
            try:
                taken = await self._smtpctl.schedule(envelope)
            except NoAnswer as error:
                event("not-rescheduled", logging.WARNING, reason=str(error))
                self._leave(envelope, paused)
                await self._pause(SOON_S)
                continue
            self._leave(envelope, 2 * paused)
            if taken:
                if self._tries.last(envelope) is before:  # else it has failed again already
                    self._tries.forget(envelope)
                done += 1
            await self._pause(1 / A_SECOND)
        if done:
            event("rescheduled", envelopes=done)

    async def resume(self, places: Iterable[str]) -> bool:
        """Let smtpd use its ways to these addresses again, which it may be keeping off an hour.

        On a way that is off an envelope fails at once, so this comes before it is hurried there.
        False where smtpctl does not answer.
        """
        wanted = {place_of(place) for place in places}
        try:
            for route in await self._smtpctl.disabled_routes():
                if route.address in wanted:
                    await self._smtpctl.resume(route)
        except NoAnswer as error:
            event("routes-not-resumed", logging.WARNING, reason=str(error))
            return False
        return True

    def _leave(self, envelope: str, seconds: float) -> None:
        self._hurried.pop(envelope, None)
        self._hurried[envelope] = _Pause(self._clock() + seconds, seconds)
        if len(self._hurried) > _MAX_KNOWN:
            del self._hurried[next(iter(self._hurried))]
