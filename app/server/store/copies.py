"""Backups: a consistent copy of everything as one SQLite file, and back under a new history.

The file holds rows of the same schema whatever engine they come from, so a backup of one engine
can be put back into the other.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, delete, insert, select, update

from app import __version__
from app.server.storage import StorageDamaged
from app.server.store import engines, heads
from app.server.store.migrate import migrate
from app.server.store.opening import (
    check_key,
    has_life,
    open_database,
    refuse_damaged,
    translated,
)
from app.server.store.schema import METADATA, head
from app.server.store.sealing import Seal, read_key

COUNTER_GAP = 100_000
"""How far counters jump at a restore: what was numbered after the backup is not numbered again.

Queued mail on an MTA may still name a rule that was made after it.
"""
_SLICE = 5_000


def back_up(readers: Engine, file: Path | None, path: Path) -> None:
    """Write a copy of one moment to a new file of mode 0600, on disk before this returns.

    Args:
        readers: of the database.
        file: of an SQLite database; None for PostgreSQL.
        path: the file to make.

    Raises:
        FileExistsError: there is such a file.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        if file is None:
            _copy_rows_out(readers, path)
        else:
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(path)) as target:
                source.backup(target)
        with closing(sqlite3.connect(path)) as made:
            made.execute("PRAGMA journal_mode = DELETE").fetchone()
        _sync(path)
        _sync(path.parent)
    except BaseException:
        path.unlink()
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_rows_out(readers: Engine, path: Path) -> None:
    target = engines.writing(engines.parse_url(str(path)))
    try:
        migrate(target, None)
        with readers.connect() as rows, target.begin() as connection:
            _copy_rows(rows, connection)
    finally:
        target.dispose()


def _copy_rows(source: Connection, target: Connection) -> None:
    for table in METADATA.sorted_tables:
        for rows in source.execute(select(table)).partitions(_SLICE):
            target.execute(insert(table), [row._asdict() for row in rows])


def put_back(url: URL, key_file: Path, path: Path) -> None:
    """Make a database hold what a backup holds, under a new history id.

    The database is made where there is none. One that is there is replaced in one transaction; a
    server that runs on it notices by the history.

    Raises:
        FileNotFoundError: there is no such backup.
        StorageDamaged: the file is no backup, or a torn one; or the database is.
        DatabaseNewer: a newer version made the backup.
        SealingKeyMissing: the key has to be put back first.
        SealingKeyWrong: the credentials in the backup were sealed with another key.
    """
    seal = Seal(read_key(key_file))
    with translated(), _copied(path, seal) as backup:
        opened = open_database(url, key_file)
        try:
            with backup.connect() as source, opened.writer.begin() as target:
                _replace(source, target)
        finally:
            opened.close()


@contextmanager
def _copied(path: Path, seal: Seal) -> Iterator[Engine]:
    """A copy of a backup, checked, and brought to the schema of this program."""
    with tempfile.TemporaryDirectory(prefix="relaymap-restore-") as folder:
        copy = Path(folder, path.name)
        shutil.copyfile(path, copy)
        engine = engines.writing(engines.parse_url(str(copy)))
        try:
            with engine.connect() as connection:
                refuse_damaged(connection)
                if not has_life(connection):
                    raise StorageDamaged("the file is no backup of this program")
                check_key(connection, seal)
            migrate(engine, None)
            yield engine
        finally:
            engine.dispose()


def _replace(source: Connection, target: Connection) -> None:
    heads.lock(target)
    there = heads.row(target)
    for table in reversed(METADATA.sorted_tables):
        target.execute(delete(table))
    _copy_rows(source, target)
    came = heads.row(target)
    rule_counter = max(there.rule_counter, came.rule_counter) + COUNTER_GAP
    push_counter = max(there.push_counter, came.push_counter) + COUNTER_GAP
    target.execute(
        update(head)
        .where(head.c.id == 1)
        .values(
            history=heads.new_id(),
            rule_counter=rule_counter,
            push_counter=push_counter,
            app_version=__version__,
        )
    )
