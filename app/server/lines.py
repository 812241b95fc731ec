"""How one MTA's line of a push goes on: what a report or the passing of time makes of it.

Pure: the clock is an argument. A line that waits, or that an agent is at work on, is *open*; a line
that failed with nothing changed is tried again; what an MTA refused is not, until somebody pushes.

    waiting -> applying -> applied | refused | rolled-back | failed -> applying ...
       |          └-> unknown (the agent fell silent; its next report settles it)
       └-> superseded (a newer push) | expired (a day) | withdrawn (somebody)
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.server.storage import LineRow
from app.wire import LineState, Observed, PushReport, Reload, Report

OPEN = frozenset({LineState.WAITING, LineState.APPLYING})
ENDED = frozenset(LineState) - OPEN - {LineState.UNKNOWN}

RETRY_AFTER = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
)
"""How long after each failure in a row the next try is; the last one stands for all further."""

WAITS_FOR = timedelta(days=1)
SILENT_AFTER = timedelta(minutes=5)
"""An agent reports every 30 s; longer than any apply with its roll-back, by default."""

_WORST_FIRST = (
    LineState.FAILED,
    LineState.ROLLED_BACK,
    LineState.REFUSED,
    LineState.UNKNOWN,
    LineState.EXPIRED,
    LineState.SUPERSEDED,
    LineState.WITHDRAWN,
    LineState.APPLIED,
)
RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Pin:
    """What a push wants an MTA to serve: no part of it says anything without the others."""

    history: str
    revision: int
    model_digest: str

    def is_served(self, observed: Observed | None) -> bool:
        """Whether that is what was seen."""
        return observed is not None and self == Pin(
            observed.history, observed.revision, observed.model_digest
        )


def push_state(lines: Iterable[LineRow]) -> str:
    """The state of a push: `running` while a line is open, else the worst of its lines."""
    states = {line.state for line in lines}
    if states & OPEN:
        return RUNNING
    return next(state.value for state in _WORST_FIRST if state in states)


def is_offered(line: LineRow, known: int, now: datetime) -> bool:
    """Whether the agent is to be given the model of this line, its MTA's newest.

    Args:
        line: of the newest push that names the MTA.
        known: the newest push that the agent remembers; 0 for none.
        now: the server's time.
    """
    if line.state is LineState.WAITING:
        return True  # whatever the agent remembers: it may be of another life of this database
    if line.state is LineState.FAILED:
        return line.next_try_at is not None and line.next_try_at <= now
    begun = line.state in {LineState.APPLYING, LineState.UNKNOWN, LineState.APPLIED}
    return begun and line.push > known  # the agent forgot


def after_report(line: LineRow, report: Report, pin: Pin | None, now: datetime) -> LineRow:
    """The line once its MTA's agent has said something.

    What the agent says about this very push wins over what we made of the line meanwhile: a line
    that was withdrawn while its answer was under way has been applied all the same.

    Args:
        line: open, unknown, or the one that the report names.
        report: as it came.
        pin: what the push wants; None where that cannot be told any more.
        now: the server's time.
    """
    said = report.push
    if said is not None and said.push == line.push:
        return _as_said(line, said, report.observed, pin, now)
    if line.state not in {LineState.APPLYING, LineState.UNKNOWN}:
        return line
    if pin is not None and pin.is_served(report.observed):
        return _ended(line, LineState.APPLIED, "seen in force", now)
    if said is not None and said.push > line.push:
        return _ended(line, LineState.SUPERSEDED, "the agent is at work on a newer push", now)
    return line


def _as_said(
    line: LineRow, said: PushReport, observed: Observed | None, pin: Pin | None, now: datetime
) -> LineRow:
    begun = replace(line, reload=said.reload, started_at=line.started_at or now)
    if said.state is LineState.APPLIED and not (pin and pin.is_served(observed)):
        detail = "the agent says that it is applied, and reports that something else is served"
        return _ended(begun, LineState.UNKNOWN, detail, now)
    if said.state is LineState.FAILED:
        tries = line.tries + 1
        wait = RETRY_AFTER[min(tries, len(RETRY_AFTER)) - 1]
        failed = _ended(begun, LineState.FAILED, said.detail, now)
        return replace(failed, tries=tries, next_try_at=now + wait)
    if said.state in OPEN:
        return replace(
            begun,
            state=LineState.APPLYING,
            detail=said.detail,
            finished_at=None,
            next_try_at=None,
        )
    return _ended(begun, said.state, said.detail, now)


def _ended(line: LineRow, state: LineState, detail: str, now: datetime) -> LineRow:
    return replace(line, state=state, detail=detail, finished_at=now, next_try_at=None)


def refused(line: LineRow, detail: str, now: datetime) -> LineRow:
    """The line once we know that its MTA cannot serve it."""
    ended = _ended(line, LineState.REFUSED, detail, now)
    return replace(ended, reload=Reload.NONE, started_at=line.started_at or now)


def withdrawn(line: LineRow, now: datetime) -> LineRow:
    """The line once somebody took the push back; one that has begun goes on."""
    if line.state is LineState.WAITING:
        return _ended(line, LineState.WITHDRAWN, "withdrawn before it began", now)
    if line.state is LineState.FAILED and line.next_try_at is not None:
        return replace(line, next_try_at=None)
    return line


def after_time(
    line: LineRow, created_at: datetime, seen_at: datetime | None, now: datetime
) -> LineRow:
    """The line once time has passed.

    Args:
        line: an open one.
        created_at: when its push was made.
        seen_at: when the MTA's agent was last heard of; None for never.
        now: the server's time.
    """
    if line.state is LineState.WAITING and now - created_at >= WAITS_FOR:
        return _ended(line, LineState.EXPIRED, "no agent came for it within a day", now)
    if line.state is LineState.APPLYING:
        heard = max(filter(None, (line.started_at, seen_at)), default=created_at)
        if now - heard >= SILENT_AFTER:
            return _ended(line, LineState.UNKNOWN, "the agent fell silent at work on it", now)
    return line


def next_look(line: LineRow, created_at: datetime, now: datetime) -> timedelta:
    """How long until time alone may change something about a line that has not ended."""
    if line.state is LineState.WAITING:
        due = created_at + WAITS_FOR
    elif line.state is LineState.FAILED and line.next_try_at is not None:
        due = line.next_try_at
    else:
        due = now + SILENT_AFTER
    return max(due - now, timedelta(0))
