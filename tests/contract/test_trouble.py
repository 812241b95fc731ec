"""When the database does not do its part, callers are told so, and nothing said to be stored is not.

Questions are answered from memory meanwhile.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from app.routing.writes import Write
from app.server.edit import Editor
from app.server.live import Snapshot
from app.server.storage import (
    OutcomeUnknown,
    StorageAway,
    StorageBusy,
    StorageFull,
    StorageTrouble,
)
from app.server.store import engines, heads, store
from app.server.store.store import DatabaseStore
from tests.contract import lossy, postgresql
from tests.contract.conftest import Database
from tests.contract.lossy import Loss
from tests.contract.samples import put_rule

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]


async def add(editor: Editor, name: str) -> int:
    edited = await editor.edit(lambda _: [put_rule(name)], author="test")
    return edited.snapshot.revision


async def stored(database: Database) -> list[str]:
    """The rules that are there, once revisions and journal were found whole."""
    async with database.editor() as editor:
        table = editor.live.current().table
        rows = await editor._store.revisions(1_000)
        assert [row.revision for row in rows] == list(range(table.revision, 0, -1))
        assert set((await editor.table_at(0)).rules) == set()
        return sorted(table.rules)


def store_of(editor: Editor) -> DatabaseStore:
    assert isinstance(editor._store, DatabaseStore)
    return editor._store


async def test_a_database_that_another_process_holds_is_busy(database: Database) -> None:
    assert engines.WAIT_MS < 2_000
    async with database.editor() as editor:
        assert await add(editor, "a") == 1
        with database.connection() as other:
            heads.lock(other)
            with pytest.raises(StorageBusy) as busy:
                await add(editor, "b")
            assert busy.value.temporary
            assert set(editor.live.current().table.rules) == {"a"}
            assert (await editor._store.head()).revision == 1, "reads go on"
        assert await add(editor, "b") == 2
    assert await stored(database) == ["a", "b"]


async def test_a_full_disk_is_said_and_what_was_stored_stays(sqlite: Database) -> None:
    async with sqlite.editor() as editor:
        assert await add(editor, "a") == 1
        with store_of(editor)._opened.writer.connect() as writer:
            pages = writer.execute(text("PRAGMA page_count")).scalar_one()
            writer.execute(text(f"PRAGMA max_page_count = {pages + 20}"))
        done: list[str] = []

        async def add_many() -> None:
            for number in range(1_000):
                await add(editor, f"b{number:03}")
                done.append(f"b{number:03}")

        with pytest.raises(StorageFull) as full:
            await add_many()
        assert full.value.temporary
        assert done, "some found room"
        assert sorted(editor.live.current().table.rules) == ["a", *done]
        assert await editor._store.head() is not None
        with store_of(editor)._opened.writer.connect() as writer:
            writer.execute(text("PRAGMA max_page_count = 1000000"))
        await add(editor, "c")
    assert await stored(sqlite) == ["a", *done, "c"]


@pytest.mark.slow
def test_on_a_file_system_that_is_full_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    script = 'mount -t tmpfs -o size=1m,mode=700 tmpfs "$1" && exec "$2" -m "$3" "$1"'
    writer = [sys.executable, "tests.contract.full_disk_writer"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), *writer],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said["stored"]) > 3
    assert said["refused"] == ["storage-full"] * 3
    assert said["served"] == said["stored"]
    assert said["readable"] == len(said["stored"])
    assert said["there"] == sorted([*said["stored"], "after"])
    assert said["revision"] == len(said["there"])


# --- PostgreSQL's own errors, made by itself in the middle of a commit --------------------------

NOW = "CREATE TRIGGER trouble AFTER INSERT ON journal FOR EACH ROW EXECUTE FUNCTION trouble()"
AT_COMMIT = (
    "CREATE CONSTRAINT TRIGGER trouble AFTER INSERT ON journal DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION trouble()"
)
KILLED = "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(30)"
TROUBLES = [
    pytest.param("RAISE EXCEPTION 'no' USING ERRCODE = '53100'", StorageFull, id="disk-full"),
    pytest.param("RAISE EXCEPTION 'no' USING ERRCODE = '40001'", StorageBusy, id="serialization"),
    pytest.param("RAISE EXCEPTION 'no' USING ERRCODE = '40P01'", StorageBusy, id="deadlock"),
    pytest.param(KILLED, StorageAway, id="killed"),
]


@contextmanager
def trouble(database: Database, trigger: str, body: str) -> Iterator[None]:
    function = "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS"
    with database.connection() as connection:
        connection.execute(text(f"{function} $$ BEGIN {body}; RETURN NULL; END $$"))
        connection.execute(text(trigger))
    try:
        yield
    finally:
        with database.connection() as connection:
            connection.execute(text("DROP FUNCTION trouble() CASCADE"))


@pytest.mark.postgres
@pytest.mark.parametrize("trigger", [NOW, AT_COMMIT], ids=["statement", "commit"])
@pytest.mark.parametrize(("body", "expected"), TROUBLES)
async def test_an_error_of_the_server_is_said_as_what_it_means(
    in_postgresql: Database, trigger: str, body: str, expected: type[StorageTrouble]
) -> None:
    async with in_postgresql.editor() as editor:
        await add(editor, "a")
        with trouble(in_postgresql, trigger, body):
            with pytest.raises(expected):
                await add(editor, "b")
            assert set(editor.live.current().table.rules) == {"a"}
        assert await add(editor, "c") == 2
    assert await stored(in_postgresql) == ["a", "c"]


# --- a connection that is lost at COMMIT --------------------------------------------------------


@pytest.fixture
def lossy_postgresql(
    in_postgresql: Database,
    postgresql_server: postgresql.Server,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[lossy.Proxy, Database]]:
    """The same database, once past a proxy that loses things."""
    monkeypatch.setattr(store, "SETTLE_S", 30)  # what can be found out is found out at once
    # The path of a Unix socket has to be short.
    with (
        tempfile.TemporaryDirectory(prefix="relaymap-lossy-") as name,
        lossy.proxy(Path(name), postgresql_server.folder) as proxy,
    ):
        url = in_postgresql.url.replace(str(postgresql_server.folder), name)
        yield proxy, Database(url, in_postgresql.folder)


@pytest.mark.postgres
async def test_a_commit_whose_answer_was_lost_is_found_to_be_stored(
    lossy_postgresql: tuple[lossy.Proxy, Database], in_postgresql: Database
) -> None:
    proxy, database = lossy_postgresql
    async with database.editor() as editor:
        await add(editor, "a")
        proxy.loss = Loss.ANSWER
        assert await add(editor, "b") == 2
        assert await add(editor, "c") == 3
    assert proxy.losses == 1
    assert await stored(in_postgresql) == ["a", "b", "c"]


@pytest.mark.postgres
async def test_a_commit_that_never_arrived_is_found_not_to_be_stored(
    lossy_postgresql: tuple[lossy.Proxy, Database], in_postgresql: Database
) -> None:
    proxy, database = lossy_postgresql
    async with database.editor() as editor:
        await add(editor, "a")
        proxy.loss = Loss.QUESTION
        with pytest.raises(StorageAway):
            await add(editor, "b")
        assert set(editor.live.current().table.rules) == {"a"}
        assert await add(editor, "c") == 2
    assert proxy.losses == 1
    assert await stored(in_postgresql) == ["a", "c"]


@pytest.mark.postgres
@pytest.mark.parametrize(("loss", "there"), [(Loss.ANSWER, ["a", "b"]), (Loss.QUESTION, ["a"])])
async def test_what_cannot_be_found_out_is_said_and_settled_before_the_next_edit(
    lossy_postgresql: tuple[lossy.Proxy, Database],
    in_postgresql: Database,
    monkeypatch: pytest.MonkeyPatch,
    loss: Loss,
    there: list[str],
) -> None:
    monkeypatch.setattr(store, "SETTLE_S", 0.3)
    proxy, database = lossy_postgresql
    async with database.editor() as editor:
        await add(editor, "a")
        proxy.loss, proxy.stays_away = loss, True
        with pytest.raises(OutcomeUnknown) as unknown:
            await add(editor, "b")
        assert unknown.value.temporary
        assert set(editor.live.current().table.rules) == {"a"}, "questions are answered still"
        with pytest.raises(StorageAway):
            await add(editor, "refused")
        proxy.away = False
        known: list[str] = []

        def look(now: Snapshot) -> list[Write]:
            known.extend(now.table.rules)
            return []

        await editor.edit(look, author="test")
        assert known == there, "the next edit is decided on what is there"
        assert await add(editor, "c") == len(there) + 1
    assert await stored(in_postgresql) == [*there, "c"]


# --- a server that crashes and comes back -------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.slow
async def test_a_crash_of_postgresql_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with postgresql.server() as server, server.database() as url:
        database = Database(url, tmp_path)
        async with database.editor() as editor:
            acknowledged = []
            for crash in range(3):
                await add(editor, f"before{crash}")
                server.stop(signal.SIGQUIT)
                with pytest.raises(StorageAway):
                    await add(editor, f"during{crash}")
                assert editor.live.current().revision == 2 * crash + 1
                server.start()
                await add(editor, f"after{crash}")
                acknowledged += [f"before{crash}", f"after{crash}"]
        assert await stored(database) == sorted(acknowledged)
