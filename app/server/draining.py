"""How each MTA sees a relay, and whether a relay that is out can be deleted.

It is safe to delete once nothing goes to it any more and nothing will: every MTA served it as out
for a whole minute, it was never active between what they serve and the newest routing, and a recent
report of each said that for a minute there was neither a session with it nor mail for it. Who says
nothing, or does not know, is never a yes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from app.routing.change import Change, Kind, one_by_one
from app.routing.errors import RevisionPruned, Unknown
from app.routing.routing_table import StateKey
from app.server.fleet import Fleet, is_heard
from app.server.live import Snapshot
from app.server.sight import QUIET_FOR, Served, Sight
from app.server.storage import ReportRow, Store
from app.wire import RelayHealth, RelaySeen


@dataclass(frozen=True, slots=True)
class RelayView:
    """A relay, as one MTA sees it.

    Attributes:
        said: what its agent last said of it; None where it said nothing, or nothing of late.
        row: the last report; None where there was none.
        safe: whether nothing there needs the relay any more; None where it is in service.
        detail: why its health is not known, or why it is not safe; "" where there is nothing to
            say.
    """

    mta: str
    said: RelaySeen | None
    row: ReportRow | None
    safe: bool | None
    detail: str

    @property
    def health(self) -> RelayHealth:
        """Whether mail can be handed to it from there."""
        return RelayHealth.UNKNOWN if self.said is None else self.said.state


@dataclass(frozen=True, slots=True)
class Watch:
    """One MTA, at the moment that it is asked about relays.

    Attributes:
        row: what its agent last said; None where it never did.
        heard: whether that is recent.
        served: all that it served in the last minute; None where that is not known.
    """

    mta: str
    row: ReportRow | None
    heard: bool
    sight: Sight
    served: frozenset[Served] | None

    def view(self, key: StateKey, moved: frozenset[StateKey] | None, *, out: bool) -> RelayView:
        """How a relay looks from there.

        Args:
            key: which.
            moved: the relays that were, or may yet be, in another state there than now; None
                where that is not known.
            out: whether the relay is out of service.
        """
        said = self.sight.relays.get(key)
        silence = self._silence(said)
        if not out:
            return RelayView(self.mta, said, self.row, None, silence or "")
        held = silence or _not_out(key, moved) or self._held(said)
        return RelayView(self.mta, said, self.row, held is None, held or "")

    def _silence(self, said: RelaySeen | None) -> str | None:
        """Why nothing is known of a relay; None where something is."""
        if self.row is None:
            return "no agent has reported for this MTA yet"
        if not self.heard:
            return "its agent has fallen silent"
        if not self.row.report.live:
            return "it does not ask the table program, and sees no relays"
        return "its agent does not say anything about this relay" if said is None else None

    def _held(self, said: RelaySeen | None) -> str | None:
        """What there still is for a relay, or was a moment ago; None for nothing."""
        if self.row is None or said is None or None in {said.sessions, said.envelopes}:
            return "what it has for this relay is not known"
        if said.sessions:
            return f"sessions that are open: {said.sessions}"
        if said.envelopes:
            return f"envelopes that wait for it: {said.envelopes}"
        ends = self.row.seen_at - QUIET_FOR
        if said.quiet_since is None or said.quiet_since > ends.timestamp():
            return "nothing is left, but for less than a minute"
        return None


def _not_out(key: StateKey, moved: frozenset[StateKey] | None) -> str | None:
    """Why an MTA may still pick a relay that is out; None: it does not."""
    if moved is None:
        return "which routing it served during the last minute is not known"
    if key in moved:
        return "it has not served the relay as out for a whole minute: wait, and push if need be"
    return None


class Draining:
    """Asks the fleet about relays, and the journal where an MTA does not serve the head."""

    def __init__(self, store: Store, fleet: Fleet, now: Callable[[], datetime]) -> None:
        self._store = store
        self._fleet = fleet
        self._now = now
        self._read: dict[tuple[str, int, int], frozenset[StateKey]] = {}

    async def views(
        self, snapshot: Snapshot, keys: Iterable[StateKey]
    ) -> dict[StateKey, list[RelayView]]:
        """How each of these relays looks from each MTA, by name; empty lists without any MTA."""
        asked = tuple(keys)
        out = frozenset(asked) & snapshot.table.states.keys()
        found: dict[StateKey, list[RelayView]] = {key: [] for key in asked}
        for watch in tuple(self._watches()):
            moved = await self._moved(watch, snapshot) if out else None
            for key in asked:
                found[key].append(watch.view(key, moved, out=key in out))
        return found

    def _watches(self) -> Iterator[Watch]:
        now = self._now()
        for mta in self._fleet.names():
            row = self._fleet.report(mta)
            heard = row is not None and is_heard(row, now)
            sight = self._fleet.sight(mta, now)
            yield Watch(mta, row, heard, sight, self._fleet.last_minute(mta))

    async def _moved(self, watch: Watch, snapshot: Snapshot) -> frozenset[StateKey] | None:
        if watch.served is None:
            return None
        if any(history != snapshot.history for history, _ in watch.served):
            return None
        revisions = {revision for _, revision in watch.served}
        if max(revisions) > snapshot.revision:
            return None
        return await self._changed_since(min(revisions), snapshot)

    async def _changed_since(self, revision: int, snapshot: Snapshot) -> frozenset[StateKey] | None:
        """The relays that went out or came back between a revision and the head; None: pruned."""
        if revision == snapshot.revision:
            return frozenset()
        key = (snapshot.history, revision, snapshot.revision)
        if key in self._read:
            return self._read[key]
        try:
            changes = await self._store.changes_since(revision, snapshot.revision)
        except (RevisionPruned, Unknown):
            return None
        moved = frozenset(_moves(changes))
        kept = {known: found for known, found in self._read.items() if known[2] == key[2]}
        self._read = {**kept, key: moved}
        return moved


def _moves(changes: Iterable[Change]) -> Iterator[StateKey]:
    for change in one_by_one(changes):
        subject = change.subject
        if subject.kind is Kind.RELAY_STATE and (change.before is None or change.after is None):
            yield (subject.name, subject.member)
