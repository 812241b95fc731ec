"""The agent's life: ask what is wanted, apply it, tell what became of it and what is seen."""

import asyncio
import contextlib
import logging
from dataclasses import replace

from app.agent.apply import Applier
from app.agent.link import POLL_S, Backoff, Link, LinkDown, LinkRefused
from app.agent.memory import Ended, MemoryFile, is_behind
from app.agent.report import Reporter
from app.observe import event
from app.wire import LineState, PushReport, Reload, Report, Wanted

REPORT_EVERY_S = 30.0
_PAUSE_S = 1.0
_NOTED_LIMIT_S = 10.0
_BEHIND = (
    "this MTA has served a newer revision of this database's history, so the database seems to"
    " have been put back from a copy; push again to overwrite what the MTA serves"
)


class Loop:
    """One agent at work. The server being away changes nothing but that nothing new comes.

    Args:
        report_every_s: when there is no news; what somebody changed by hand is seen then.
    """

    def __init__(
        self,
        link: Link,
        applier: Applier,
        reporter: Reporter,
        memory: MemoryFile,
        *,
        report_every_s: float = REPORT_EVERY_S,
    ) -> None:
        self._link = link
        self._applier = applier
        self._reporter = reporter
        self._memory = memory
        self._report_every_s = report_every_s
        self._applying: PushReport | None = None
        self._last: Report | None = None
        self._news = asyncio.Event()
        self._noted = asyncio.Event()
        self.busy = asyncio.Lock()
        """Held while something is being applied: who wants to end the agent waits for it."""

    async def run(self) -> None:
        """Follow the server until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_always())
            group.create_task(self._follow())

    def tell_now(self) -> None:
        """Look and tell as soon as can be: there is news."""
        self._news.set()

    # --- asking ------------------------------------------------------------------------------

    async def _follow(self) -> None:
        # The server decides whether we may speak for this MTA; until it has, nothing is taken.
        await self._noted.wait()
        backoff, is_back = Backoff(), True
        while True:
            ended = self._memory.now.ended
            known, wait_s = 0 if ended is None else ended.push, POLL_S if is_back else 0
            try:
                wanted = await self._link.wanted(known, wait_s, self._applier.have())
            except (LinkDown, LinkRefused) as error:
                event("wanted-not-learnt", logging.WARNING, reason=str(error))
                is_back = False
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            if not is_back:
                # It may be another server now, or an older database: tell it what we serve.
                is_back = True
                self._news.set()
            if wanted is not None:
                await self._take(wanted)

    async def _take(self, wanted: Wanted) -> None:
        memory = self._memory.now
        ended = memory.ended
        if ended is not None and ended.answers(wanted) and ended.state is not LineState.FAILED:
            # It did not hear how that ended. What the MTA refused is not tried again by itself.
            self._memory.change(ended=replace(ended, told=False))
            await asyncio.sleep(_PAUSE_S)
        elif memory.seen is not None and is_behind(memory.seen, wanted):
            event("server-behind-us", logging.WARNING, push=wanted.push, revision=wanted.revision)
            self._memory.change(
                seen=replace(memory.seen, behind_push=wanted.push), ended=_refused_behind(wanted)
            )
        else:
            await self._apply(wanted)
        await self._tell_and_wait()

    async def _apply(self, wanted: Wanted) -> None:
        async with self.busy:
            self._applying = PushReport(
                push=wanted.push, state=LineState.APPLYING, reload=Reload.NONE
            )
            self._news.set()
            try:
                await self._applier.apply(wanted)
            finally:
                self._applying = None

    async def _tell_and_wait(self) -> None:
        """Tell how it ended before asking again, or the server would only say it once more."""
        self._noted.clear()
        self._news.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NOTED_LIMIT_S):
                await self._noted.wait()

    # --- telling -----------------------------------------------------------------------------

    async def _tell_always(self) -> None:
        backoff = Backoff()
        while True:
            self._news.clear()
            try:
                await self._tell()
            except (LinkDown, LinkRefused) as error:
                event("report-not-taken", logging.WARNING, reason=str(error))
                pause_s = backoff.next_s()
            else:
                backoff.reset()
                pause_s = self._report_every_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()

    async def _tell(self) -> None:
        if self._applying is not None and self._last is not None:
            # What is seen now is neither the old nor the new; what was seen last still tells more.
            await self._link.report(self._last.model_copy(update={"push": self._applying}))
            return
        async with self.busy:
            ended = self._memory.now.ended
            seen = await self._reporter.look()
        self._last = seen
        untold = ended is not None and not ended.told
        said = ended.report() if ended is not None and untold else None
        await self._link.report(seen.model_copy(update={"push": said}))
        if ended is not None and untold and self._memory.now.ended is ended:
            self._memory.change(ended=replace(ended, told=True))
        self._noted.set()


def _refused_behind(wanted: Wanted) -> Ended:
    return Ended(
        wanted.push,
        wanted.history,
        wanted.revision,
        wanted.model_digest,
        LineState.REFUSED,
        Reload.NONE,
        _BEHIND,
    )
