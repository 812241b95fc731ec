"""Resolution in this process, at 100 rules, against one rule and against a bare dict look-up."""

import time
from collections.abc import Callable, Sequence

from app.routing.envelope import Envelope
from app.routing.resolve import resolve
from app.routing.route import Draw
from app.routing.routing_table import RoutingTable
from bench.rounds import Figure, interleave
from bench.routings import envelopes, routing

_QUESTIONS = 2_000


def measure() -> Figure:
    """CPU a question, in microseconds."""
    hundred, one = routing(100), routing(1)
    of_hundred, of_one = envelopes(100, 100), envelopes(1, 100)
    answers = {str(envelope.sender): "pool" for envelope in of_hundred}
    return interleave(
        "resolve in process",
        "CPU µs a question",
        {
            "100 rules": lambda: _timed(lambda: _ask(hundred, of_hundred)),
            "1 rule": lambda: _timed(lambda: _ask(one, of_one)),
            "dict look-up of the sender": lambda: _timed(lambda: _look_up(answers, of_hundred)),
        },
    )


def _timed(ask: Callable[[], None]) -> float:
    started = time.process_time()
    ask()
    return (time.process_time() - started) / _QUESTIONS * 1e6


def _ask(table: RoutingTable, asked: Sequence[Envelope]) -> None:
    for number in range(_QUESTIONS):
        drawn = Draw(number)
        resolve(table, asked[number % len(asked)], frozenset(), lambda _, drawn=drawn: drawn)  # type: ignore[misc]


def _look_up(answers: dict[str, str], asked: Sequence[Envelope]) -> None:
    for number in range(_QUESTIONS):
        answers[str(asked[number % len(asked)].sender)]
