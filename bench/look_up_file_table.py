"""One look-up among 100,000 entries, against smtpd's own file table, which it reads line by line.

Needs root and OpenSMTPD.
"""

import random
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.asking import ACTION, Mta, domain, entries, keyed, write
from bench.program import asked
from bench.rounds import Figure, Limit, interleave
from bench.walk import static
from tests.mta.agents.machine import operator

_ENTRIES = 100_000
_KEYS = 250
_FILE = "/run/bed/entries"


def measure() -> Figure:
    """What smtpd waits for a random key, in milliseconds, the mean of some."""
    chance = random.Random(1)
    with ExitStack() as stack:
        state_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write(keyed(entries(_ENTRIES)), state_dir)
        program = stack.enter_context(asked(state_dir, ACTION))
        bare, filed = static(stack), _file_table(stack)
        bare.start()
        filed.start()

        def keys() -> list[str]:
            return [domain(chance.randrange(_ENTRIES)) for _ in range(_KEYS)]

        def of_smtpd(mta: Mta) -> float:
            return statistics.mean(mta.ask([f"u@{key}" for key in keys()]))

        return interleave(
            f"one look-up among {_ENTRIES:,} entries",
            "wall ms a look-up",
            {
                "asked, there and back": lambda: program.look_up(keys()) / _KEYS * 1e3,
                "file table, what it adds to a RCPT": lambda: of_smtpd(filed) - of_smtpd(bare),
            },
            rounds=4,
            limits={"asked, there and back": Limit(times=0.01)},
        )


def _file_table(stack: ExitStack) -> Mta:
    lines = (
        'action "out" relay host "smtp://192.0.2.9:2000"',
        f'table entries "file:{_FILE}"',
        'match from any for domain <entries> action "out"',
    )
    text = "".join(f"{domain(number)}\n" for number in range(_ENTRIES))
    return Mta(stack, settings=operator(*lines, include=""), files={_FILE: text})
