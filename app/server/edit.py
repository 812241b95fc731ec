"""The only writer of routing: one edit is one revision, one transaction, one journal row."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from app import garbage
from app.routing.change import FEW, Change, apply, invert
from app.routing.check import Finding
from app.routing.errors import RevisionMoved
from app.routing.routing_table import RoutingTable
from app.routing.writes import Write
from app.server.following import newest
from app.server.live import Live, Snapshot
from app.server.proposal import Proposal, check, propose, propose_restore
from app.server.storage import Edit, Head, HeadMoved, NewSecret, OutcomeUnknown, Store

Plan = Callable[[Snapshot], Sequence[Write]]
"""What somebody wants, decided on the newest snapshot: raises where a precondition fails.

Pure: it is asked again, on a newer snapshot, when another process wrote in between.
"""

Look = Callable[[Snapshot, Sequence[Change]], None]
"""Looks, in a thread, at what is to become of a snapshot; raises where that is not meant."""

_TRIES = 3
_MUCH = 10_000
"""Changes, of which what they replace is not freed on the loop."""
_LINGER_S = 1.0
_NO_SECRETS: Mapping[str, NewSecret] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit came to.

    Attributes:
        snapshot: after it; of a dry run as it would be, but at the present head.
        changes: empty where nothing changed, and no revision was made.
        findings: the warnings of the table after it; what MTAs cannot do is not among them.
    """

    snapshot: Snapshot
    changes: Sequence[Change]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Stamp:
    author: str
    message: str
    dry_run: bool


Work = Callable[[], Proposal]
_Propose = Callable[[Snapshot], Awaitable[Work]]


def utc_now() -> datetime:
    """The server's time."""
    return datetime.now(UTC)


