"""Processor time of the table program a look-up: in a table of a million entries, against 1,000."""

import random
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.asking import ACTION, cpu_s, domain, entries, keyed, own_memory, write
from bench.program import Asked, asked
from bench.rounds import Figure, Limit, interleave

MANY, FEW = 1_000_000, 1000
_KEYS = 5000
_MOST_MB = 25
_TIMES, _AT_ONCE = 50, 10


def measure() -> Figure:
    """Milliseconds of random keys, one question in flight; and what memory that took."""
    with ExitStack() as stack:
        programs = {}
        for count in (MANY, FEW):
            state_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            write(keyed(entries(count)), state_dir)
            programs[count] = stack.enter_context(asked(state_dir, ACTION))
        names = {count: f"among {count:,} entries" for count in programs}
        runs = {names[count]: _look_ups(each, count) for count, each in programs.items()}
        limits = {names[MANY]: Limit(times=1.5, at_most=0.15)}
        figure = interleave("one look-up", "CPU ms of the program", runs, limits=limits)
        memory, of_file = _most_memory(programs[MANY])
        missed = "" if memory <= _MOST_MB else " MISSED"
        note = (
            f"most private memory of it among {MANY:,} entries: {memory:.1f} MB, pages of the live file"
            f" {of_file:.1f} MB of that   (at most {_MOST_MB} MB{missed})"
        )
        return figure.noting(note)


def _most_memory(program: Asked) -> tuple[float, float]:
    """See `own_memory`: pages of the file come look-up by look-up, and are let go at times."""
    chance = random.Random(2)
    found = []
    for _ in range(_TIMES):
        program.look_up([domain(chance.randrange(MANY)) for _ in range(_AT_ONCE)])
        found.append(own_memory(program.pid))
    return max(found)


def _look_ups(program: Asked, count: int) -> Callable[[], float]:
    chance = random.Random(count)
    keys = [domain(chance.randrange(count)) for _ in range(_KEYS)]

    def run() -> float:
        before = cpu_s(program.pid)
        program.look_up(keys)
        return (cpu_s(program.pid) - before) / _KEYS * 1e3

    return run
