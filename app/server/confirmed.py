"""The routing that each MTA confirmed: what its agent saw in force, had back from the journal."""

import asyncio
from collections.abc import Awaitable, Callable

from app.routing.errors import ControlError, Unknown
from app.routing.routing_table import RoutingTable
from app.server.fleet import Fleet
from app.server.live import Live
from app.server.sight import Served


class NothingConfirmed(ControlError):
    """Which routing an MTA serves is not known."""

    code = "nothing-confirmed"


class Confirmed:
    """Remembers the routing of each revision that an MTA serves and that is not the head.

    A question about an MTA that serves the head, or that was asked about before, waits for nothing.
    """

    def __init__(
        self, live: Live, fleet: Fleet, table_at: Callable[[int], Awaitable[RoutingTable]]
    ) -> None:
        self._live = live
        self._fleet = fleet
        self._table_at = table_at
        self._tables: dict[Served, RoutingTable] = {}
        self._at_work = asyncio.Lock()

    async def of(self, mta: str) -> RoutingTable:
        """The routing that an MTA serves, as its agent last saw it.

        Raises:
            Unknown: there is no such MTA.
            NothingConfirmed: its agent said nothing of the kind, or something that cannot be.
            RevisionPruned: it serves a revision that was forgotten since.
        """
        snapshot = self._live.current()
        served = self._served(mta, snapshot.history)
        if served == (snapshot.history, snapshot.revision):
            return snapshot.table
        known = self._tables.get(served)
        if known is not None:
            return known
        async with self._at_work:
            if served not in self._tables:
                self._tables = {**self._in_use(), served: await self._read(served)}
            return self._tables[served]

    def _served(self, mta: str, history: str) -> Served:
        row = self._fleet.report(mta)
        if row is None:
            raise NothingConfirmed(
                "no agent has reported for this MTA yet; without mta the newest routing is asked"
            )
        observed = row.report.observed
        if observed is None:
            raise NothingConfirmed(
                "this MTA serves nothing of ours yet: push to it, or ask the newest routing"
                " without mta"
            )
        if observed.history != history:
            raise NothingConfirmed(
                "this MTA serves a revision of another history: the database was restored or"
                " replaced since; push to it"
            )
        return (observed.history, observed.revision)

    async def _read(self, served: Served) -> RoutingTable:
        _, revision = served
        try:
            return await self._table_at(revision)
        except Unknown:
            raise NothingConfirmed(
                "this MTA says that it serves a revision which this database does not have; push"
                " to it"
            ) from None

    def _in_use(self) -> dict[Served, RoutingTable]:
        """What is remembered and still served somewhere."""
        rows = (self._fleet.report(mta) for mta in self._fleet.names())
        seen = (None if row is None else row.report.observed for row in rows)
        kept = {(each.history, each.revision) for each in seen if each is not None}
        return {served: table for served, table in self._tables.items() if served in kept}
