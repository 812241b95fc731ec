"""One look-up among 100,000 entries, against smtpd's own file table, which it reads line by line.

Needs root and OpenSMTPD. Wall time would say who else runs: what counts is the processor time of
who looks up, here the table program, there smtpd's own process for it.
"""

import random
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.asking import ACTION, Mta, cpu_s, domain, entries, keyed, write
from bench.program import asked
from bench.rounds import Figure, Limit, interleave
from bench.walk import static
from tests.mta.agents.machine import operator

_ENTRIES = 100_000
_KEYS = 250
_FILE = "/run/bed/entries"
_OURS, _THEIRS = "asked", "file table, of the domain of a RCPT"


def measure() -> Figure:
    """Milliseconds of processor time a random key, the mean of a thousand."""
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

        def ours() -> float:
            before = cpu_s(program.pid)
            program.look_up(keys())
            return (cpu_s(program.pid) - before) / _KEYS * 1e3

        return interleave(
            f"one look-up among {_ENTRIES:,} entries",
            "CPU ms of who looks up",
            {_OURS: ours, _THEIRS: lambda: _of_smtpd(filed, keys()) - _of_smtpd(bare, keys())},
            rounds=4,
            limits={_OURS: Limit(times=0.01)},
        )


def _of_smtpd(mta: Mta, keys: list[str]) -> float:
    pids = mta.smtpd.pids()
    looks_up = next(p for p in pids if b"lookup" in Path(f"/proc/{p}/cmdline").read_bytes())
    before = cpu_s(looks_up)
    mta.ask([f"u@{key}" for key in keys])
    return (cpu_s(looks_up) - before) / len(keys) * 1e3


def _file_table(stack: ExitStack) -> Mta:
    lines = (
        'action "out" relay host "smtp://192.0.2.9:2000"',
        f'table entries "file:{_FILE}"',
        'match from any for domain <entries> action "out"',
    )
    text = "".join(f"{domain(number)}\n" for number in range(_ENTRIES))
    return Mta(stack, settings=operator(*lines, include=""), files={_FILE: text})
