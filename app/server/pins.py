"""What a push wants: the model of its revision, however much was edited since.

The model is not stored a second time with each push: it is had back by undoing, from the routing
as it is, what the journal says was done since. That costs as much as was edited, shares everything
else in memory, and the journal keeps each revision that an MTA is still to serve.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from app.observe import failure
from app.routing.document import digest
from app.routing.errors import RevisionPruned, Unknown
from app.routing.model import model_document
from app.routing.routing_table import RoutingTable
from app.routing.uses import labels_in_use
from app.server.lines import Pin
from app.server.live import Live
from app.server.storage import PushRow, Store
from app.wire import SecretMessage


@dataclass(frozen=True, slots=True)
class Pinned:
    """A revision that is wanted somewhere.

    Attributes:
        document: the model.
        labels: the revision of each credential that its rules use, by label.
    """

    pin: Pin
    table: RoutingTable = field(repr=False)
    document: dict[str, JsonValue] = field(repr=False)
    labels: Mapping[str, int]


class Pins:
    """Has the models of pushes back from the journal, and keeps those that are wanted now."""

    def __init__(
        self, store: Store, live: Live, table_at: Callable[[int], Awaitable[RoutingTable]]
    ) -> None:
        self._store = store
        self._live = live
        self._table_at = table_at
        self._pinned: dict[tuple[str, int], Pinned] = {}

    async def pin(self, push: PushRow) -> Pinned | None:
        """What a push wants; None where that cannot be told: another history, or pruned."""
        if push.history != self._live.current().history:
            return None
        key = (push.history, push.revision)
        if key not in self._pinned:
            try:
                table = await self._table_at(push.revision)
            except (RevisionPruned, Unknown):
                failure("push-without-model", push=push.id, revision=push.revision)
                return None
            # A thread, since a big model takes a while to write down and to digest.
            self._pinned[key] = await asyncio.to_thread(_pinned, push, table)
        return self._pinned[key]

    def keep(self, wanted: Mapping[str, PushRow]) -> None:
        """Let go of every revision but these."""
        kept = {(push.history, push.revision) for push in wanted.values()}
        self._pinned = {key: value for key, value in self._pinned.items() if key in kept}

    async def secrets(self, pinned: Pinned) -> list[SecretMessage] | None:
        """The secrets that a model names; None where one of them is no longer what it was.

        A later password may be allowed for other hosts than those that this model sends it to.
        """
        if not pinned.labels:
            return []
        found = await self._store.secrets(pinned.labels.keys())
        if {each.label: each.revision for each in found} != pinned.labels:
            return None
        return [
            SecretMessage(
                label=each.label,
                revision=each.revision,
                username=each.username,
                password=each.password,
            )
            for each in found
        ]


def _pinned(push: PushRow, table: RoutingTable) -> Pinned:
    document = model_document(table)
    used = labels_in_use(table)
    return Pinned(
        Pin(push.history, push.revision, digest(document)),
        table,
        document,  # type: ignore[arg-type]
        {each.label: each.revision for each in table.credentials.values() if each.label in used},
    )
