"""Pushes: what MTAs are told to serve, handed to their agents, and followed until it is so.

A reconciler over the store's own rows: whatever happens is answered by looking at the rows anew, so
a restart of the server changes nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from app.observe import Metrics, event, failure
from app.routing.errors import RevisionMoved
from app.routing.routing_table import RoutingTable
from app.server import lines
from app.server.bell import Bell, until
from app.server.fleet import Fleet, Standing, ability_of, standing_of
from app.server.judge import Judge, sentence
from app.server.lines import Pin
from app.server.live import Live
from app.server.pins import Offer, Pins
from app.server.push_errors import NoMta, NotTheHead, missed
from app.server.storage import LineRow, PushRow, ReportRow, StorageTrouble, Store
from app.server.wishes import Wishes
from app.wire import Have, LineState, Report

LOOK_EVERY = timedelta(seconds=30)
MAX_WAIT_S = 60.0
_TRIES = 5


class Pushes:
    """Makes pushes, answers agents, and lets time settle what agents do not."""

    def __init__(  # noqa: PLR0913  the parts that it is put together from
        self,
        store: Store,
        live: Live,
        fleet: Fleet,
        pins: Pins,
        judge: Judge,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._live = live
        self._fleet = fleet
        self._pins = pins
        self._judge = judge
        self._metrics = metrics
        self._now = now
        self._bells: dict[str, Bell] = {}
        self._pushes_changed = Bell()
        self._wishes = Wishes(store, live, fleet)
        self._closing = False

    # --- what people ask for

    async def push(
        self,
        *,
        author: str,
        mtas: Collection[str] | None = None,
        revision: int | None = None,
        dry_run: bool = False,
    ) -> PushRow:
        """Tell MTAs to serve the head.

        Args:
            author: who.
            mtas: None for all.
            revision: the head, as the caller knows it; None for whatever it is.
            dry_run: store nothing; the push is answered as it would be, with the id 0.

        Raises:
            NoMta: there is none.
            Unknown: one of them is not there.
            NotTheHead: the head is another revision.
        """
        if mtas is None:
            self.refuse_no_mta()
        chosen = self._fleet.names() if mtas is None else tuple(dict.fromkeys(mtas))
        if dry_run:
            return await self._as_it_would_be(author, chosen, revision)
        before = await self._store.open_lines()
        made = await self._create(author, chosen, revision)
        self._count_superseded(chosen, before)
        await self._refuse_inexpressible(made)
        self._wishes.forget()
        for mta in chosen:
            self._bell(mta).ring()
        event("push-made", push=made.id, revision=made.revision, mtas=len(chosen))
        return await self._store.push(made.id)

    def refuse_no_mta(self) -> None:
        """Refuse where there is nothing to push to: before a write that is to be pushed, too.

        Raises:
            NoMta: there is no MTA.
        """
        if not self._fleet.names():
            raise NoMta

    async def _create(self, author: str, mtas: tuple[str, ...], revision: int | None) -> PushRow:
        tries = 0
        while True:
            head = self._live.current().revision
            if revision is not None and revision != head:
                raise NotTheHead(head)
            try:
                return await self._store.create_push(head, author, mtas, self._now())
            except RevisionMoved as moved:  # an edit is stored, and not yet live
                tries += 1
                if tries == _TRIES:
                    raise NotTheHead(moved.current) from moved
                await asyncio.sleep(0)

    async def _as_it_would_be(
        self, author: str, mtas: tuple[str, ...], revision: int | None
    ) -> PushRow:
        snapshot, now = self._live.current(), self._now()
        if revision is not None and revision != snapshot.revision:
            raise NotTheHead(snapshot.revision)
        made = await self._judged([LineRow(0, mta) for mta in sorted(mtas)], snapshot.table)
        return PushRow(0, snapshot.revision, snapshot.history, author, now, tuple(made))

    def _count_superseded(self, mtas: Collection[str], before: Collection[LineRow]) -> None:
        """Count what the store ended with the new push: lines of these MTAs that waited."""
        ended = {line.push for line in before if _is_superseded(line, mtas)}
        for number in ended:
            event("push-superseded", push=number)
        count = sum(_is_superseded(line, mtas) for line in before)
        self._metrics.pushes.labels(LineState.SUPERSEDED.value, "").inc(count)

    async def _refuse_inexpressible(self, push: PushRow) -> None:
        pinned = await self._pins.pin(push)
        if pinned is None:
            return
        judged = await self._judged(push.lines, pinned.table)
        for line, after in zip(push.lines, judged, strict=True):
            await self._save(line, after)

    async def _judged(self, made: Sequence[LineRow], table: RoutingTable) -> list[LineRow]:
        """Each line, refused where its MTA cannot say the routing."""
        reports = [self._fleet.report(line.mta) for line in made]
        abilities = [None if row is None else ability_of(row.report) for row in reports]
        known = await self._judge.reasons(table, filter(None, abilities))
        found = [() if ability is None else known[ability] for ability in abilities]
        return [
            lines.refused(line, sentence(reasons), self._now()) if reasons else line
            for line, reasons in zip(made, found, strict=True)
        ]

    async def withdraw(self, number: int) -> None:
        """Take back the lines of a push that have not begun. Raises Unknown."""
        push = await self._store.push(number)
        for line in push.lines:
            await self._save(line, lines.withdrawn(line, self._now()))
        event("push-withdrawn", push=number)

    async def wait(self, number: int, seconds: float) -> PushRow:
        """A push once no line of it is open any more, or after some seconds. Raises Unknown."""
        ends = self._clock() + min(seconds, MAX_WAIT_S)
        while True:
            changed = self._pushes_changed.next
            push = await self._store.push(number)
            left = ends - self._clock()
            if lines.push_state(push.lines) != lines.RUNNING or left <= 0 or self._closing:
                return push
            await until(changed, left)

    async def applied(self, number: int, seconds: float) -> PushRow:
        """A push once it is applied everywhere.

        Raises:
            PushMissed: it came to something else, or to nothing in time.
            Unknown: there is no such push.
        """
        push = await self.wait(number, seconds)
        state = lines.push_state(push.lines)
        if state == LineState.APPLIED:
            return push
        raise missed(push, state)

    # --- what agents ask and say

    async def wanted(
        self, mta: str, known: int, seconds: float, have: Have | None = None
    ) -> Offer | None:
        """What an MTA is to serve, once that is something newer than its agent knows.

        Args:
            mta: whose agent asks.
            known: the newest push that it remembers; 0 for none.
            seconds: how long to wait for one.
            have: a model that the agent has: what changed since may be answered instead.

        Raises:
            Unknown: there is no such MTA any more.
        """
        ends = self._clock() + min(seconds, MAX_WAIT_S)
        while True:
            rung = self._bell(mta).next
            offer, due = await self._offer(mta, known, have)
            left = ends - self._clock()
            if offer is not None or left <= 0 or self._closing:
                return offer
            await until(rung, left if due is None else min(left, due))

    async def _offer(
        self, mta: str, known: int, have: Have | None
    ) -> tuple[Offer | None, float | None]:
        """What to hand out now, or in how many seconds to look again by ourselves."""
        self._fleet.report(mta)
        push = await self._wishes.of(mta)
        if push is None:
            return None, None
        (line,) = push.lines
        if not lines.is_offered(line, known, self._now()):
            if line.next_try_at is None:
                return None, None
            return None, max((line.next_try_at - self._now()).total_seconds(), 0.05)
        pinned = await self._pins.pin(push)
        if pinned is None:
            return None, None
        offer = await self._pins.offer(push, pinned, have)
        if offer is None:
            await self._refuse_changed(line)
        return offer, None

    async def _refuse_changed(self, line: LineRow) -> None:
        """End a line whose passwords are no longer what they were, unless it has begun.

        What is served, or being applied, was given what was right then.
        """
        if line.state in _NOT_BEGUN:
            detail = "a credential was changed after this push; push again"
            await self._save(line, lines.refused(line, detail, self._now()))

    async def report(self, mta: str, report: Report) -> None:
        """Take what an agent sees, and settle what it settles.

        Raises:
            Unknown: there is no such MTA any more.
            AnotherAgent: a different agent spoke for this MTA within the last minute.
        """
        row = ReportRow(mta, report, self._now())
        self._fleet.refuse_another(row)
        await self._store.save_report(row)
        self._fleet.heard(row)
        named = None if report.push is None else report.push.push
        found = await self._store.pushes_at_work(mta, named)
        if named is not None and named not in {push.id for push in found}:
            event("report-of-unknown-push", logging.WARNING, mta=mta, push=named)
        for push in found:
            pinned = await self._pins.pin(push)
            pin = None if pinned is None else pinned.pin
            (line,) = push.lines
            await self._save(line, lines.after_report(line, report, pin, row.seen_at), push)

    # --- how MTAs stand

    async def standing(self, mta: str) -> Standing:
        """How an MTA stands against what was pushed to it. Raises Unknown."""
        report = self._fleet.report(mta)
        push = await self._wishes.of(mta)
        history = self._live.current().history
        if push is None:
            return standing_of(report, None, None, history, self._now())
        pinned = await self._pins.pin(push)
        pin = Pin(push.history, push.revision, "") if pinned is None else pinned.pin
        return standing_of(report, pin, push.id, history, self._now())

    def left(self, mta: str) -> None:
        """Note that an MTA is gone, and let its agent's long poll go."""
        self._fleet.left(mta)
        self._wishes.forget()
        self._bell(mta).ring()

    # --- what time does

    async def run(self) -> None:
        """Let time settle lines, for ever; trouble with the database is waited out."""
        while not self._closing:
            changed = self._pushes_changed.next
            try:
                pause = await self.look()
            except StorageTrouble:
                failure("pushes-not-looked-at")
                pause = LOOK_EVERY
            await until(changed, pause.total_seconds())

    async def look(self) -> timedelta:
        """Take over what the rows say now and what time does to them; how long that holds."""
        await self._fleet.look(self._store)
        self._wishes.forget()
        pause = LOOK_EVERY
        pushes: dict[int, PushRow] = {}
        for line in await self._store.open_lines():
            if line.push not in pushes:
                pushes[line.push] = await self._store.push(line.push)
            push, now = pushes[line.push], self._now()
            seen = self._fleet.last_seen(line.mta)
            await self._save(line, lines.after_time(line, push.created_at, seen, now), push)
            pause = min(pause, lines.next_look(line, push.created_at, now))
        self._pins.keep(await self._wishes.every())
        return max(pause, timedelta(seconds=1))

    def close(self) -> None:
        """Let everybody who waits go, with what there is."""
        self._closing = True
        for bell in self._bells.values():
            bell.ring()
        self._pushes_changed.ring()

    # --- rows

    async def _save(self, line: LineRow, after: LineRow, push: PushRow | None = None) -> None:
        """Store what became of a line, unless somebody else made something of it meanwhile."""
        if after == line:
            return
        self._wishes.forget()
        if not await self._store.save_line(after, expected=line.state):
            return
        self._wishes.forget()
        self._pushes_changed.ring()
        self._bell(line.mta).ring()
        if after.state is line.state:
            return
        level = logging.INFO if after.state in _QUIET else logging.WARNING
        event(f"push-{after.state.value}", level, push=line.push, mta=line.mta)
        if after.state in lines.ENDED:
            reload = "" if after.reload is None else after.reload.value
            self._metrics.pushes.labels(after.state.value, reload).inc()
        if push is not None and after.state is LineState.APPLIED and after.finished_at:
            self._metrics.push_seconds.observe(
                (after.finished_at - push.created_at).total_seconds()
            )

    def _bell(self, mta: str) -> Bell:
        return self._bells.setdefault(mta, Bell())

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()


def _is_superseded(line: LineRow, mtas: Collection[str]) -> bool:
    return line.state is LineState.WAITING and line.mta in mtas


_NOT_BEGUN = frozenset({LineState.WAITING, LineState.FAILED})
_QUIET = frozenset({LineState.APPLYING, LineState.APPLIED, LineState.SUPERSEDED})
