"""Every finding of the routing as it is: the core's, and what each MTA of the fleet cannot do."""

import asyncio
from collections.abc import Iterable, Mapping

from app.render.opensmtpd.rows import Ability
from app.routing.check import Finding, Severity, findings
from app.routing.routing_table import RoutingTable
from app.server.fleet import Fleet
from app.server.judge import Judge

NOT_EXPRESSIBLE = "not-expressible"
Found = Mapping[str, tuple[Finding, ...]]
"""Findings by their subject."""


class FindingBook:
    """Finds once for each routing and each fleet; the newest result is remembered."""

    def __init__(self, fleet: Fleet, judge: Judge) -> None:
        self._fleet = fleet
        self._judge = judge
        self._key: tuple[RoutingTable, Mapping[str, Ability]] | None = None
        self._found: tuple[Finding, ...] = ()
        self._by_subject: dict[str, tuple[Finding, ...]] = {}
        self._at_work = asyncio.Lock()

    async def of(self, table: RoutingTable) -> tuple[Finding, ...]:
        """Every finding of a routing, those of single MTAs last."""
        await self._look(table)
        return self._found

    async def by_subject(self, table: RoutingTable) -> Found:
        """The findings of a routing by what they are about; subjects without one are not there."""
        await self._look(table)
        return self._by_subject

    async def not_expressible(self, table: RoutingTable) -> tuple[Finding, ...]:
        """What each MTA cannot do of a routing, by what its agent last said."""
        abilities = self._fleet.abilities()
        known = await self._judge.reasons(table, abilities.values())
        found = [
            Finding(NOT_EXPRESSIBLE, Severity.WARNING, reason.subject, "", reason.detail, mta=mta)
            for mta, ability in abilities.items()
            for reason in known[ability]
        ]
        return tuple(sorted(found, key=lambda finding: (finding.mta or "", finding.subject)))

    async def _look(self, table: RoutingTable) -> None:
        async with self._at_work:
            abilities = self._fleet.abilities()
            if self._key is not None and self._key[0] is table and self._key[1] == abilities:
                return
            # In a thread: with thousands of rules it takes a second, and questions go on.
            own = await asyncio.to_thread(findings, table)
            self._found = (*own, *await self.not_expressible(table))
            self._by_subject = _by_subject(self._found)
            self._key = (table, abilities)


def _by_subject(found: Iterable[Finding]) -> dict[str, tuple[Finding, ...]]:
    grouped: dict[str, list[Finding]] = {}
    for finding in found:
        grouped.setdefault(finding.subject, []).append(finding)
    return {subject: tuple(findings) for subject, findings in grouped.items()}
