"""Mail that met a relay which is down is tried again at once, elsewhere, envelope by envelope.

smtpd itself would wait 400 s. Each envelope is tried again by its id: others keep their pace.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from math import inf
from typing import NamedTuple

from app.agent.daemon_log import place_of
from app.agent.last_tries import LastTries
from app.agent.smtpctl import NoAnswer, Smtpctl
from app.observe import event

A_SECOND = 50
SOON_S = 4.0
"""An envelope is left alone for so long once it was hurried, and each time for twice as long."""
AT_MOST_S = 60.0
"""But for no longer: the other relays may be no better, or smtpd was trying it that moment."""
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
        clock: seconds that only ever grow.
        pause: sleeps for so many seconds.
    """

    def __init__(
        self,
        smtpctl: Smtpctl,
        tries: LastTries,
        *,
        clock: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._smtpctl = smtpctl
        self._tries = tries
        self._clock = clock
        self._pause = pause
        self._wanted: dict[str, None] = {}
        self._hurried: dict[str, _Pause] = {}
        self._asked = asyncio.Event()

    def hurry(self, places: Iterable[str]) -> int:
        """Have the envelopes tried that met nobody at these places; how many they are."""
        found = self._due(places)
        self._wanted.update(dict.fromkeys(found))
        if found:
            self._asked.set()
        return len(found)

    async def resume(self, places: Iterable[str]) -> None:
        """Let smtpd use its ways to these places again, which it may be keeping off an hour.

        Only then are the envelopes tried that met nobody there: on a way that is off they fail.
        """
        places = [*places]
        wanted = {place_of(place) for place in places}
        try:
            for route in await self._smtpctl.disabled_routes():
                if route.address in wanted:
                    await self._smtpctl.resume(route)
        except NoAnswer as error:
            event("routes-not-resumed", logging.WARNING, reason=str(error))
            return
        self.hurry(places)

    def is_due(self, places: Iterable[str]) -> bool:
        """Whether `hurry` would find any."""
        return bool(self._due(places))

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
            envelope = next(iter(self._wanted))
            del self._wanted[envelope]
            before = self._tries.last(envelope)
            if before is None:
                continue  # it has left since
            try:
                taken = await self._smtpctl.schedule(envelope)
            except NoAnswer as error:
                event("not-rescheduled", logging.WARNING, reason=str(error))
                self._wanted.clear()
                return
            self._put_off(envelope)
            if taken:
                if self._tries.last(envelope) is before:  # else it has failed again already
                    self._tries.forget(envelope)
                done += 1
            await self._pause(1 / A_SECOND)
        if done:
            event("rescheduled", envelopes=done)

    def _due(self, places: Iterable[str]) -> list[str]:
        now = self._clock()
        return [
            envelope
            for envelope in self._tries.unconnected(places)
            if envelope not in self._wanted and self._hurried.get(envelope, _NO_PAUSE).ends <= now
        ]

    def _put_off(self, envelope: str) -> None:
        before = self._hurried.pop(envelope, _NO_PAUSE)
        seconds = min(2 * before.seconds, AT_MOST_S)
        self._hurried[envelope] = _Pause(self._clock() + seconds, seconds)
        if len(self._hurried) > _MAX_KNOWN:
            del self._hurried[next(iter(self._hurried))]
