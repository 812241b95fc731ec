"""The store: every promise of `app.server.storage.Store`, kept by one writer and some readers.

Statements run in threads of the store's own. SQLite takes one writer at a time: several writing
connections met "database is locked" in spite of waiting, one thread does not.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app import garbage
from app.render.generation import Secret
from app.routing.change import Change
from app.server.live import Snapshot
from app.server.storage import (
    Edit,
    EntryRow,
    Head,
    LineRow,
    MtaRow,
    OutcomeUnknown,
    PushRow,
    ReportRow,
    RevisionRow,
    StorageTrouble,
    TokenRow,
)
from app.server.store import (
    copies,
    engines,
    entry_rows,
    heads,
    journal,
    mta_rows,
    push_rows,
    routing_rows,
    token_rows,
)
from app.server.store.migrate import SCRIPTS
from app.server.store.opening import Opened, open_database, translated
from app.wire import LineState

P = ParamSpec("P")
T = TypeVar("T")

SETTLE_S = 3.0
"""How long to try to find out what became of a commit whose answer was lost."""
_SETTLE_STEP_S = 0.1


class DatabaseStore:
    """A `Store` in SQLite or PostgreSQL. What each method promises is said there."""

    def __init__(self, opened: Opened, writer: ThreadPoolExecutor) -> None:
        self._opened = opened
        self._writer = writer
        self._readers = ThreadPoolExecutor(engines.READERS, thread_name_prefix="store-reader")

    @classmethod
    async def open(cls, url: str, key_file: Path, scripts: Path = SCRIPTS) -> Self:
        """The store in a database, which is made, with its key, where there is none.

        Args:
            url: `postgresql://…`, `sqlite:////path`, or the path of an SQLite file.
            key_file: what credentials are sealed with.
            scripts: the folder of migrations.

        Raises:
            DatabaseRefused: see its subclasses for why.
            StorageDamaged: it is no database, or a torn one.
            StorageTrouble: it cannot be reached now.
        """
        parsed = engines.parse_url(url)
        writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        loop = asyncio.get_running_loop()
        try:
            opened = await loop.run_in_executor(writer, open_database, parsed, key_file, scripts)
        except BaseException:
            writer.shutdown(wait=False)
            raise
        return cls(opened, writer)

    @staticmethod
    async def restore(url: str, key_file: Path, backup: Path) -> None:
        """Make a database hold what a backup holds, under a new history id.

        Raises:
            DatabaseRefused: see `open`; and where the key is not the one of the backup.
            StorageDamaged: the file is no backup, or a torn one.
        """
        await asyncio.to_thread(copies.put_back, engines.parse_url(url), key_file, backup)

    async def backup(self, path: Path) -> None:
        """See `Store.backup`."""
        opened = self._opened
        await self._in(self._readers, lambda: copies.back_up(opened.readers, opened.file, path))

    async def close(self) -> None:
        """See `Store.close`."""
        await self._in(self._writer, self._opened.close)
        self._writer.shutdown()
        self._readers.shutdown()

    # --- threads

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        def translating() -> T:
            with translated():
                return work()

        return await asyncio.get_running_loop().run_in_executor(threads, translating)

    async def _read(
        self, statements: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What the statements answer, from one moment of the database."""

        def work() -> T:
            with self._opened.readers.connect() as connection:
                return statements(connection, *args, **kwargs)

        return await self._in(self._readers, work)

    async def _write(
        self, statements: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What the statements answer, done in one transaction or not at all."""

        def work() -> T:
            with self._opened.writer.begin() as connection:
                # One writer at a time on every engine: what was counted stays counted.
                heads.lock(connection)
                return statements(connection, *args, **kwargs)

        return await self._in(self._writer, work)

    # --- routing

    async def load(self) -> tuple[Snapshot, Head]:
        """See `Store.load`."""
        return await self._read(_load)

    async def head(self) -> Head:
        """See `Store.head`."""
        return await self._read(heads.read)

    async def commit(self, edit: Edit) -> None:
        """See `Store.commit`."""
        await self._in(self._writer, lambda: self._commit(edit, journal.new_nonce()))

    def _commit(self, edit: Edit, nonce: str) -> None:
        with self._opened.writer.connect() as connection, connection.begin() as transaction:
            taken = heads.advance(connection, edit)
            routing_rows.write(connection, edit, self._opened.seal, taken.identity)
            heads.chain(connection, journal.write(connection, edit, nonce, taken.checksum))
            try:
                transaction.commit()
            except DBAPIError as lost:
                connection.invalidate(lost)
                if not self._was_stored(edit.revision, nonce):
                    raise

    def _was_stored(self, revision: int, nonce: str) -> bool:
        """Whether a commit that gave no answer was done after all.

        Raises:
            OutcomeUnknown: the database does not come back to be asked.
        """
        deadline = time.monotonic() + SETTLE_S
        while True:
            try:
                with translated(), self._opened.writer.begin() as connection:
                    # A transaction of ours that still ends on the server holds this row.
                    heads.lock(connection)
                    return journal.has(connection, revision, nonce)
            except StorageTrouble as away:
                if time.monotonic() > deadline:
                    raise OutcomeUnknown from away
            time.sleep(_SETTLE_STEP_S)

    async def entries(self, table: str, limit: int, after: str = "") -> tuple[EntryRow, ...]:
        """See `Store.entries`."""
        return await self._read(entry_rows.page, table, limit, after)

    async def secrets(self, labels: Collection[str]) -> tuple[Secret, ...]:
        """See `Store.secrets`."""
        return await self._read(routing_rows.secrets, labels, self._opened.seal)

    async def revisions(self, limit: int, before: int | None = None) -> tuple[RevisionRow, ...]:
        """See `Store.revisions`."""
        return await self._read(journal.rows, limit, before)

    async def revision(self, number: int) -> RevisionRow:
        """See `Store.revision`."""
        return await self._read(journal.row, number)

    async def changes(self, number: int) -> Sequence[Change]:
        """See `Store.changes`."""
        return await self._read(journal.changes, number)

    async def changes_since(self, number: int, head: int) -> Sequence[Change]:
        """See `Store.changes_since`."""
        return await self._read(journal.changes_since, number, head)

    async def prune(self, keep_revisions: int, older_than: datetime) -> int:
        """See `Store.prune`."""
        return await self._write(_prune, keep_revisions, older_than)

    # --- tokens

    async def put_token(self, token: TokenRow) -> None:
        """See `Store.put_token`."""
        await self._write(token_rows.put, token)

    async def tokens(self) -> tuple[TokenRow, ...]:
        """See `Store.tokens`."""
        return await self._read(token_rows.every)

    async def token_by_hash(self, digest: str) -> TokenRow | None:
        """See `Store.token_by_hash`."""
        return await self._read(token_rows.by_hash, digest)

    async def delete_token(self, token: str, now: datetime) -> None:
        """See `Store.delete_token`."""
        await self._write(token_rows.remove, token, now)

    async def touch_token(self, token: str, at: datetime) -> None:
        """See `Store.touch_token`."""
        await self._write(token_rows.touch, token, at)

    # --- MTAs

    async def put_mta(self, mta: MtaRow, *, create_only: bool = False) -> bool:
        """See `Store.put_mta`."""
        return await self._write(mta_rows.put, mta, create_only=create_only)

    async def mta(self, name: str) -> MtaRow:
        """See `Store.mta`."""
        return await self._read(mta_rows.get, name)

    async def mtas(self) -> tuple[MtaRow, ...]:
        """See `Store.mtas`."""
        return await self._read(mta_rows.every)

    async def delete_mta(self, name: str, at: datetime) -> None:
        """See `Store.delete_mta`."""
        await self._write(mta_rows.remove, name, at)

    async def report(self, mta: str) -> ReportRow | None:
        """See `Store.report`."""
        return await self._read(mta_rows.report, mta)

    async def reports(self) -> tuple[ReportRow, ...]:
        """See `Store.reports`."""
        return await self._read(mta_rows.every_report)

    async def save_report(self, report: ReportRow) -> None:
        """See `Store.save_report`."""
        await self._write(mta_rows.save_report, report)

    # --- pushes

    async def create_push(
        self, revision: int, author: str, mtas: Collection[str], at: datetime
    ) -> PushRow:
        """See `Store.create_push`."""
        return await self._write(push_rows.create, revision, author, mtas, at)

    async def push(self, number: int) -> PushRow:
        """See `Store.push`."""
        return await self._read(push_rows.get, number)

    async def pushes(self, limit: int, before: int | None = None) -> tuple[PushRow, ...]:
        """See `Store.pushes`."""
        return await self._read(push_rows.page, limit, before)

    async def save_line(self, line: LineRow, expected: LineState | None = None) -> bool:
        """See `Store.save_line`."""
        return await self._write(push_rows.save_line, line, expected)

    async def open_lines(self) -> tuple[LineRow, ...]:
        """See `Store.open_lines`."""
        return await self._read(push_rows.open_lines)

    async def pushes_at_work(self, mta: str, number: int | None) -> tuple[PushRow, ...]:
        """See `Store.pushes_at_work`."""
        return await self._read(push_rows.at_work, mta, number)

    async def wanted(self) -> Mapping[str, PushRow]:
        """See `Store.wanted`."""
        return await self._read(push_rows.wanted)


def _load(connection: Connection) -> tuple[Snapshot, Head]:
    at = heads.read(connection)
    with garbage.put_off():
        table, marks = routing_rows.read(connection, at.revision)
        garbage.spare()
    return Snapshot(at.history, table, marks), at


def _prune(connection: Connection, keep: int, older_than: datetime) -> int:
    push_rows.prune(connection, older_than)
    needed = [push.revision for push in push_rows.wanted(connection).values()]
    return journal.prune(connection, keep, older_than, min(needed, default=None))
