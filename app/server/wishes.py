"""The newest push that wants something of each MTA, remembered until a row of a push changes."""

import asyncio
from collections.abc import Mapping

from app.server.fleet import Fleet
from app.server.live import Live
from app.server.storage import PushRow, Store


class Wishes:
    """Reads them once however many agents ask, and never remembers what was read too early."""

    def __init__(self, store: Store, live: Live, fleet: Fleet) -> None:
        self._store = store
        self._live = live
        self._fleet = fleet
        self._known: Mapping[str, PushRow] | None = None
        self._changes = 0
        self._reading = asyncio.Lock()

    def forget(self) -> None:
        """Note that a row changed, or is about to: what is being read now may be old already."""
        self._changes += 1
        self._known = None

    async def of(self, mta: str) -> PushRow | None:
        """The push that wants something of an MTA, with that line alone."""
        return (await self.every()).get(mta)

    async def every(self) -> Mapping[str, PushRow]:
        """By MTA. Pushes of another history, or to an earlier MTA of that name, want nothing."""
        known = self._known
        while known is None:
            async with self._reading:
                known = self._known
                if known is None:
                    known = await self._read()
        return known

    async def _read(self) -> Mapping[str, PushRow] | None:
        """What the rows say; None where they changed meanwhile."""
        changes, history = self._changes, self._live.current().history
        rows = await self._store.wanted()
        if changes != self._changes:
            return None
        self._known = {
            mta: push
            for mta, push in rows.items()
            if push.history == history and self._fleet.is_younger(mta, push.created_at)
        }
        return self._known
