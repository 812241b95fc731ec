"""From a relay's new weight over HTTP to smtpd asked from it: among a million entries, against ten.

Needs root and OpenSMTPD: it runs real servers, agents and smtpd in namespaces of their own.
"""

import asyncio
import shutil
import tempfile
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from bench.patch_to_delta import fill
from bench.rounds import Figure, Limit, interleave
from tests.mta.agents import table_program
from tests.mta.agents.fleet import MTA, SERVER_DIR, Fleet
from tests.mta.agents.machine import A, Machine
from tests.mta.bed.namespace import Namespace

MANY, FEW = 1_000_000, 10
_PUSHES = 11
_FIRST_LIMIT_S = 600


def measure() -> Figure:
    """Wall time of one PATCH with its push until it is applied, the median of some."""
    with ExitStack() as stack:
        sites = {entries: _Site(stack, entries) for entries in (MANY, FEW)}
        return interleave(
            "PATCH of a relay and push until the MTA is asked from it",
            "wall ms, p50",
            {f"among {entries:,} entries": site.pushes for entries, site in sites.items()},
            rounds=3,
            limits={f"among {MANY:,} entries": Limit(times=3)},
        )


class _Site:
    """A server with a table of so many entries, and an MTA that serves them."""

    def __init__(self, stack: ExitStack, entries: int) -> None:
        namespace = stack.enter_context(Namespace.open())
        Machine.open(namespace, A)
        table_program.install(namespace)
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(fill(Path(folder), entries))
            shutil.copytree(folder, namespace.outside(SERVER_DIR))
        self._weights = count(1)
        self._fleet = Fleet.open(namespace)
        self._fleet.start_server()
        self._fleet.enroll()
        self._fleet.start_agent(RELAYMAP_AGENT_APPLY_LIMIT_S=str(_FIRST_LIMIT_S))
        self._first()

    def _first(self) -> None:
        number = self._fleet.good("POST", "/v1/pushes", {})["id"]
        limit = time.monotonic() + _FIRST_LIMIT_S
        while (push := self._fleet.good("GET", f"/v1/pushes/{number}"))["state"] == "running":
            if time.monotonic() > limit:
                raise RuntimeError("the first push did not end")
            time.sleep(0.1)
        if push["state"] != "applied":
            raise RuntimeError(f"the first push: {push['mtas']}")

    def pushes(self) -> float:
        """The median of some pushes, in milliseconds."""
        spent = []
        for _ in range(_PUSHES):
            body = {"weight": next(self._weights) % 100 + 1}
            started = time.perf_counter()
            path = "/v1/relay-maps/pool/relays/mx1.example.net?push=wait"
            self._fleet.good("PATCH", path, body)
            spent.append((time.perf_counter() - started) * 1e3)
        if self._fleet.good("GET", f"/v1/mtas/{MTA}/status")["state"] != "live":
            raise RuntimeError("the MTA is not live")
        return sorted(spent)[_PUSHES // 2]
