"""Entries of tables: loaded as they were made, and read page by page in the order of code points."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from app.routing.change import Kind, Subject
from app.routing.next_hop import parse_entry_hop
from app.routing.table import Table, TableKey
from app.routing.writes import Delete, Put, Write
from app.server.edit import Editor
from app.server.live import Snapshot
from app.server.storage import EntryRow, StorageDamaged
from app.server.store import entry_rows
from app.server.store.migrate import SCRIPTS
from app.server.store.store import DatabaseStore
from tests.contract.conftest import Database
from tests.contract.samples import put_entry, put_table

pytestmark = pytest.mark.anyio

USERS = ["Zoe", "_x", "a-b", "a.b", "ab", "abc", "b", "m\u00fcller", "\uffee", "\U0001f4e7"]
"""In the order of their code points; a language would mix the cases and skip the signs."""


def put_user(key: str) -> Put:
    return Put(Subject(Kind.ENTRY, "users", key), parse_entry_hop("mx"))


async def make(editor: Editor, *writes: Write) -> Snapshot:
    return (await editor.edit(lambda _: writes, author="test")).snapshot


async def test_what_was_made_over_many_revisions_is_loaded_with_its_marks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of several tables lie between one another, and more of them than are read at once."""
    monkeypatch.setattr(entry_rows, "_SLICE", 7)
    monkeypatch.setattr(entry_rows, "_MOST_KNOWN", 3)
    async with database.editor() as editor:
        await make(editor, put_table("one"), put_table("two"), put_table("none"))
        for number in range(30):
            via = f"smtp://mx{number % 5}.example.net"
            same = (put_entry(name, f"d{number}.example", via) for name in ("one", "two"))
            await make(editor, *same, put_entry("one", "again.example", via))
        gone = Delete(Subject(Kind.ENTRY, "two", "d7.example"))
        kept = await make(editor, gone, put_entry("two", "d8.example", "mx"))
        loaded, _ = await editor._store.load()
    assert loaded == kept
    assert dict(loaded.marks) == dict(kept.marks)
    assert {name: len(entries) for name, entries in loaded.table.entries.items()} == {
        "one": 31,
        "two": 29,
        "none": 0,
    }


async def test_pages_are_in_the_order_of_code_points(database: Database) -> None:
    async with database.store() as store:
        editor = await Editor.start(store)
        table = Put(Subject(Kind.TABLE, "users"), Table("users", TableKey.AUTH_USER))
        await make(editor, table, put_table("others"), put_entry("others", "c.example", "mx"))
        snapshot = await make(editor, *map(put_user, reversed(USERS)))
        found: list[EntryRow] = []
        after = ""
        while rows := await store.entries("users", 3, after):
            assert len(rows) <= 3
            found += rows
            after = rows[-1].key
        assert [row.key for row in found] == USERS == sorted(USERS)
        for row in found:
            subject = Subject(Kind.ENTRY, "users", row.key)
            assert row.via == snapshot.table.entries["users"][row.key]
            assert row.mark == snapshot.marks[subject]
        assert await store.entries("no-such-table", 3) == ()


async def test_a_page_is_read_by_an_index_and_nothing_is_sorted(database: Database) -> None:
    async with database.editor() as editor:
        await make(editor, put_table("t"), *(put_entry("t", f"d{n}.test", "mx") for n in range(50)))
    query = "SELECT * FROM entries WHERE table_name = 't' AND key > 'd3' ORDER BY key LIMIT 3"
    with database.connection() as connection:
        if database.file is None:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))
            collation = (
                "SELECT collation_name FROM information_schema.columns WHERE column_name = 'key'"
            )
            assert connection.execute(text(collation)).scalars().all() == ["C"]
        explain = "EXPLAIN" if database.file is None else "EXPLAIN QUERY PLAN"
        plan = str(connection.execute(text(f"{explain} {query}")).all())
    assert ("pk_entries" if database.file is None else "USING INDEX") in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


async def test_a_database_that_sorts_by_a_language_is_brought_up_to_date(
    database: Database, tmp_path: Path
) -> None:
    old = tmp_path / "older"
    shutil.copytree(SCRIPTS, old)
    (old / "versions" / "0003_entries_by_code_point.py").unlink()
    store = await DatabaseStore.open(database.url, database.key_file, old)
    try:
        editor = await Editor.start(store)
        table = Put(Subject(Kind.TABLE, "users"), Table("users", TableKey.AUTH_USER))
        before = await make(editor, table, *map(put_user, USERS))
    finally:
        await store.close()
    async with database.store() as again:
        after, _ = await again.load()
        assert after == before
        assert [row.key for row in await again.entries("users", 100)] == USERS


@pytest.mark.parametrize("column", ["via", "table_name"])
async def test_an_entry_that_cannot_be_read_is_said(database: Database, column: str) -> None:
    async with database.editor() as editor:
        await make(editor, put_table("t"), put_table("u"), put_entry("t", "d.test", "mx"))
    with database.connection() as connection:
        if column == "table_name":
            if database.file is None:
                connection.execute(
                    text("ALTER TABLE entries DROP CONSTRAINT fk_entries_table_name")
                )
            else:
                connection.exec_driver_sql("COMMIT")
                connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
                connection.exec_driver_sql("BEGIN")
        connection.execute(text(f"UPDATE entries SET {column} = 'x://y'"))
    async with database.store() as store:
        with pytest.raises(StorageDamaged, match="an entry of a table cannot be read"):
            await store.load()
        if column == "via":
            with pytest.raises(StorageDamaged, match="an entry of a table cannot be read"):
                await store.entries("t", 1)
