"""What smtpd starts for many relay maps, each of which is a table that it asks: 200, 50, one.

Needs root and OpenSMTPD.
"""

from contextlib import ExitStack

from app.routing.document import read_relay_map
from app.routing.routing_table import RoutingTable
from bench.asking import Mta, domain, own_memory, rules_of
from bench.rounds import Figure, interleave

_COUNTS = (200, 50, 1)


def measure() -> Figure:
    """Seconds from the start of smtpd until it has taken a recipient; and its processes."""
    with ExitStack() as stack:
        mtas = {
            f"{count} maps" if count > 1 else "one map": Mta(stack, _routing(count))
            for count in _COUNTS
        }
        for mta in mtas.values():
            mta.start()
        runs = {name: mta.restart for name, mta in mtas.items()}
        figure = interleave(
            "start of smtpd until a recipient is taken, by maps", "wall s", runs, rounds=3
        )
        return figure.noting(*(_processes(name, mta) for name, mta in mtas.items()))


def _processes(name: str, mta: Mta) -> str:
    own = sorted(own_memory(pid)[0] for pid in mta.programs())
    each = " and ".join(f"{memory:.1f}" for memory in reversed(own))
    return (
        f"{name}: {len(own)} processes for tables, with {each} MB of their own;"
        f" {len(mta.smtpd.pids())} of smtpd"
    )


def _routing(count: int) -> RoutingTable:
    relays = [{"url": f"smtp://192.0.2.{n}"} for n in (1, 2, 3)]
    maps = [read_relay_map({"name": f"pool{n}", "relays": relays}) for n in range(count)]
    lines = [({"recipients": [domain(n)]}, f"map:{one.name}") for n, one in enumerate(maps)]
    return RoutingTable(1, maps={one.name: one for one in maps}, rules=rules_of(lines))