class Editor:
    """Takes edits one after the other, and keeps the live routing equal to the stored one.

    Attributes:
        live: the routing that questions are answered from.
    """

    def __init__(
        self, store: Store, live: Live, head: Head, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.live = live
        self._store = store
        self._head = head
        self._now = now
        self._lock = asyncio.Lock()
        self._listeners: set[asyncio.Event] = set()
        self._in_doubt = False
        self._letting_go: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, store: Store, now: Callable[[], datetime] = utc_now) -> "Editor":
        """An editor whose live routing is what the store has."""
        snapshot, head = await store.load()
        await asyncio.to_thread(snapshot.table.prepare)
        return cls(store, Live(snapshot), head, now)

    async def edit(
        self,
        plan: Plan,
        *,
        author: str,
        message: str = "",
        dry_run: bool = False,
        secrets: Mapping[str, NewSecret] = _NO_SECRETS,
        look: Look | None = None,
    ) -> Edited:
        """Make what the plan wants into a revision, or find that nothing changes.

        Rules get their ids here, credentials their revisions; what the plan put there is ignored.
        Once begun it is carried to its end, even if whoever asked goes away.

        Args:
            plan: see `Plan`.
            author: who, for the journal.
            message: why, for the journal.
            dry_run: store nothing.
            secrets: by label, for credentials that the plan puts. A credential that exists
                keeps its secret where none is given.
            look: see `Look`.

        Raises:
            Invalid: every error finding of the table as it would be. Pointers are into the body
                of the only write, or below `/changes/{n}/body` of the n-th of several.
            StillReferenced: a deleted map, table or credential would still be used.
            LimitReached: more of a kind than is promised to work.
            StorageTrouble: nothing was stored; with OutcomeUnknown, perhaps.
            ControlError: whatever the plan raises, or who looks.
        """

        async def proposed(snapshot: Snapshot) -> Work:
            writes = plan(snapshot)
            stored = await self._secrets(secrets) if secrets else secrets
            counter = self._head.rule_counter

            def work() -> Proposal:
                proposal = propose(snapshot.table, writes, counter, secrets, stored)
                if look is not None:
                    look(snapshot, proposal.changes)
                return proposal

            return work

        return await self._run(proposed, _Stamp(author, message, dry_run))

    async def restore(
        self,
        revision: int,
        *,
        author: str,
        message: str = "",
        dry_run: bool = False,
        expected: int | None = None,
    ) -> Edited:
        """Make maps, tables and rules what they were at a revision; 0 is the empty routing.

        Rules get back the ids that they had. Credentials stay, and so do the states of relays
        that are still there.

        Raises:
            Unknown: there is no such revision yet.
            RevisionPruned: a step of the way back was pruned.
            RevisionMoved: the head is not the expected one.
            CredentialMissing: labels are gone or not allowed for their hosts; all are listed.
            StorageTrouble: as `edit`.
        """

        async def proposed(snapshot: Snapshot) -> Work:
            if expected is not None and snapshot.revision != expected:
                raise RevisionMoved(snapshot.revision)
            then = await self.table_at(revision)
            counter = self._head.rule_counter
            return lambda: propose_restore(snapshot.table, then, counter)

        return await self._run(proposed, _Stamp(author, message, dry_run))

    async def table_at(self, revision: int) -> RoutingTable:
        """The routing as it was at a revision of this history, states and credentials too.

        Raises:
            Unknown: there is no such revision yet.
            RevisionPruned: a step of the way back was pruned.
        """
        table = self.live.current().table
        if table.revision == revision:
            return table
        since = await self._store.changes_since(revision, table.revision)
        # In a thread: what was imported since may be millions of entries, and questions go on.
        return await asyncio.to_thread(_undone, table, since, revision)

    async def follow(self) -> bool:
        """Take over what another process wrote; whether there was anything."""
        async with self._lock:
            head = await self._store.head()
            current = self.live.current()
            if (head.history, head.revision) == (current.history, current.revision):
                return False
            await self._reload()
        self._wake()
        return True

    @contextmanager
    def subscribe(self) -> Iterator[asyncio.Event]:
        """An event that is set after every new revision; whoever waits on it clears it first."""
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)

    async def _run(self, proposed: _Propose, stamp: _Stamp) -> Edited:
        # Shielded: what is stored must reach the live routing, though whoever asked went away.
        return await asyncio.shield(asyncio.ensure_future(self._in_turn(proposed, stamp)))

    async def _in_turn(self, proposed: _Propose, stamp: _Stamp) -> Edited:
        async with self._lock:
            for _ in range(_TRIES):
                if self._in_doubt:
                    await self._reload()
                snapshot = self.live.current()
                work, at = await proposed(snapshot), self._now()
                # In a thread: with thousands of rules, or a million entries that are put, it takes
                # long, and questions must not wait.
                proposal, edited = await asyncio.to_thread(
                    _weighed, snapshot, work, at, dry_run=stamp.dry_run
                )
                if not edited.changes or stamp.dry_run:
                    return edited
                try:
                    await self._commit(edited.snapshot, proposal, stamp, at)
                except HeadMoved:
                    self._in_doubt = True
                else:
                    return edited
        raise HeadMoved

    async def _commit(
        self, after: Snapshot, proposal: Proposal, stamp: _Stamp, at: datetime
    ) -> None:
        edit = Edit(
            before=self._head,
            changes=proposal.changes,
            rule_counter=proposal.rule_counter,
            author=stamp.author,
            message=stamp.message,
            at=at,
            secrets=proposal.secrets,
        )
        try:
            await self._store.commit(edit)
        except OutcomeUnknown:
            self._in_doubt = True
            raise
        self._head = Head(edit.before.history, edit.revision, edit.rule_counter)
        self._replace(after, len(proposal.changes))
        self._wake()

    async def _secrets(self, labels: Iterable[str]) -> Mapping[str, NewSecret]:
        stored = await self._store.secrets(tuple(labels))
        return {secret.label: NewSecret(secret.username, secret.password) for secret in stored}

    async def _reload(self) -> None:
        snapshot, self._head = await newest(self._store, self.live.current())
        self._replace(snapshot)
        self._in_doubt = False

    def _replace(self, after: Snapshot, changed: int | None = None) -> None:
        """Answer by a snapshot from now on; `changed` is how much differs, where that is known."""
        if changed is None or changed > _MUCH:
            letting_go = asyncio.create_task(_let_go_of([self.live.current()]))
            self._letting_go.add(letting_go)
            letting_go.add_done_callback(self._letting_go.discard)
        self.live.replace(after)

    def _wake(self) -> None:
        for event in self._listeners:
            event.set()


async def _let_go_of(old: list[Snapshot]) -> None:
    """Let go of a snapshot once whoever asked by it, and this task alone, has it no more."""
    await asyncio.sleep(_LINGER_S)
    await asyncio.to_thread(_freed, old)


def _freed(old: list[Snapshot]) -> None:
    # The root goes first: what then goes with each part is freed there, in little time. At once it
    # would hold up every other thread for as long as it takes.
    parts = old.pop().parts()
    while parts:
        parts.pop()


def _undone(table: RoutingTable, since: Sequence[Change], revision: int) -> RoutingTable:
    undone = apply(table, invert(since), revision)
    undone.prepare()
    return undone


def _weighed(
    before: Snapshot, work: Work, at: datetime, *, dry_run: bool
) -> tuple[Proposal, Edited]:
    """What is proposed, and what comes of it. Raises as `propose` and `check`."""
    with garbage.put_off():
        found = _weighed_whole(before, work, at, dry_run=dry_run)
        if len(found[1].changes) > FEW:
            garbage.spare()
    return found


def _weighed_whole(
    before: Snapshot, work: Work, at: datetime, *, dry_run: bool
) -> tuple[Proposal, Edited]:
    proposal = work()
    changes = proposal.changes
    if not changes:
        found = check(before.table, before.table, proposal)
        return proposal, Edited(before, changes, found)
    revision = before.revision + (not dry_run)
    table = apply(before.table, changes, revision)
    table.prepare()
    found = check(before.table, table, proposal)
    marks = before.marks.after(changes, revision, at)
    return proposal, Edited(Snapshot(before.history, table, marks), changes, found)
