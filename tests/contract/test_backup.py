"""A backup is one moment, whole; what is put back from it is another life of it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.routing.change import Kind
from app.server.storage import MtaRow, StorageDamaged, TokenRow
from app.server.store.copies import COUNTER_GAP
from app.server.store.refusals import SealingKeyMissing, SealingKeyWrong
from app.server.store.store import DatabaseStore
from tests.contract import postgresql
from tests.contract.conftest import Database
from tests.contract.samples import CANARY, EVERYTHING, SECRETS, delete, put_rule

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A second place, on either engine."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    if request.param == "sqlite":
        yield Database(str(folder / "relaymap.db"), folder)
        return
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    with server.database() as url:
        yield Database(url, folder)


def copy_key(source: Database, target: Database) -> None:
    target.key_file.write_bytes(source.key_file.read_bytes())
    target.key_file.chmod(0o600)


def number_of(rule_id: str) -> int:
    return int(rule_id.removeprefix("r"))


async def fill(database: Database) -> Path:
    """Routing of two revisions and a fleet; and a backup of it all."""
    backup = database.folder / "backup"
    async with database.editor() as editor:
        store = editor._store
        await editor.edit(lambda _: EVERYTHING, author="test", secrets=SECRETS)
        await editor.edit(lambda _: [put_rule("more")], author="test")
        await store.put_mta(MtaRow("mx1", "opensmtpd", "", NOW, NOW))
        await store.put_token(TokenRow("t1", "n", ("resolve",), "mx1", "a" * 64, NOW))
        await store.create_push(2, "test", ["mx1"], NOW)
        await store.backup(backup)
    return backup


async def test_everything_comes_back_under_a_new_history(
    database: Database, elsewhere: Database
) -> None:
    backup = await fill(database)
    copy_key(database, elsewhere)
    assert backup.stat().st_mode & 0o777 == 0o600
    await DatabaseStore.restore(elsewhere.url, elsewhere.key_file, backup)
    async with database.editor() as was, elsewhere.editor() as now:
        assert now.live.current().table == was.live.current().table
        assert dict(now.live.current().marks) == dict(was.live.current().marks)
        assert now.live.current().history != was.live.current().history
        one, two = was._store, now._store
        assert await one.secrets(["acct"]) == await two.secrets(["acct"])
        assert (await two.secrets(["acct"]))[0].password == CANARY
        assert await one.revisions(10) == await two.revisions(10)
        assert await one.changes_since(0, 2) == await two.changes_since(0, 2)
        assert await one.mtas() == await two.mtas()
        assert await one.tokens() == await two.tokens()
        assert await one.pushes(10) == await two.pushes(10)
        assert set((await now.restore(1, author="test")).snapshot.table.rules) == {"shop", "lists"}


async def test_what_was_numbered_after_the_backup_is_not_numbered_again(database: Database) -> None:
    backup = await fill(database)
    async with database.editor() as editor:
        edited = await editor.edit(lambda _: [put_rule("after")], author="test")
        assert edited.snapshot.table.rules["after"].id == "r4"
        assert (await editor._store.create_push(3, "test", ["mx1"], NOW)).id == 2
    await DatabaseStore.restore(database.url, database.key_file, backup)
    async with database.editor() as editor:
        assert "after" not in editor.live.current().table.rules
        edited = await editor.edit(lambda _: [put_rule("other")], author="test")
        assert number_of(edited.snapshot.table.rules["other"].id) == 4 + COUNTER_GAP + 1
        assert (await editor._store.create_push(3, "test", ["mx1"], NOW)).id == 2 + COUNTER_GAP + 1


async def test_a_place_that_knows_nothing_of_later_numbers_leaves_a_wide_gap(
    database: Database, elsewhere: Database
) -> None:
    backup = await fill(database)
    copy_key(database, elsewhere)
    await DatabaseStore.restore(elsewhere.url, elsewhere.key_file, backup)
    async with elsewhere.editor() as editor:
        edited = await editor.edit(lambda _: [put_rule("other")], author="test")
        assert number_of(edited.snapshot.table.rules["other"].id) > 10_000
        assert (await editor._store.create_push(3, "test", ["mx1"], NOW)).id > 10_000


@pytest.mark.parametrize("meanwhile", [0, 1], ids=["same-number", "other-number"])
async def test_a_server_that_runs_notices_what_was_put_back_under_it(
    database: Database, meanwhile: int
) -> None:
    backup = await fill(database)
    async with database.editor() as running:
        was = running.live.current().history
        for _ in range(meanwhile):
            await running.edit(lambda _: [delete(Kind.RULE, "more")], author="test")
        await DatabaseStore.restore(database.url, database.key_file, backup)
        edited = await running.edit(lambda _: [put_rule("next")], author="test")
        assert edited.snapshot.revision == 3
        assert edited.snapshot.history != was
        assert set(edited.snapshot.table.rules) == {"shop", "lists", "more", "next"}
        assert edited.snapshot == (await running._store.load())[0]


async def test_what_is_put_back_among_writers_is_put_back_whole(database: Database) -> None:
    backup = await fill(database)
    async with database.editor() as editor:

        async def write(number: int) -> None:
            for turn in range(10):
                puts = [put_rule(f"w{number}", priority=turn + 1)]
                await editor.edit(lambda _, p=puts: p, author="test")  # type: ignore[misc]

        await asyncio.gather(
            write(0), write(1), DatabaseStore.restore(database.url, database.key_file, backup)
        )
    async with database.editor() as again:
        table = again.live.current().table
        assert (await again.table_at(0)).rules == {}
        assert (
            {"shop", "lists", "more"} <= set(table.rules) <= {"shop", "lists", "more", "w0", "w1"}
        )
        assert (await again.table_at(2)).rules.keys() == {"shop", "lists", "more"}


async def test_a_backup_of_a_database_that_is_written_is_one_moment(database: Database) -> None:
    """Each edit puts and deletes a rule in turn: a backup that mixed two would not chain."""
    async with database.editor() as editor:
        backups = [database.folder / f"backup{n}" for n in range(4)]

        async def write(number: int) -> None:
            for turn in range(15):
                puts = [put_rule(f"w{number}", priority=turn + 1)]
                await editor.edit(lambda _, p=puts: p, author="test")  # type: ignore[misc]

        async def copy() -> None:
            for path in backups:
                await editor._store.backup(path)

        await asyncio.gather(write(0), write(1), copy())
    for number, path in enumerate(backups):
        folder = database.folder / f"put-back-{number}"
        folder.mkdir()
        target = Database(str(folder / "relaymap.db"), folder)
        copy_key(database, target)
        await DatabaseStore.restore(target.url, target.key_file, path)
        async with target.editor() as copied:
            table = copied.live.current().table
            assert (await copied.table_at(0)).rules == {}
            assert sum(rule.priority for rule in table.rules.values()) == table.revision


async def test_a_backup_does_not_write_over_a_file(database: Database) -> None:
    path = database.folder / "precious"
    path.write_text("precious")
    link = database.folder / "link"
    link.symlink_to(database.folder / "target")
    async with database.store() as store:
        for taken in (path, link):
            with pytest.raises(FileExistsError):
                await store.backup(taken)
    assert path.read_text() == "precious"
    assert not link.exists()


async def test_a_backup_needs_the_key_that_its_secrets_were_sealed_with(
    database: Database, tmp_path: Path
) -> None:
    backup = await fill(database)
    folder = tmp_path / "fresh"
    folder.mkdir()
    fresh = Database(str(folder / "relaymap.db"), folder)
    with pytest.raises(SealingKeyMissing):
        await DatabaseStore.restore(fresh.url, fresh.key_file, backup)
    fresh.key_file.write_bytes(bytes(32))
    fresh.key_file.chmod(0o600)
    with pytest.raises(SealingKeyWrong):
        await DatabaseStore.restore(fresh.url, fresh.key_file, backup)
    assert [path.name for path in folder.iterdir()] == ["sealing.key"], "nothing was made"


@pytest.mark.parametrize("content", [b"", b"no backup at all" * 1000, None])
async def test_what_is_no_backup_changes_nothing(database: Database, content: bytes | None) -> None:
    backup = await fill(database)
    torn = database.folder / "torn"
    whole = backup.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2 // 4096 * 4096] if content is None else content)
    async with database.store() as store:
        before = await store.load()
        with pytest.raises(StorageDamaged):
            await DatabaseStore.restore(database.url, database.key_file, torn)
        assert await store.load() == before
    with pytest.raises(FileNotFoundError):
        await DatabaseStore.restore(database.url, database.key_file, database.folder / "absent")
