"""Connections to SQLite and PostgreSQL, and what their errors mean."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from app.routing.errors import ControlError
from app.server.storage import (
    StorageAway,
    StorageBusy,
    StorageDamaged,
    StorageFull,
)
from app.server.store.refusals import DatabaseRefused

READERS = 4
"""Connections, and threads, for reading."""
WAIT_MS = 1_500
"""How long a statement waits for somebody else's lock: a caller hears of it in two seconds."""
CONNECT_S = 2

_SQLITE: dict[int, Callable[[], ControlError]] = {
    sqlite3.SQLITE_BUSY: StorageBusy,
    sqlite3.SQLITE_LOCKED: StorageBusy,
    sqlite3.SQLITE_FULL: StorageFull,
    sqlite3.SQLITE_IOERR: StorageAway,
    sqlite3.SQLITE_CANTOPEN: StorageAway,
    sqlite3.SQLITE_READONLY: StorageAway,
    sqlite3.SQLITE_PERM: StorageAway,
    sqlite3.SQLITE_CORRUPT: lambda: StorageDamaged("the database file is damaged"),
    sqlite3.SQLITE_NOTADB: lambda: StorageDamaged("the database file is no database"),
}
"""By primary result code (sqlite.org/rescode.html)."""

_POSTGRESQL: dict[str, Callable[[], ControlError]] = {
    "40001": StorageBusy,  # serialization_failure
    "40P01": StorageBusy,  # deadlock_detected
    "55P03": StorageBusy,  # lock_not_available: lock_timeout
    "53100": StorageFull,  # disk_full
    "XX001": lambda: StorageDamaged("a page of the database is damaged"),
    "XX002": lambda: StorageDamaged("an index of the database is damaged"),
}
"""By SQLSTATE; any other error of the connection itself means that the database is away."""


def parse_url(text: str) -> URL:
    """The database that a URL, or a bare path of an SQLite file, names.

    Raises:
        DatabaseRefused: neither, or it holds a password.
    """
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as wrong:
        raise DatabaseRefused("the database URL cannot be read") from wrong
    if url.password is not None or "password" in url.query:
        raise DatabaseRefused("take the password out of the database URL, into a PGPASSFILE")
    backend = url.get_backend_name()
    if backend in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or not url.database:
        raise DatabaseRefused("write postgresql://user@host/database or sqlite:////path")
    return url.set(drivername="sqlite")


def sqlite_path(url: URL) -> Path | None:
    """The file of an SQLite database; None where it is PostgreSQL."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def writing(url: URL) -> Engine:
    """The engine of the one thread that writes."""
    if sqlite_path(url) is None:
        return _postgresql(url, 1)
    return _sqlite(url, 1, "BEGIN IMMEDIATE", query_only=False)


def reading(url: URL) -> Engine:
    """The engine of those that read: each transaction sees one moment, and none can write."""
    if sqlite_path(url) is None:
        engine = _postgresql(url, READERS)
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return _sqlite(url, READERS, "BEGIN", query_only=True)


def _sqlite(url: URL, connections: int, begin: str, *, query_only: bool) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=CONNECT_S,
        connect_args={"timeout": WAIT_MS / 1000, "check_same_thread": False},
    )

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin transactions late, and with a lock that can fail half way.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA query_only = {'ON' if query_only else 'OFF'}")

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", start)
    return engine


def write_ahead(engine: Engine) -> None:
    """Let readers of an SQLite file go on while it is written; the file remembers it."""
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()


def _postgresql(url: URL, connections: int) -> Engine:
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=CONNECT_S,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_S,
            "options": f"-c lock_timeout={WAIT_MS} -c timezone=UTC -c synchronous_commit=on",
        },
    )


def meaning(error: DBAPIError | PoolTimeout | sqlite3.Error | psycopg.Error) -> ControlError | None:
    """What an error of a driver means to callers; None where it is a fault of ours."""
    if isinstance(error, PoolTimeout):
        return StorageBusy()
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        made = _SQLITE.get(code & 0xFF)
        return None if made is None else made()
    if isinstance(cause, psycopg.Error):
        made = _POSTGRESQL.get(cause.sqlstate or "")
        if made is not None:
            return made()
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if lost or isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
            return StorageAway()
    return None
