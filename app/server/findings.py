"""Every finding of the routing as it is: the core's, what MTAs cannot do, what is down there."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from app.render.opensmtpd.rows import Ability
from app.routing.change import Kind, Subject
from app.routing.check import ALL_DOWN, Finding, Severity, findings, is_all_down
from app.routing.routing_table import RoutingTable, StateKey
from app.server.fleet import Fleet
from app.server.judge import Judge

NOT_EXPRESSIBLE = "not-expressible"
Found = Mapping[str, tuple[Finding, ...]]
"""Findings by their subject."""


class FindingBook:
    """Finds once for each routing and each fleet; the newest result is remembered.

    What is down changes by the minute and is looked at each time.
    """

    def __init__(self, fleet: Fleet, judge: Judge, now: Callable[[], datetime]) -> None:
        self._fleet = fleet
        self._judge = judge
        self._now = now
        self._key: tuple[RoutingTable, Mapping[str, Ability]] | None = None
        self._lasting: tuple[Finding, ...] = ()
        self._down: Mapping[str, frozenset[StateKey]] = {}
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

    async def of_mtas(self, table: RoutingTable) -> tuple[Finding, ...]:
        """What single MTAs cannot do of a routing, and what is down there."""
        return (*await self._not_expressible(table), *_all_down(table, self._down_now()))

    def _down_now(self) -> Mapping[str, frozenset[StateKey]]:
        """The relays that are down, by each MTA that sees some so."""
        now = self._now()
        seen = ((mta, self._fleet.sight(mta, now).down) for mta in self._fleet.names())
        return {mta: down for mta, down in seen if down}

    async def _not_expressible(self, table: RoutingTable) -> tuple[Finding, ...]:
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
            abilities, down = self._fleet.abilities(), self._down_now()
            key = (table, abilities)
            known = self._key is not None and self._key[0] is table and self._key[1] == abilities
            if known and self._down == down:
                return
            if not known:
                # In a thread: with thousands of rules it takes a second, and questions go on.
                own = await asyncio.to_thread(findings, table)
                self._lasting = (*own, *await self._not_expressible(table))
            self._found = (*self._lasting, *_all_down(table, down))
            self._by_subject = _by_subject(self._found)
            self._key, self._down = key, down


def _all_down(table: RoutingTable, down: Mapping[str, frozenset[StateKey]]) -> Iterator[Finding]:
    """Each map all of whose relays in service are down at an MTA, which then ignores health."""
    detail = "every relay in service is down, as this MTA sees it: it ignores health for this map"
    for mta, keys in down.items():
        for name in sorted({name for name, _ in keys} & table.maps.keys()):
            if is_all_down(table, table.maps[name], keys):
                subject = str(Subject(Kind.RELAY_MAP, name))
                yield Finding(ALL_DOWN, Severity.WARNING, subject, "/relays", detail, mta=mta)


def _by_subject(found: Iterable[Finding]) -> dict[str, tuple[Finding, ...]]:
    grouped: dict[str, list[Finding]] = {}
    for finding in found:
        grouped.setdefault(finding.subject, []).append(finding)
    return {subject: tuple(findings) for subject, findings in grouped.items()}
