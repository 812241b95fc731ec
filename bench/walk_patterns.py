"""One recipient among 10,000 patterns, against smtpd's own regex table of the same patterns.

Needs root and OpenSMTPD.
"""

from contextlib import ExitStack

from app.routing.routing_table import RoutingTable
from bench.asking import Mta, domain, rules_of
from bench.rounds import Figure, Limit, interleave
from bench.walk import rcpt, static
from tests.mta.agents.machine import operator

_PATTERNS, _IN_A_RULE = 10_000, 1000
_FILE = "/run/bed/patterns"


def measure() -> Figure:
    """The median of one RCPT, in milliseconds."""
    asked = f"sub.{domain(_PATTERNS - 1)}"
    with ExitStack() as stack:
        runs = {
            "asked": rcpt(_asking(stack), asked, 50),
            "one static line": rcpt(static(stack), asked, 50),
            "regex table": rcpt(_regexes(stack), asked, 5),
        }
        return interleave(
            f"one recipient among {_PATTERNS:,} patterns, the last one's",
            "wall ms a RCPT",
            runs,
            rounds=5,
            limits={"asked": Limit(times=0.1)},
        )


def _asking(stack: ExitStack) -> Mta:
    lines = []
    for first in range(0, _PATTERNS, _IN_A_RULE):
        patterns = [f"*.{domain(first + number)}" for number in range(_IN_A_RULE)]
        lines.append(({"recipients": patterns}, "smtp://192.0.2.9:2000"))
    return Mta(stack, RoutingTable(1, rules=rules_of(lines)))


def _regexes(stack: ExitStack) -> Mta:
    lines = (
        'action "out" relay host "smtp://192.0.2.9:2000"',
        f'table patterns "file:{_FILE}"',
        'match from any for domain regex <patterns> action "out"',
    )
    patterns = (domain(n).replace(".", "\\.") for n in range(_PATTERNS))
    text = "".join(f"^.+\\.{pattern}$\n" for pattern in patterns)
    return Mta(stack, settings=operator(*lines, include=""), files={_FILE: text})
