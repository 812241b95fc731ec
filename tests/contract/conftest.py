"""The databases that every contract test runs on, new for each test: SQLite and PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection

from app.server.edit import Editor
from app.server.store import engines
from app.server.store.store import DatabaseStore
from tests.contract import postgresql


@dataclass(frozen=True)
class Database:
    """A database that may not exist yet, and the place of its key."""

    url: str
    folder: Path

    @property
    def key_file(self) -> Path:
        return self.folder / "sealing.key"

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        return None if "://" in self.url else Path(self.url)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A transaction on the database, past the store."""
        engine = engines.writing(engines.parse_url(self.url))
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    @asynccontextmanager
    async def store(self) -> AsyncIterator[DatabaseStore]:
        store = await DatabaseStore.open(self.url, self.key_file)
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def editor(self) -> AsyncIterator[Editor]:
        async with self.store() as store:
            yield await Editor.start(store)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    try:
        running = postgresql.server()
        server = running.__enter__()
    except postgresql.Absent as absent:
        pytest.skip(str(absent))
    try:
        yield server
    finally:
        running.__exit__(None, None, None)


ENGINES = ("sqlite", pytest.param("in_postgresql", id="postgresql", marks=pytest.mark.postgres))


@pytest.fixture
def in_postgresql(postgresql_server: postgresql.Server, tmp_path: Path) -> Iterator[Database]:
    with postgresql_server.database() as url:
        yield Database(url, tmp_path)


@pytest.fixture
def sqlite(tmp_path: Path) -> Database:
    return Database(str(tmp_path / "relaymap.db"), tmp_path)


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest) -> Database:
    """Each of them in turn."""
    found: Database = request.getfixturevalue(request.param)
    return found
