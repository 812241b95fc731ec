"""What a push wants: the model of its revision, however much was edited since.

The model is not stored a second time with each push: it is had back by undoing, from the routing
as it is, what the journal says was done since. That costs as much as was edited, shares everything
else in memory, and the journal keeps each revision that an MTA is still to serve.

An agent that has a model of this history already is told what changed since, which the journal says
too: that costs as much as changed, whatever the model holds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from pydantic import JsonValue

from app.observe import failure
from app.routing.change import Change, apply, invert
from app.routing.delta import MAX_DELTA, Delta, delta_of
from app.routing.errors import RevisionPruned, Unknown
from app.routing.model import model_digest, model_json
from app.routing.routing_table import RoutingTable
from app.routing.uses import labels_in_use
from app.server.lines import Pin
from app.server.live import Live
from app.server.storage import PushRow, Store
from app.wire import Have, SecretMessage, Wanted

_MOST_REVISIONS = 1_000
"""Behind the head: an agent that has an older model is given the whole."""

_Key = tuple[str, int]
"""History and revision."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """A revision that is wanted somewhere.

    Attributes:
        labels: the revision of each credential that its rules use, by label.
    """

    pin: Pin
    table: RoutingTable = field(repr=False)
    labels: Mapping[str, int]

    @property
    def key(self) -> _Key:
        """What tells it from others."""
        return (self.pin.history, self.pin.revision)


@dataclass(frozen=True, slots=True)
class Offer:
    """What an agent is given of a push.

    Attributes:
        wanted: all of it but the model.
        model: as JSON, in parts; a million entries are dozens of megabytes.
    """

    wanted: Wanted
    model: tuple[bytes, ...] = field(repr=False)

    def json(self) -> Iterator[bytes]:
        """The message, in parts, which end in a newline."""
        rest = self.wanted.model_dump_json(exclude={"model"})
        yield f'{rest[:-1]},"model":'.encode()
        yield from self.model
        yield b"}\n"


_NO_MODEL = (b"{}",)
_PART = 1 << 18
"""Octets of a model that are sent at a time."""


def _written(table: RoutingTable) -> tuple[bytes, ...]:
    parts: list[bytes] = []
    part = bytearray()
    for piece in model_json(table):
        part += piece.encode()
        if len(part) >= _PART:
            parts.append(bytes(part))
            part.clear()
    return (*parts, bytes(part))


class Pins:
    """Has the models of pushes back from the journal, and keeps those that are wanted now."""

    def __init__(
        self, store: Store, live: Live, table_at: Callable[[int], Awaitable[RoutingTable]]
    ) -> None:
        self._store = store
        self._live = live
        self._table_at = table_at
        self._pinned: dict[_Key, Pinned] = {}
        self._documents: dict[_Key, tuple[bytes, ...]] = {}
        self._deltas: dict[_Key, dict[Have, Delta]] = {}
        self._at_work = asyncio.Lock()

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
            # A thread, since to digest a big model for the first time takes a while.
            self._pinned[key] = await asyncio.to_thread(_pinned, push, table)
        return self._pinned[key]

    def keep(self, wanted: Mapping[str, PushRow]) -> None:
        """Let go of every revision but these."""
        kept = {(push.history, push.revision) for push in wanted.values()}
        self._pinned = {key: value for key, value in self._pinned.items() if key in kept}
        self._documents = {key: each for key, each in self._documents.items() if key in kept}
        self._deltas = {key: each for key, each in self._deltas.items() if key in kept}

    async def offer(self, push: PushRow, pinned: Pinned, have: Have | None) -> Offer | None:
        """What an agent is given of a push; None where a password is no longer what it was."""
        delta = None if have is None else await self.delta(pinned, have)
        secrets = await self.secrets(pinned, None if delta is None else delta.labels)
        if secrets is None:
            return None
        # Not looked through again for each of a thousand agents: it is our own.
        wanted = Wanted.model_construct(
            push=push.id,
            history=pinned.pin.history,
            revision=pinned.pin.revision,
            model_digest=pinned.pin.model_digest,
            model={},
            base=None if delta is None or have is None else have.digest,
            changes=[] if delta is None else cast("list[dict[str, JsonValue]]", list(delta.rows)),
            secrets=secrets,
        )
        return Offer(wanted, await self.document(pinned) if delta is None else _NO_MODEL)

    async def document(self, pinned: Pinned) -> tuple[bytes, ...]:
        """The whole model as JSON, in parts."""
        async with self._at_work:  # a fleet asks at once
            if pinned.key not in self._documents:
                # A thread, since a big model takes a while to write down.
                self._documents[pinned.key] = await asyncio.to_thread(_written, pinned.table)
            return self._documents[pinned.key]

    async def delta(self, pinned: Pinned, have: Have) -> Delta | None:
        """What makes a pinned model of the one that an agent has.

        None where the whole is to be given: that one is not ours, or newer, or too much changed
        since, or the journal has forgotten it.
        """
        async with self._at_work:  # a fleet asks at once, and mostly for the same
            known = self._deltas.setdefault(pinned.key, {})
            found = known.get(have) or await self._delta(pinned, have)
            if found is not None:
                known[have] = found
            return found

    async def _delta(self, pinned: Pinned, have: Have) -> Delta | None:
        now = self._live.current().table
        if have.history != pinned.pin.history or have.revision > pinned.pin.revision:
            return None
        try:
            if not await self._is_little(have.revision, now.revision):
                return None
            since = await self._store.changes_since(have.revision, now.revision)
        except (RevisionPruned, Unknown):
            return None
        return await asyncio.to_thread(_delta_since, pinned, have, now, since)

    async def _is_little(self, revision: int, head: int) -> bool:
        """Whether few enough changes were made since a revision, without reading them."""
        count = head - revision
        if count > _MOST_REVISIONS:
            return False
        rows = await self._store.revisions(count, head + 1) if count else ()
        return sum(row.change_count for row in rows) <= MAX_DELTA

    async def secrets(
        self, pinned: Pinned, labels: Collection[str] | None = None
    ) -> list[SecretMessage] | None:
        """The secrets that a model names; None where one of them is no longer what it was.

        A later password may be allowed for other hosts than those that this model sends it to.

        Args:
            pinned: the model.
            labels: those that are to be sent; None for all. The others are not opened.
        """
        sent = {
            label: revision
            for label, revision in pinned.labels.items()
            if labels is None or label in labels
        }
        present = self._live.current().table.credentials
        for label, revision in pinned.labels.items() - sent.items():
            if label not in present or present[label].revision != revision:
                return None
        if not sent:
            return []
        found = await self._store.secrets(sent.keys())
        if {each.label: each.revision for each in found} != sent:
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
    used = labels_in_use(table)
    return Pinned(
        Pin(push.history, push.revision, model_digest(table)),
        table,
        {each.label: each.revision for each in table.credentials.values() if each.label in used},
    )


def _delta_since(
    pinned: Pinned, have: Have, now: RoutingTable, since: Sequence[Change]
) -> Delta | None:
    then = apply(now, invert(since), have.revision)
    if model_digest(then) != have.digest:
        return None
    delta = delta_of(then, pinned.table, (change.subject for change in since))
    return delta if len(delta.rows) <= MAX_DELTA else None
