"""One recipient through the walk of the table program, against the same smtpd with one static line.

Needs root and OpenSMTPD.
"""

import statistics
from collections.abc import Callable
from contextlib import ExitStack

from app.routing.routing_table import RoutingTable
from bench.asking import Mta, domain, rules_of
from bench.rounds import Figure, Limit, interleave
from tests.mta.agents.machine import operator

MOST, MANY = 50, 10
_RECIPIENTS = 200


def measure() -> Figure:
    """The median of one RCPT, in milliseconds."""
    with ExitStack() as stack:
        runs: dict[str, Callable[[], float]] = {}
        for actions in (MOST, MANY):
            lines = (
                ({"recipients": [domain(n)]}, f"smtp://192.0.2.9:{n + 1}") for n in range(actions)
            )
            mta = Mta(stack, RoutingTable(1, rules=rules_of(lines)))
            runs[f"{actions} actions, the last one's"] = rcpt(mta, domain(actions - 1))
        runs["one static line"] = rcpt(static(stack), domain(1))
        limits = dict(zip(runs, (Limit(more=4), Limit(more=1.5)), strict=False))
        return interleave("one recipient through the walk", "wall ms a RCPT", runs, limits=limits)


def static(stack: ExitStack) -> Mta:
    """An smtpd with a single line of rules, its operator's own."""
    lines = (
        'action "out" relay host "smtp://192.0.2.9:2000"',
        'match from any for any action "out"',
    )
    return Mta(stack, settings=operator(*lines, include=""))


def rcpt(mta: Mta, to: str, recipients: int = _RECIPIENTS) -> Callable[[], float]:
    """Start an smtpd; what measures a RCPT of it."""
    mta.start(f"u@{to}")
    return lambda: statistics.median(mta.ask([f"u{n}@{to}" for n in range(recipients)]))
