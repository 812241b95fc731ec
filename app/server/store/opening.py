"""Opens a database: finds its key, brings its schema up to date, and refuses what is not right."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Error as SQLiteError
from time import monotonic, sleep

from psycopg import Error as PostgreSQLError
from sqlalchemy import URL, Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import __version__
from app.server.storage import StorageBusy, StorageDamaged
from app.server.store import engines, heads, journal
from app.server.store.migrate import SCRIPTS, migrate, one_at_a_time
from app.server.store.refusals import DatabaseRefused
from app.server.store.sealing import Seal, make_key, read_key

WAIT_S = 20.0
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Opened:
    """A database that may be used.

    Attributes:
        writer: for the one thread that writes.
        readers: for those that read.
        seal: holds the key that the database was made with.
        file: of an SQLite database; None for PostgreSQL.
    """

    writer: Engine
    readers: Engine
    seal: Seal
    file: Path | None

    def close(self) -> None:
        """End every connection."""
        self.writer.dispose()
        self.readers.dispose()


def open_database(
    url: URL, key_file: Path, scripts: Path = SCRIPTS, *, wait_s: float = WAIT_S
) -> Opened:
    """The database of a URL, made where there is none, and the key with it.

    Args:
        url: of the database.
        key_file: where the key is, or is made.
        scripts: the migrations.
        wait_s: for so long it is tried while another process holds the database, in seconds.

    Raises:
        DatabaseRefused: the key is missing, another one or readable to others; or the database
            was written by a newer version.
        StorageDamaged: it is no database, or a torn one.
        StorageTrouble: it cannot be reached now.
    """
    ends = monotonic() + wait_s
    while True:
        try:
            return _open(url, key_file, scripts)
        except StorageBusy:
            # Who starts beside us may make the whole schema: that takes longer than a statement
            # waits, and some locks SQLite does not wait for at all.
            if monotonic() > ends:
                raise
            sleep(_PAUSE_S)


def _open(url: URL, key_file: Path, scripts: Path) -> Opened:
    file = engines.sqlite_path(url)
    if file is not None:
        _make_private(file)
    writer, readers = engines.writing(url), engines.reading(url)
    try:
        with translated():
            seal = _look(readers, key_file)
            migrate(writer, file, scripts)
            engines.write_ahead(writer)
            with writer.begin() as connection:
                _begin_or_go_on(connection, seal)
    except BaseException:
        writer.dispose()
        readers.dispose()
        raise
    return Opened(writer, readers, seal, file)


def _look(readers: Engine, key_file: Path) -> Seal:
    """The key that fits; found before anything is migrated, so that a wrong key changes nothing.

    Looking takes long where there is much, and does not keep the server that runs from writing.
    """
    with readers.connect() as connection:
        refuse_damaged(connection)
        lives = has_life(connection)
        seal = Seal(_key(key_file, may_make=not lives))
        if lives:
            check_key(connection, seal)
    return seal


def _make_private(file: Path) -> None:
    """SQLite would make the file as the umask says; its companions take over its mode."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as wrong:
        raise DatabaseRefused(f"the database {file} cannot be made: {wrong.strerror}") from wrong


def refuse_damaged(connection: Connection) -> None:
    """Look at every page of an SQLite database; PostgreSQL looks by itself.

    Raises:
        StorageDamaged: a page is torn.
    """
    if connection.dialect.name == "sqlite":
        found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
        if found != "ok":
            raise StorageDamaged("the database file is damaged: restore a backup")


def has_life(connection: Connection) -> bool:
    """Whether the database was made to its end once: only then are there secrets to lose."""
    if not inspect(connection).has_table("head"):
        return False
    return connection.execute(text("SELECT 1 FROM head")).first() is not None


def check_key(connection: Connection, seal: Seal) -> None:
    """Compare the key with the one that sealed this database's secrets.

    Read by names that every migration must keep.

    Raises:
        SealingKeyWrong: it is another one.
    """
    row = connection.execute(text("SELECT key_check, identity FROM head")).one()
    seal.check(bytes(row.key_check), row.identity)


def _key(path: Path, *, may_make: bool) -> bytes:
    if may_make and not path.exists():
        make_key(path)
    return read_key(path)


def _begin_or_go_on(connection: Connection, seal: Seal) -> None:
    one_at_a_time(connection)
    # Another writer could commit between the looks at head and journal.
    heads.lock(connection)
    row = heads.find(connection)
    if row is None:
        heads.make(connection, seal)
        return
    seal.check(bytes(row.key_check), row.identity)
    if journal.newest(connection) != (row.revision, row.checksum):
        raise StorageDamaged("head and journal disagree: the database is torn; restore a backup")
    if row.app_version != __version__:
        heads.note_version(connection)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the drivers leave as ours; what is a fault of the program leaves as it is."""
    try:
        yield
    except (DBAPIError, PoolTimeout, SQLiteError, PostgreSQLError) as error:
        meant = engines.meaning(error)
        if meant is None:
            raise
        raise meant from error
