"""How long smtpd takes to start where its table has a million entries, against ten.

Needs root and OpenSMTPD.
"""

from contextlib import ExitStack

from bench.asking import Mta, entries, keyed
from bench.rounds import Figure, Limit, interleave

MANY, FEW = 1_000_000, 10


def measure() -> Figure:
    """Seconds from the start of smtpd until it has taken a recipient."""
    with ExitStack() as stack:
        mtas = {f"{count:,} entries": Mta(stack, keyed(entries(count))) for count in (MANY, FEW)}
        for mta in mtas.values():
            mta.start()
        runs = {name: mta.restart for name, mta in mtas.items()}
        limits = {f"{MANY:,} entries": Limit(more=1)}
        return interleave(
            "start of smtpd until a recipient is taken", "wall s", runs, rounds=5, limits=limits
        )
