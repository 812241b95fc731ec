"""What the agent sees of its MTA, as the report that the server gets."""

import asyncio
import logging

from app.agent import addresses
from app.agent.control import NotServing
from app.agent.generations import Generations, Origin, Staged
from app.agent.health_loop import HealthLoop
from app.agent.in_use import relays_in_use
from app.agent.live_file import NotWritten
from app.agent.memory import MemoryFile
from app.agent.opensmtpd import OpenSMTPD, Unanswered
from app.agent.operator_file import Declared
from app.agent.prepare_live import LivePreparer
from app.agent.process import Identity
from app.agent.watch import Watch
from app.observe import event
from app.render.opensmtpd.live import walk_of
from app.routing.live_file import Meta
from app.wire import (
    MAX_LISTED,
    LineState,
    MtaState,
    Observed,
    RelaySeen,
    Report,
    TombstoneMessage,
)


class Reporter:
    """Looks at the MTA, and says what it sees."""

    def __init__(
        self,
        generations: Generations,
        mta: OpenSMTPD,
        memory: MemoryFile,
        live: LivePreparer | None = None,
        health: HealthLoop | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._generations = generations
        self._mta = mta
        self._memory = memory
        self._live = live
        self._health = health
        self._watch = watch
        self._used: tuple[int, dict[str, str]] | None = None

    async def look(self) -> Report:
        """What is to be seen now, without a word about pushes."""
        live = self._generations.live()
        drifted = () if live is None else self._generations.drift(live)
        state, detail = await self._state(drifted)
        declared = self._declared()
        seen = self._memory.now.seen
        return Report(
            agent=self._memory.now.agent,
            state=state,
            live=self._live is not None,
            actions=[]
            if live is None
            else list(walk_of(self._generations.read(live)))[:MAX_LISTED],
            observed=self._observed(live),
            behind_me=seen is not None and seen.behind_push is not None,
            version=await self._version(),
            addresses=(await self._addresses())[:MAX_LISTED],
            certificates=sorted(declared.certificates)[:MAX_LISTED],
            cas=sorted(declared.cas)[:MAX_LISTED],
            state_dir=str(self._generations.state_dir),
            tombstones=[] if live is None else _tombstones(live),
            relays=self._relays(declared),
            detail=detail,
        )

    def _relays(self, declared: Declared) -> list[RelaySeen]:
        """The relays in use as they are seen; which they are may have changed since."""
        if self._live is None or self._health is None:
            return []
        file = self._live.file
        # An entry may make another rule, which checks certificates otherwise, use a map.
        used = (file.meta().writes, declared.cas)
        if used != self._used:
            self._used = used
            self._health.use(relays_in_use(file.routing(), file.retired(), declared.cas))
        return self._health.seen()[:MAX_LISTED]

    async def _state(self, drifted: tuple[str, ...]) -> tuple[MtaState, str]:
        try:
            serving = await self._mta.is_serving()
        except Unanswered as error:
            return MtaState.UNKNOWN, str(error)
        if not serving:
            said = self._mta.control.last_words()
            return MtaState.STOPPED, f"smtpd does not serve{': ' if said else ''}{said}"
        if drifted:
            return MtaState.DRIFTED, f"changed by hand: {', '.join(drifted)}"
        if self._live is None or not self._asks():
            return MtaState.LIVE, ""
        if not await self._live.is_asked(await self._running()):
            return MtaState.UNKNOWN, "smtpd does not ask a table program that reads the live file"
        return MtaState.LIVE, "" if self._watch is None else self._watch.said()

    async def _running(self) -> Identity | None:
        try:
            return await self._mta.control.running()
        except NotServing:
            return None

    def _observed(self, live: Staged | None) -> Observed | None:
        if live is None:
            return None
        # What an smtpd that reads files will be asked about may have been written already.
        origin = self._written() if self._asks() else live.origin
        if not origin.history or not self._is_ended(live):
            return None
        return Observed(
            history=origin.history,
            revision=origin.revision,
            model_digest=origin.model_digest,
            files_digest=self._generations.read(live).digest(self._generations.seal),
        )

    def _asks(self) -> bool:
        """Whether what serves asks the table program; the files of before it was there do not."""
        live = self._generations.live()
        return self._live is not None and live is not None and bool(self._walk(live))

    def _walk(self, live: Staged) -> list[str]:
        return list(walk_of(self._generations.read(live)))[:MAX_LISTED]

    def _written(self) -> Meta | Origin:
        """Whose routing the live file has; of a fresh one, nobody's."""
        return Origin() if self._live is None else self._live.file.meta()

    def _is_ended(self, live: Staged) -> bool:
        """Whether the move to what `live` points to has come to its end, as far as is known."""
        if self._generations.intent() is None:
            return True
        # Where the disk did not let go of the intent of a push that was applied all the same.
        ended = self._memory.now.ended
        return ended is not None and (ended.push, ended.state) == (
            live.origin.push,
            LineState.APPLIED,
        )

    async def _version(self) -> str | None:
        try:
            return (await self._mta.version()).text
        except Unanswered:
            return None

    async def _addresses(self) -> list[str]:
        """Those that the MTA takes for its own: of its start, or where it asks us, of now."""
        started = self._memory.now.started
        found = addresses.of_host()
        if self._live is not None:
            try:
                await asyncio.to_thread(self._live.file.notice, found)
            except NotWritten as error:  # a full disk must not end the agent; the next look is soon
                event("addresses-not-noticed", logging.WARNING, reason=str(error))
        elif started is not None and await self._mta.is_process(started.process):
            found = started.addresses
        return [str(address) for address in found]

    def _declared(self) -> Declared:
        try:
            return self._mta.declared()
        except OSError:
            return Declared()


def _tombstones(live: Staged) -> list[TombstoneMessage]:
    return [
        TombstoneMessage(
            action=each.action, text=each.text, relays=list(each.relays), retire_at=each.retire_at
        )
        for each in live.origin.tombstones[:MAX_LISTED]
    ]
