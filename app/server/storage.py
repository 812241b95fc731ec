"""What the server keeps, as values, and what a store of it promises; the store is made elsewhere.

StorageTrouble                   temporary: nothing was written, or whether it was is not known
├── StorageBusy                  another process holds the database
├── StorageFull                  no space left
├── StorageAway                  the database cannot be reached
├── HeadMoved                    another process wrote first
└── OutcomeUnknown               the connection was lost while committing, and stays lost
StorageDamaged                   what was read is not what was written
LastAdmin                        a delete of the last token that may make tokens

Callers know the values below and the promises of `Store`, and never a row or a statement.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from app.render.generation import Secret
from app.routing.change import Change
from app.routing.errors import ControlError
from app.routing.next_hop import EntryHop
from app.server.live import Mark, Snapshot
from app.wire import LineState, Reload, Report

MAX_MTAS = 1_000
"""How many are promised to work."""


class StorageTrouble(ControlError):
    """The database cannot serve now; reads of routing go on without it."""

    code = "storage-trouble"
    temporary = True


class StorageBusy(StorageTrouble):
    """Another process holds the database."""

    code = "storage-busy"

    def __init__(self) -> None:
        super().__init__("the database is held by another process; try again")


class StorageFull(StorageTrouble):
    """No space is left for the database."""

    code = "storage-full"

    def __init__(self) -> None:
        super().__init__("no space is left for the database; nothing was stored")


class StorageAway(StorageTrouble):
    """The database cannot be reached, read or written."""

    code = "storage-away"

    def __init__(self) -> None:
        super().__init__("the database cannot be reached; try again")


class HeadMoved(StorageTrouble):
    """Another process wrote routing between our look at the head and our commit."""

    code = "head-moved"

    def __init__(self) -> None:
        super().__init__("another process wrote at the same time; try again")


class OutcomeUnknown(StorageTrouble):
    """Whether a write was stored could not be found out."""

    code = "outcome-unknown"

    def __init__(self) -> None:
        super().__init__("the database was lost while it stored this; read before you try again")


class StorageDamaged(ControlError):
    """What was read is not what was written."""

    code = "storage-damaged"


class LastAdmin(ControlError):
    """Without this token nobody could make tokens over HTTP."""

    code = "last-admin"

    def __init__(self) -> None:
        super().__init__("this is the last token with tokens:admin; make another one first")


@dataclass(frozen=True, slots=True)
class Head:
    """Where routing stands.

    Attributes:
        rule_counter: number of the last rule id given.
    """

    history: str
    revision: int
    rule_counter: int


@dataclass(frozen=True, slots=True)
class NewSecret:
    """What a credential is to stand for. Its `repr` never shows either part."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit, checked and ready to be stored.

    Attributes:
        before: the head that it was decided on.
        rule_counter: after it.
        at: the server's time of it.
        secrets: by label, for the credentials whose secret is new.
    """

    before: Head
    changes: Sequence[Change]
    rule_counter: int
    author: str
    message: str
    at: datetime
    secrets: Mapping[str, NewSecret] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        """The revision that it makes."""
        return self.before.revision + 1


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """Who made a revision, when, and how much it changed."""

    revision: int
    author: str
    message: str
    created_at: datetime
    change_count: int


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry of a table."""

    key: str
    via: EntryHop
    mark: Mark


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token, without the token: only its SHA-256 is kept.

    Attributes:
        mta: the MTA whose agent it is for; None for people and automation.
        hash: SHA-256 of the token's text, in hex.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    mta: str | None
    hash: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MtaRow:
    """An MTA as clients write it."""

    name: str
    driver: str
    description: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ReportRow:
    """The last that was heard from an MTA's agent."""

    mta: str
    report: Report
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class LineRow:
    """One MTA's part of a push.

    Attributes:
        tries: how often an apply of it ended `failed`.
        next_try_at: when a failed one is to be tried again; None: not by itself.
    """

    push: int
    mta: str
    state: LineState = LineState.WAITING
    reload: Reload | None = None
    detail: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    tries: int = 0
    next_try_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PushRow:
    """A revision that MTAs were told to serve; a higher id is a newer wish.

    Attributes:
        history: the history that the revision is of.
        lines: by name of the MTA.
    """

    id: int
    revision: int
    history: str
    author: str
    created_at: datetime
    lines: tuple[LineRow, ...] = ()


