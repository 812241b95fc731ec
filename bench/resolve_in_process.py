"""Resolution in this process, addresses read: 10,000 rules against 100, and against plain scans.

Half of the questions match a rule, and half find their recipient's domain among a million entries.
Each is asked in full (every candidate, no trace) and in short (outcome, rule, relay URL). The scans
look at one rule after the other: as the tests do, and with the conditions of the program, which
`explain` asks for. Their questions are for rules spread evenly, so the median is in the middle.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice

from app.routing.envelope import Envelope, parse_mail_address
from app.routing.resolve import brief, resolve
from app.routing.route import Draw
from app.routing.routing_table import RoutingTable
from bench.rounds import Figure, Limit, interleave
from bench.routings import asked, envelopes, large, routing
from tests.oracle import Chance, Letter, Routing
from tests.unit.routing.plain import documents

RULES, FEW, ENTRIES = 10_000, 100, 1_000_000
_QUESTIONS = 20_000
_SCANNED = 20
_UP: frozenset[tuple[str, str]] = frozenset()
_DRAW = Draw(1)

Texts = Sequence[tuple[str, str]]


def measure() -> Sequence[Figure]:
    """CPU a question, in microseconds."""
    return [_growth(), _scans()]


def _growth() -> Figure:
    many, few = large(RULES, ENTRIES), large(FEW, ENTRIES)
    of_many, of_few = asked(RULES, ENTRIES, _QUESTIONS), asked(FEW, ENTRIES, _QUESTIONS)
    answers = dict(of_many)
    return interleave(
        f"resolve in process, {ENTRIES:,} entries",
        "CPU µs a question",
        {
            f"{RULES:,} rules": partial(_timed, _QUESTIONS, partial(_in_full, many, of_many)),
            f"{RULES:,} rules, in short": partial(
                _timed, _QUESTIONS, partial(_in_short, many, of_many)
            ),
            f"{FEW} rules, in short": partial(_timed, _QUESTIONS, partial(_in_short, few, of_few)),
            "dict look-up of the sender": partial(
                _timed, _QUESTIONS, partial(_look_up, answers, of_many)
            ),
            f"{FEW} rules": partial(_timed, _QUESTIONS, partial(_in_full, few, of_few)),
        },
        limits={
            f"{RULES:,} rules": Limit(times=2),
            f"{RULES:,} rules, in short": Limit(times=2, against=f"{FEW} rules, in short"),
        },
    )


def _scans() -> Figure:
    table = routing(RULES)
    spread = envelopes(RULES, _SCANNED)
    written = documents(table)
    letters = [Letter(str(each.sender), str(each.recipient)) for each in spread]
    explained = partial(_ask, partial(resolve, explain=True), table, spread)
    filed = partial(_ask, resolve, table, tuple(islice(cycle(spread), _QUESTIONS)))
    return interleave(
        f"resolve in process against plain scans, {RULES:,} rules",
        "CPU µs a question",
        {
            "scan of the tests": partial(_timed, _SCANNED, partial(_scan, written, letters)),
            "scan by the program's conditions": partial(_timed, _SCANNED, explained),
            "filed rules": partial(_timed, _QUESTIONS, filed),
        },
        limits=dict.fromkeys(
            ("scan of the tests", "scan by the program's conditions"), Limit(least_times=300)
        ),
    )


def _timed(questions: int, ask: Callable[[], None]) -> float:
    started = time.process_time()
    ask()
    return (time.process_time() - started) / questions * 1e6


def _draw(_: str) -> Draw:
    return _DRAW


def _in_full(table: RoutingTable, texts: Texts) -> None:
    for sender, recipient in texts:
        envelope = Envelope(parse_mail_address(sender), parse_mail_address(recipient))
        resolve(table, envelope, _UP, _draw)


def _in_short(table: RoutingTable, texts: Texts) -> None:
    for sender, recipient in texts:
        envelope = Envelope(parse_mail_address(sender), parse_mail_address(recipient))
        brief(table, envelope, _UP, _draw)


def _ask(how: Callable[..., object], table: RoutingTable, asked_about: Sequence[Envelope]) -> None:
    for envelope in asked_about:
        how(table, envelope, _UP, _draw)


def _look_up(answers: dict[str, str], texts: Texts) -> None:
    for sender, _ in texts:
        answers[sender]


def _scan(written: Routing, letters: Sequence[Letter]) -> None:
    rules = written.in_order()  # once in all: the patterns are ready
    for letter in letters:
        written.resolve(letter, Chance(1), rules)
