"""One push from its model to a confirmed generation, or back to the one before, and why.

The steps that change something, after those of `prepare`: intent, activate, reload, observe,
confirm; and, when one of them fails: restore, reload-old, observe-old, undo. Where the MTA asks,
the live file is written at the end, or ahead of all where it did not ask before. The agent may be
killed before and in any of them: `recover` goes on from what is on the disk.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.agent import addresses
from app.agent.control import NotServing
from app.agent.generations import Generations, Intent, Recovery
from app.agent.live_file import LiveFile
from app.agent.memory import Ended, MemoryFile, Seen, Started
from app.agent.opensmtpd import OpenSMTPD
from app.agent.prepare import Move, Prepared, Preparer
from app.observe import event, failure
from app.render.opensmtpd.live import walk_of
from app.render.opensmtpd.tombstones import actions_of
from app.routing.errors import ControlError
from app.wire import Have, LineState, Reload, Wanted

PREPARING = ("read", "secrets", "render", "read-back", "would-strand", "stage", "check")
SWITCHING = ("intent", "activate", "reload", "observe", "confirm")
WRITING = ("write", "observe")
RESTORING = ("restore", "reload-old", "observe-old", "undo")
STEPS = PREPARING + SWITCHING + RESTORING

_Step = Callable[[str], None]
_PAUSE_S = 0.02
_ANSWER_LIMIT_S = 30.0
"""What a program says within this, it says; a longer apply is for what takes longer."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A push that is being worked on."""

    push: int
    history: str
    revision: int
    model_digest: str

    def ended(self, state: LineState, reload: Reload, detail: str) -> Ended:
        return Ended(
            self.push, self.history, self.revision, self.model_digest, state, reload, detail
        )


