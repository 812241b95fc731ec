"""What a database must be to be opened, and what happens to it when it is not."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import make_url, text

from app import __version__
from app.server.edit import Editor
from app.server.storage import StorageAway, StorageBusy, StorageDamaged
from app.server.store import migrate
from app.server.store.engines import WAIT_MS
from app.server.store.opening import open_database
from app.server.store.refusals import (
    DatabaseNewer,
    DatabaseRefused,
    SealingKeyMissing,
    SealingKeyRefused,
    SealingKeyWrong,
)
from app.server.store.schema import METADATA
from app.server.store.store import DatabaseStore
from tests.contract.conftest import Database
from tests.contract.samples import EVERYTHING, SECRETS, put_rule

pytestmark = pytest.mark.anyio

LATER = '''"""A migration of a later day."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{down}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column with a value, and break off where the test wants it."""
    op.add_column("mtas", sa.Column("later", sa.Text(), server_default="x", nullable=False))
    {then}
'''


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of a later version: ours, and one more."""
    return scripts_with(tmp_path / "later", "...")


def scripts_with(folder: Path, then: str) -> Path:
    shutil.copytree(migrate.SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    newest = max(path.name[:4] for path in (folder / "versions").glob("[0-9]*.py"))
    text_ = LATER.format(down=newest, then=then)
    (folder / "versions" / "9999_later.py").write_text(text_, encoding="utf-8")
    return folder


def modes(folder: Path) -> list[tuple[str, int]]:
    return [(file.name, file.stat().st_mode & 0o777) for file in folder.iterdir()]


async def fill(database: Database) -> None:
    async with database.editor() as editor:
        await editor.edit(lambda _: EVERYTHING, author="test", secrets=SECRETS)


async def state_of(database: Database) -> object:
    """All that a refusal must leave alone."""
    async with database.store() as store:
        snapshot, head = await store.load()
        return snapshot, head, await store.secrets(SECRETS), await store.revisions(10)


def set_version(database: Database, version: str) -> None:
    with database.connection() as connection:
        connection.execute(text("UPDATE head SET app_version = :v"), {"v": version})


async def test_a_new_database_has_a_life_of_its_own_and_files_for_us_alone(
    database: Database, tmp_path: Path
) -> None:
    other = Database(str(tmp_path / "other.db"), tmp_path)
    async with database.store() as one, other.store() as two:
        head, elsewhere = await one.head(), await two.head()
        assert (head.revision, head.rule_counter) == (0, 0)
        assert head.history != elsewhere.history
        assert len(head.history) == 32
    assert database.key_file.stat().st_mode & 0o777 == 0o600
    assert database.key_file.stat().st_size == 32
    assert {mode for name, mode in modes(tmp_path) if ".db" in name} == {0o600}


async def test_a_database_keeps_its_history_when_it_is_opened_again(database: Database) -> None:
    await fill(database)
    assert await state_of(database) == await state_of(database)


async def test_two_that_start_at_once_make_one_database(database: Database) -> None:
    stores = await asyncio.gather(
        *(DatabaseStore.open(database.url, database.key_file) for _ in range(4))
    )
    heads = [await store.head() for store in stores]
    for store in stores:
        await store.close()
    assert len(set(heads)) == 1
    assert [name for name, _ in modes(database.folder) if "key" in name] == ["sealing.key"]


@pytest.mark.parametrize("is_let_go", [True, False])
def test_a_start_waits_longer_than_a_statement_for_who_holds_the_file(
    tmp_path: Path, *, is_let_go: bool
) -> None:
    """As who starts beside us does while he makes the schema on a slow disk."""
    url, key_file = make_url(f"sqlite:///{tmp_path}/relaymap.db"), tmp_path / "sealing.key"
    holder = sqlite3.connect(tmp_path / "relaymap.db", check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    later = Timer(2 * WAIT_MS / 1000, holder.rollback)
    if is_let_go:
        later.start()
        opened = open_database(url, key_file)
        opened.close()
        later.join()
    else:
        with pytest.raises(StorageBusy):
            open_database(url, key_file, wait_s=0)
    holder.close()


async def test_a_start_among_writers_finds_nothing_torn(database: Database) -> None:
    async with database.editor() as editor:
        starting = True

        async def write() -> int:
            count = 0
            while starting:
                await editor.edit(
                    lambda _, n=count: [put_rule("busy", priority=n)],  # type: ignore[misc]
                    author="test",
                )
                count += 1
            return count

        async def start() -> None:
            nonlocal starting
            for _ in range(10):
                async with database.store() as other:
                    assert await other.head() is not None
            starting = False

        written, _ = await asyncio.gather(write(), start())
        assert written > 10


async def test_the_schema_is_what_the_migrations_make(database: Database) -> None:
    await fill(database)
    with database.connection() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


async def test_a_newer_database_is_refused_with_the_version_that_wrote_it(
    database: Database, later: Path
) -> None:
    await fill(database)
    newer = await DatabaseStore.open(database.url, database.key_file, later)
    await newer.close()
    set_version(database, "7.8.9")
    with pytest.raises(DatabaseNewer, match=r"version 7\.8\.9 ") as refused:
        await DatabaseStore.open(database.url, database.key_file)
    assert refused.value.written_by == "7.8.9"
    again = await DatabaseStore.open(database.url, database.key_file, later)
    await again.close()


async def test_the_version_that_wrote_last_is_noted(database: Database) -> None:
    await fill(database)
    set_version(database, "0.0.0")
    await state_of(database)
    with database.connection() as connection:
        assert connection.execute(text("SELECT app_version FROM head")).scalar() == __version__


async def test_a_migration_keeps_what_was_there(database: Database, later: Path) -> None:
    await fill(database)
    before = await state_of(database)
    store = await DatabaseStore.open(database.url, database.key_file, later)
    try:
        snapshot, head = await store.load()
        assert (snapshot, head, await store.secrets(SECRETS), await store.revisions(10)) == before
    finally:
        await store.close()


async def test_a_file_is_copied_beside_itself_before_it_is_migrated(
    sqlite: Database, later: Path
) -> None:
    await fill(sqlite)
    before = await state_of(sqlite)
    store = await DatabaseStore.open(sqlite.url, sqlite.key_file, later)
    await store.close()
    (copy,) = sqlite.folder.glob("relaymap.db.before-*")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert await state_of(Database(str(copy), sqlite.folder)) == before
    reopened = await DatabaseStore.open(sqlite.url, sqlite.key_file, later)
    await reopened.close()
    assert len(list(sqlite.folder.glob("relaymap.db.before-*"))) == 1, "only when it migrates"


async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    database: Database, tmp_path: Path
) -> None:
    await fill(database)
    before = await state_of(database)
    broken = scripts_with(tmp_path / "broken", 'op.execute("DROP TABLE nowhere")')
    with pytest.raises(Exception, match="nowhere"):
        await DatabaseStore.open(database.url, database.key_file, broken)
    assert await state_of(database) == before


async def test_a_missing_key_is_refused_and_none_is_made(database: Database) -> None:
    await fill(database)
    key = database.key_file.rename(database.folder / "elsewhere")
    with pytest.raises(SealingKeyMissing):
        await DatabaseStore.open(database.url, database.key_file)
    assert not database.key_file.exists()
    key.rename(database.key_file)
    await state_of(database)


async def test_a_wrong_key_is_refused_before_anything_is_migrated(
    database: Database, later: Path
) -> None:
    await fill(database)
    right = database.key_file.read_bytes()
    database.key_file.write_bytes(os.urandom(32))
    with pytest.raises(SealingKeyWrong):
        await DatabaseStore.open(database.url, database.key_file, later)
    database.key_file.write_bytes(right)
    assert not list(database.folder.glob("*.before-*"))
    await state_of(database)


@pytest.mark.parametrize(
    ("mode", "size"), [(0o640, 32), (0o604, 32), (0o600, 31), (0o600, 33), (0o600, 0)]
)
async def test_a_key_that_others_read_or_that_is_cut_is_refused(
    sqlite: Database, mode: int, size: int
) -> None:
    sqlite.key_file.write_bytes(os.urandom(size))
    sqlite.key_file.chmod(mode)
    with pytest.raises(SealingKeyRefused):
        await DatabaseStore.open(sqlite.url, sqlite.key_file)
    assert sqlite.key_file.stat().st_size == size


async def test_a_key_that_waits_for_a_database_is_used(database: Database) -> None:
    key = os.urandom(32)
    database.key_file.write_bytes(key)
    database.key_file.chmod(0o600)
    await fill(database)
    assert database.key_file.read_bytes() == key


async def test_a_making_that_was_interrupted_is_taken_up_again(database: Database) -> None:
    await fill(database)
    with database.connection() as connection:
        for table in reversed(METADATA.sorted_tables):
            connection.execute(table.delete())
    async with database.store() as store:
        assert (await store.head()).revision == 0


def halve(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2 // 4096 * 4096)


def scribble(file: Path) -> None:
    size = file.stat().st_size
    with file.open("r+b") as opened:
        for page in range(1, size // 4096):
            opened.seek(page * 4096)
            opened.write(os.urandom(64))


def replace_by_text(file: Path) -> None:
    file.write_text("this is no database, but it is long enough to be looked at\n" * 100)


def behead(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE head SET revision = revision - 1")
        connection.commit()


def cut_the_journal(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM journal")
        connection.commit()


@pytest.mark.parametrize("damage", [halve, scribble, replace_by_text, behead, cut_the_journal])
async def test_a_torn_file_is_refused_and_left_as_it_is(sqlite: Database, damage: object) -> None:
    await fill(sqlite)
    assert sqlite.file is not None
    assert callable(damage)
    damage(sqlite.file)
    torn = sqlite.file.read_bytes()
    with pytest.raises(StorageDamaged):
        await DatabaseStore.open(sqlite.url, sqlite.key_file)
    assert sqlite.file.read_bytes() == torn


async def test_a_row_that_is_none_of_ours_is_not_served(database: Database) -> None:
    await fill(database)
    with database.connection() as connection:
        connection.execute(text("UPDATE rules SET document = '{}' WHERE name = 'shop'"))
    async with database.store() as store:
        with pytest.raises(StorageDamaged, match="rules/shop"):
            await Editor.start(store)


async def test_a_database_of_others_is_refused(sqlite: Database) -> None:
    assert sqlite.file is not None
    with closing(sqlite3.connect(sqlite.file)) as connection:
        connection.execute("CREATE TABLE head (id INTEGER)")
        connection.commit()
    theirs = sqlite.file.read_bytes()
    with pytest.raises(DatabaseRefused):
        await DatabaseStore.open(sqlite.url, sqlite.key_file)
    assert sqlite.file.read_bytes() == theirs


async def test_a_file_is_written_ahead_and_synced(sqlite: Database) -> None:
    async with sqlite.store() as store:
        with store._opened.writer.connect() as writer:
            asked = ("journal_mode", "synchronous", "foreign_keys", "query_only")
            modes = [writer.execute(text(f"PRAGMA {name}")).scalar() for name in asked]
        with store._opened.readers.connect() as reader:
            assert reader.execute(text("PRAGMA query_only")).scalar() == 1
    assert modes == ["wal", 2, 1, 0]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://relaymap:hunter2@127.0.0.1/relaymap",
        "postgresql://relaymap@127.0.0.1/relaymap?password=hunter2",
        "mysql://127.0.0.1/relaymap",
        "://",
        "sqlite://",
    ],
)
async def test_a_url_that_holds_a_password_or_names_no_database_is_refused(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(DatabaseRefused) as refused:
        await DatabaseStore.open(url, tmp_path / "sealing.key")
    assert "hunter2" not in str(refused.value)
    assert not (tmp_path / "sealing.key").exists()


async def test_a_database_that_cannot_be_reached_is_temporary(tmp_path: Path) -> None:
    with pytest.raises(StorageAway) as away:
        await DatabaseStore.open(
            f"postgresql://relaymap@/relaymap?host={tmp_path}", tmp_path / "sealing.key"
        )
    assert away.value.temporary
    assert not (tmp_path / "sealing.key").exists()


async def test_a_file_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatabaseRefused, match="No such file"):
        await DatabaseStore.open(str(tmp_path / "no" / "relaymap.db"), tmp_path / "sealing.key")
    assert not (tmp_path / "sealing.key").exists()
