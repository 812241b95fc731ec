"""How relays look from one MTA, and what it served of late: read from what its agent says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.routing.routing_table import StateKey
from app.server.storage import ReportRow
from app.wire import MtaState, RelayHealth, RelaySeen, Report

QUIET_FOR = timedelta(minutes=1)
"""How long nothing may have gone to a relay before it is called safe to delete."""

Served = tuple[str, int]
"""(history, revision)."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The relays that an MTA sees.

    Attributes:
        relays: as its agent said it; the names are the agent's, and may be of relays long gone.
        down: those that get nothing there.
    """

    relays: Mapping[StateKey, RelaySeen] = field(default_factory=dict)
    down: frozenset[StateKey] = frozenset()


BLIND = Sight()
"""Of an MTA that says nothing, or whose last word is too old."""


def sight_of(report: Report) -> Sight:
    """What a report says of relays; nothing where the MTA does not ask the table program."""
    if not report.live:
        return BLIND
    relays = {(each.relay_map, each.relay): each for each in report.relays}
    down = (key for key, each in relays.items() if each.state is RelayHealth.DOWN)
    return Sight(relays, frozenset(down))


class Trail:
    """What one MTA was seen to serve, step by step, as far back as a minute needs it.

    It is in memory alone: after a start of the server the minute begins anew.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[datetime, Served | None]] = []
        self._seen_at: datetime | None = None

    def note(self, row: ReportRow) -> None:
        """Note a report, unless a newer one was noted."""
        if self._seen_at is not None and row.seen_at < self._seen_at:
            return
        self._seen_at = row.seen_at
        served = _served(row.report)
        if not self._steps or self._steps[-1][1] != served:
            self._steps.append((row.seen_at, served))
        while len(self._steps) > 1 and self._steps[1][0] <= row.seen_at - QUIET_FOR:
            del self._steps[0]

    def last_minute(self) -> frozenset[Served] | None:
        """All that it served in the minute before its last report; None where part is not known."""
        if self._seen_at is None or self._steps[0][0] > self._seen_at - QUIET_FOR:
            return None
        served = frozenset(step for _, step in self._steps if step is not None)
        return served if all(step is not None for _, step in self._steps) else None


def _served(report: Report) -> Served | None:
    """What it serves for sure: files that were changed by hand are no revision."""
    if report.state is not MtaState.LIVE or report.observed is None:
        return None
    return (report.observed.history, report.observed.revision)