class Store(Protocol):
    """What every database does for us. All of it may raise StorageTrouble and StorageDamaged."""

    # --- routing

    async def load(self) -> tuple[Snapshot, Head]:
        """The whole routing and the head that it is at, from one moment."""
        ...

    async def head(self) -> Head:
        """Where routing stands in the database now: one row."""
        ...

    async def commit(self, edit: Edit) -> None:
        """Store an edit, all or nothing; once this returns it survives a power cut.

        Raises:
            HeadMoved: the database is at another head than the edit was decided on.
            OutcomeUnknown: the connection was lost, and could not be had back to look.
        """
        ...

    async def entries(self, table: str, limit: int, after: str = "") -> tuple[EntryRow, ...]:
        """Entries of a table whose keys come after one, in the order of their code points.

        It costs what is answered; of a table that is not there it is nothing.
        """
        ...

    async def secrets(self, labels: Collection[str]) -> tuple[Secret, ...]:
        """The secrets of those labels that exist, by label."""
        ...

    async def revisions(self, limit: int, before: int | None = None) -> tuple[RevisionRow, ...]:
        """Revisions below `before` (None: the newest), newest first."""
        ...

    async def revision(self, number: int) -> RevisionRow:
        """One revision.

        Raises:
            Unknown: there is none of that number yet.
            RevisionPruned: there was one.
        """
        ...

    async def changes(self, number: int) -> Sequence[Change]:
        """What a revision changed. Raises as `revision`."""
        ...

    async def changes_since(self, number: int, head: int) -> Sequence[Change]:
        """Everything that changed from revision `number` (0 is the empty routing) to `head`.

        In the order in which it was done, revision by revision.

        Raises:
            Unknown: there is no such revision yet.
            RevisionPruned: a step of the way was pruned.
        """
        ...

    async def prune(self, keep_revisions: int, older_than: datetime) -> int:
        """Forget revisions that are neither among the newest nor younger; how many were.

        The head and every revision that an MTA is still to serve stay. Pushes that are older, and
        than which each of their MTAs has a newer one, go as well.
        """
        ...

    # --- tokens

    async def put_token(self, token: TokenRow) -> None:
        """Store a new token.

        Raises:
            LimitReached: its MTA has two live ones at `token.created_at` already.
            Unknown: its MTA is not there.
        """
        ...

    async def tokens(self) -> tuple[TokenRow, ...]:
        """Every token, oldest first."""
        ...

    async def token_by_hash(self, digest: str) -> TokenRow | None:
        """The token of that SHA-256 (hex), expired or not; None where there is none."""
        ...

    async def delete_token(self, token: str, now: datetime) -> None:
        """Forget a token, by id.

        Raises:
            Unknown: there is none.
            LastAdmin: no other token with `tokens:admin` would be valid at `now`.
        """
        ...

    async def touch_token(self, token: str, at: datetime) -> None:
        """Note when a token was last used; nothing where it is gone."""
        ...

    # --- MTAs

    async def put_mta(self, mta: MtaRow, *, create_only: bool = False) -> bool:
        """Create an MTA (true) or replace it, `created_at` kept (false).

        Raises:
            NameTaken: it exists, and `create_only`.
            LimitReached: there are 1,000.
        """
        ...

    async def mta(self, name: str) -> MtaRow:
        """One MTA. Raises Unknown."""
        ...

    async def mtas(self) -> tuple[MtaRow, ...]:
        """Every MTA, by name."""
        ...

    async def delete_mta(self, name: str, at: datetime) -> None:
        """Forget an MTA, its report and its tokens; its open lines end `withdrawn`.

        Raises:
            Unknown: there is none.
        """
        ...

    async def report(self, mta: str) -> ReportRow | None:
        """The last report of an MTA; None where it was never heard of."""
        ...

    async def reports(self) -> tuple[ReportRow, ...]:
        """The last report of every MTA that was heard of, by name."""
        ...

    async def save_report(self, report: ReportRow) -> None:
        """Keep a report in place of the one before. Raises Unknown: no such MTA."""
        ...

    # --- pushes

    async def create_push(
        self, revision: int, author: str, mtas: Collection[str], at: datetime
    ) -> PushRow:
        """Tell MTAs to serve the head.

        Older lines of theirs that wait end `superseded`; older failed ones are not tried again.

        Raises:
            RevisionMoved: the head is another revision.
            Unknown: one of the MTAs is not there.
        """
        ...

    async def push(self, number: int) -> PushRow:
        """One push with its lines. Raises Unknown."""
        ...

    async def pushes(self, limit: int, before: int | None = None) -> tuple[PushRow, ...]:
        """Pushes below `before` (None: the newest), newest first, with their lines."""
        ...

    async def save_line(self, line: LineRow, expected: LineState | None = None) -> bool:
        """Replace a line; false, and nothing done, where it is not in the state expected."""
        ...

    async def open_lines(self) -> tuple[LineRow, ...]:
        """The lines that have not ended, and those to be tried again, oldest push first."""
        ...

    async def pushes_at_work(self, mta: str, number: int | None) -> tuple[PushRow, ...]:
        """The pushes whose line of an MTA is as in `open_lines`, and the one of that number.

        Oldest first, each with the line of that MTA alone.
        """
        ...

    async def wanted(self) -> Mapping[str, PushRow]:
        """By MTA, the newest push that names it and was not withdrawn or left to expire.

        Each with the line of that MTA alone.
        """
        ...

    # --- the whole

    async def backup(self, path: Path) -> None:
        """Write a consistent copy, secrets still sealed, to a new file of mode 0600.

        Raises:
            FileExistsError: there is such a file.
        """
        ...

    async def close(self) -> None:
        """End every connection and thread."""
        ...
