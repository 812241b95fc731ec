"""What MTAs of a kind cannot say of a routing: worked out once for each kind, beside the loop."""

import asyncio
from collections.abc import Iterable, Mapping

from app.render.opensmtpd.capabilities import reasons
from app.render.opensmtpd.rows import Ability
from app.routing.errors import Reason
from app.routing.routing_table import RoutingTable

_SHOWN = 20


class Judge:
    """Remembers what it found of the newest routing that it was asked about."""

    def __init__(self) -> None:
        self._table: RoutingTable | None = None
        self._known: dict[Ability, tuple[Reason, ...]] = {}
        self._at_work = asyncio.Lock()

    async def reasons(
        self, table: RoutingTable, abilities: Iterable[Ability]
    ) -> Mapping[Ability, tuple[Reason, ...]]:
        """By kind: why it cannot say the routing; nothing where it can.

        What hangs on one MTA alone, such as the names of its certificates, its agent refuses.
        """
        async with self._at_work:
            if table is not self._table:
                self._table, self._known = table, {}
            known = self._known
            for ability in sorted(set(abilities) - known.keys()):
                # In a thread: with thousands of rules it takes a second, and questions go on.
                known[ability] = await asyncio.to_thread(
                    reasons, table, ability.version, live=ability.live
                )
            return known


def sentence(found: tuple[Reason, ...]) -> str:
    """Reasons as one sentence."""
    shown = "; ".join(f"{each.subject}: {each.detail}" for each in found[:_SHOWN])
    more = len(found) - _SHOWN
    return f"not expressible: {shown}" + (f"; and {more} more" if more > 0 else "")