class Applier:
    """Applies pushes to one MTA, one at a time.

    Args:
        limit_s: for a push; going back has as much again.
        at: is told each step before it begins.
    """

    def __init__(
        self,
        generations: Generations,
        mta: OpenSMTPD,
        memory: MemoryFile,
        preparer: Preparer,
        *,
        limit_s: float,
        at: _Step,
    ) -> None:
        self._generations = generations
        self._mta = mta
        self._memory = memory
        self._preparer = preparer
        self._limit_s = limit_s
        self._at = at

    async def apply(self, wanted: Wanted) -> Ended:
        """Make the MTA serve what is wanted, and say how that ended. Never raises for a push."""
        attempt = _Attempt(wanted.push, wanted.history, wanted.revision, wanted.model_digest)
        if not await self._is_settled():
            detail = "an earlier push could not be undone: the disk refuses"
            return self._remember(attempt.ended(LineState.FAILED, Reload.NONE, detail))
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limit_s
        try:
            async with asyncio.timeout_at(ends):
                prepared = await self._preparer.prepare(wanted, self._memory.now, self._limit_s)
        except Exception as error:  # noqa: BLE001  whatever it is, nothing was touched
            self._prune()
            return self._remember(_not_begun(attempt, error))
        if prepared.move is None:
            return self._remember(await self._write(attempt, prepared, ends))
        return self._remember(await self._switch(attempt, prepared.move, prepared, ends))

    def have(self) -> Have | None:
        """The model that a server may send the changes of; None where it is to send the whole."""
        live, ended = self._preparer.live, self._memory.now.ended
        if live is None or (ended is not None and ended.state is not LineState.APPLIED):
            return None  # what did not go well is tried again with all there is
        return live.have()

    async def _is_settled(self) -> bool:
        """Whether `live` is a generation that was confirmed; an open move is ended first.

        One that cannot be ended may stay open: what is made next keeps what it left.
        """
        if self._generations.intent() is None:
            return True
        await self.recover()
        intent, live = self._generations.intent(), self._generations.live()
        return intent is None or live is None or live.number != intent.new

    def _prune(self) -> None:
        try:
            self._generations.prune()
        except OSError as error:
            event("generations-not-pruned", logging.ERROR, reason=error.strerror)

    async def start(self) -> None:
        """Start the MTA with what is live; trouble is logged, and seen in the next report."""
        control = self._mta.control
        before, since, own = await control.running(), control.now(), addresses.of_host()
        try:
            async with asyncio.timeout(self._limit_s):
                await control.restart(self._limit_s)
                process = await self._mta.settled(since, before)
        except (NotServing, TimeoutError) as error:
            event("mta-not-started", logging.ERROR, reason=str(error))
            return
        self._memory.change(started=Started(process, self._actions_on_disk(), own))

    async def recover(self) -> Ended | None:
        """End what a crash interrupted; None if there was nothing."""
        recovery = self._generations.recover()
        intent = self._generations.intent()
        if recovery is Recovery.NOTHING or intent is None:
            return None
        origin = self._generations.staged(intent.new).origin
        attempt = _Attempt(origin.push, origin.history, origin.revision, origin.model_digest)
        event("recovering", push=attempt.push, way=recovery.value)
        if recovery is Recovery.GO_BACK:
            return self._remember(await self._go_back(attempt, intent.why))
        ends = asyncio.get_running_loop().time() + self._limit_s
        return self._remember(await self._go_on(attempt, intent, None, ends))

    # --- forward -----------------------------------------------------------------------------

    async def _switch(
        self, attempt: _Attempt, move: Move, prepared: Prepared, ends: float
    ) -> Ended:
        refused = await self._write_ahead(attempt, prepared)
        if refused is not None:
            return refused
        try:
            self._at("intent")
            self._generations.begin(move.intent)
            self._at("activate")
            self._generations.activate(move.intent.new)
        except OSError as error:
            return await self._not_switched(attempt, move.intent, error)
        return await self._go_on(attempt, move.intent, prepared, ends)

    async def _write_ahead(self, attempt: _Attempt, prepared: Prepared) -> Ended | None:
        """Write the live file before a smtpd that reads files is replaced by one that asks.

        Nobody reads it yet, and from its start on the new one must not refuse what the old one
        took. How it ended, if the disk refuses.
        """
        live = self._generations.live()
        if prepared.content is None or live is None or walk_of(self._generations.read(live)):
            return None
        self._at("write-ahead")
        try:
            await asyncio.to_thread(self._live_file.write, prepared.content)
        except ControlError as error:
            self._prune()
            state = LineState.FAILED if error.temporary else LineState.REFUSED
            return attempt.ended(state, Reload.NONE, str(error))
        return None

    async def _not_switched(self, attempt: _Attempt, intent: Intent, error: OSError) -> Ended:
        """The disk refused the intent or the link: look which, and leave things as they were."""
        live = self._generations.live()
        if live is not None and live.number == intent.new:
            return await self._go_back(attempt, f"the disk: {error.strerror}")
        try:
            self._generations.abandon(intent)
        except OSError as again:
            event("intent-not-removed", logging.ERROR, reason=again.strerror)
        return attempt.ended(LineState.FAILED, Reload.NONE, f"the disk: {error.strerror}")

    async def _go_on(
        self, attempt: _Attempt, intent: Intent, prepared: Prepared | None, ends: float
    ) -> Ended:
        """From a switched link to a confirmed generation, or back."""
        actions = None if prepared is None or prepared.move is None else prepared.move.actions
        try:
            async with asyncio.timeout_at(ends):
                await self._serve(intent, intent.new, actions, ("reload", "observe"))
        except TimeoutError:
            why = f"smtpd did not serve within {self._limit_s:g} s"
            return await self._go_back(attempt, why)
        except (ControlError, OSError) as error:
            return await self._go_back(attempt, str(error))
        self._at("confirm")
        self._confirm()
        if self._preparer.live is not None:
            return await self._written(attempt, prepared, intent.reload, ends)
        return self._applied(attempt, intent.reload, "" if prepared is None else prepared.note)

    def _applied(self, attempt: _Attempt, reload: Reload, note: str) -> Ended:
        seen = Seen(attempt.history, attempt.revision, attempt.model_digest)
        self._memory.change(seen=seen)
        return attempt.ended(LineState.APPLIED, reload, note)

    # --- the live file -----------------------------------------------------------------------

    async def _written(
        self, attempt: _Attempt, prepared: Prepared | None, reload: Reload, ends: float
    ) -> Ended:
        """What became of a push whose generation serves: it has what the live file will ask for."""
        if prepared is not None and prepared.content is not None:
            return await self._write(attempt, replace(prepared, reload=reload), ends)
        meta = self._live_file.meta()
        found = (meta.history, meta.revision, meta.model_digest)
        if found == (attempt.history, attempt.revision, attempt.model_digest):
            return self._applied(attempt, reload, "")
        detail = "the agent was ended before it wrote the live file; what served before serves on"
        return attempt.ended(LineState.FAILED, reload, detail)

    async def _write(self, attempt: _Attempt, prepared: Prepared, ends: float) -> Ended:
        """Let every question be answered from another revision, and look whether it is."""
        if prepared.content is None:
            raise AssertionError("a push without a generation has something to write")
        try:
            self._at("write")
            await asyncio.to_thread(self._live_file.write, prepared.content)
        except ControlError as error:
            state = LineState.FAILED if error.temporary else LineState.REFUSED
            done = Reload.NONE if prepared.move is None else prepared.reload
            return attempt.ended(state, done, str(error))
        self._at("observe")
        why = await self._unasked(ends)
        if why:
            detail = f"it is written, and no answer from it was seen: {why}"
            return attempt.ended(LineState.UNKNOWN, prepared.reload, detail)
        return self._applied(attempt, prepared.reload, prepared.note)

    async def _unasked(self, ends: float) -> str:
        """Wait until the table program says that it answers from what is written.

        Returns:
            why it does not, if it does not in time; or that smtpd does not run, and cannot be
            started.
        """
        live, control, known = self._preparer.live, self._mta.control, None
        why = "the table program does not answer in time"
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout_at(ends) as limit:
                while live is not None:
                    running = await control.running()
                    if running is None:
                        limit.reschedule(ends)
                        await self.start()
                        running = await control.running()
                    if running is None:
                        return f"smtpd does not run: {control.last_words()}"
                    if running != known:  # each smtpd has a program of its own, and as long
                        known = running
                        limit.reschedule(min(ends, clock() + _ANSWER_LIMIT_S))
                    why = await live.unasked(running)
                    if not why:
                        return ""
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            return why
        except ControlError as error:
            return str(error)
        return ""

    @property
    def _live_file(self) -> LiveFile:
        if self._preparer.live is None:
            raise AssertionError("only who has a live file writes one")
        return self._preparer.live.file

    def _confirm(self) -> None:
        """Call what is live confirmed. Where the disk refuses, recovery comes to the same end."""
        try:
            self._generations.confirm()
        except OSError as error:
            event("intent-not-removed", logging.ERROR, reason=error.strerror)

    async def _serve(
        self, intent: Intent, number: int, actions: frozenset[str] | None, steps: tuple[str, str]
    ) -> None:
        """Let the MTA take what `live` points to, and look whether it serves just that.

        Raises:
            NotServing: it does not.
        """
        reload, observe = steps
        control = self._mta.control
        before, since, own = await control.running(), control.now(), addresses.of_host()
        self._at(reload)
        if intent.reload is Reload.RESTART or before is None:
            await control.restart(self._limit_s)
            self._at(observe)
            process = await self._mta.settled(since, before)
            known = actions if actions is not None else self._actions_on_disk()
            self._memory.change(started=Started(process, known, own))
        else:
            for table in intent.tables:
                await self._mta.update_table(table, self._limit_s)
            self._at(observe)
            if await self._mta.serving() != before:
                raise NotServing("smtpd was started anew while a table was updated")
        self._refuse_other_bytes(number)

    def _refuse_other_bytes(self, number: int) -> None:
        """Raises NotServing unless `live` holds the very bytes that were staged and checked."""
        live = self._generations.live()
        if live is None or live.number != number or self._generations.drift(live):
            raise NotServing("the files that smtpd reads are not the ones that were checked")

    def _actions_on_disk(self) -> frozenset[str]:
        live = self._generations.live()
        ours = {} if live is None else actions_of(self._generations.read(live))
        return frozenset(self._mta.declared().actions | ours.keys())

    # --- back --------------------------------------------------------------------------------

    async def _go_back(self, attempt: _Attempt, why: str) -> Ended:
        """Put the old generation back, and let mail that the new one took find its actions.

        Where that cannot be ended, the intent stays: the next push, or the next start of the
        agent, knows by it that smtpd may run what is not on the disk, and what its mail may name.
        """
        self._at("restore")
        event("going-back", logging.WARNING, push=attempt.push, why=why)
        try:
            intent = self._generations.go_back(why)
        except OSError as error:
            detail = f"{why}; and the disk did not let the old generation back: {error.strerror}"
            return attempt.ended(LineState.UNKNOWN, Reload.NONE, detail)
        try:
            async with asyncio.timeout(self._limit_s):
                await self._serve_old(intent)
                await self._revive(intent)
        except TimeoutError:
            detail = f"{why}; the old generation did not serve within {self._limit_s:g} s either"
        except (ControlError, OSError) as error:
            detail = f"{why}; the old generation is back, but: {error}"
        else:
            detail = why
            self._at("undo")
            self._confirm()
        return attempt.ended(LineState.ROLLED_BACK, intent.reload, detail)

    async def _revive(self, intent: Intent) -> None:
        """Let mail that the new generation accepted find its actions in the old one.

        Raises:
            ControlError, OSError: it will not find them until they are pushed again.
        """
        revival = await self._preparer.revive(intent, self._limit_s)
        if revival is None:
            return
        steps = ("reload-old", "observe-old")
        self._generations.revive(intent, revival.staged.number)
        try:
            await self._serve(revival.intent, revival.staged.number, revival.actions, steps)
        except NotServing:
            back = self._generations.go_back(intent.why)
            await self._serve(replace(back, reload=Reload.RESTART), back.old, None, steps)
            raise

    async def _serve_old(self, intent: Intent) -> None:
        steps = ("reload-old", "observe-old")
        if intent.revived is not None:  # it was killed while that took over, or after
            intent = replace(intent, reload=Reload.RESTART)
        try:
            await self._serve(intent, intent.old, None, steps)
        except NotServing:
            if intent.reload is Reload.RESTART:
                raise
            # Half a table update, and smtpd may hold either content: a start settles it.
            await self._serve(replace(intent, reload=Reload.RESTART), intent.old, None, steps)

    # --- memory ------------------------------------------------------------------------------

    def _remember(self, ended: Ended) -> Ended:
        self._memory.change(ended=ended)
        level = logging.INFO if ended.state is LineState.APPLIED else logging.WARNING
        event(
            f"push-{ended.state.value}",
            level,
            push=ended.push,
            revision=ended.revision,
            reload=ended.reload.value,
            detail=ended.detail,
        )
        return ended


def _not_begun(attempt: _Attempt, error: Exception) -> Ended:
    """How a push ended that nothing was done for: refused for what it is, or failed for now."""
    if isinstance(error, ControlError):
        state = LineState.FAILED if error.temporary else LineState.REFUSED
        return attempt.ended(state, Reload.NONE, str(error))
    if isinstance(error, TimeoutError):
        detail = "preparing it took longer than one apply may; nothing was changed"
        return attempt.ended(LineState.FAILED, Reload.NONE, detail)
    if isinstance(error, OSError):
        return attempt.ended(LineState.FAILED, Reload.NONE, f"{error.filename}: {error.strerror}")
    failure("push-not-prepared", push=attempt.push)
    detail = "the agent met an error of its own, which is in its log; nothing was changed"
    return attempt.ended(LineState.FAILED, Reload.NONE, detail)
