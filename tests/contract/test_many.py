"""Thousands of entries in one edit: stored, journalled, loaded and restored as any other."""

import re

import pytest
from sqlalchemy import text

from app.routing.change import EntryChanges, Kind, Subject, apply, invert, parts_of
from app.routing.entries import TableEntries
from app.routing.next_hop import parse_entry_hop
from app.routing.writes import Put, PutMany, Write
from app.server.edit import Edited, Editor
from tests.contract.conftest import Database
from tests.contract.samples import delete, put_entry, put_table

pytestmark = pytest.mark.anyio
MANY = 12_000
HOPS = tuple(parse_entry_hop(f"smtp://mx{n}.example.net") for n in range(5))


def entries(*, first: int = 0, turn: int = 0) -> TableEntries:
    return TableEntries({f"d{n}.example": HOPS[(n + turn) % 5] for n in range(first, first + MANY)})


async def write(editor: Editor, *writes: Write) -> Edited:
    return await editor.edit(lambda _: writes, author="test")


async def three(editor: Editor) -> list[Edited]:
    """A table with its entries; half of them changed and gone; none left."""
    await write(editor, put_table("big"), put_entry("big", "d1.example", "mx"))
    return [
        await write(editor, PutMany("big", entries())),
        await write(editor, PutMany("big", entries(first=MANY // 2, turn=1), replaces=True)),
        await write(editor, delete(Kind.TABLE, "big")),
    ]


async def test_many_entries_are_loaded_as_they_were_put(database: Database) -> None:
    async with database.editor() as editor:
        made = await three(editor)
        assert [len(each.changes) for each in made] == [MANY, MANY + MANY // 2, MANY + 1]
        for each in made:
            again, _ = await editor._store.load()
            await editor.restore(each.snapshot.revision, author="test")
            now, _ = await editor._store.load()
            assert again is not now
            assert now.table.entries == each.snapshot.table.entries
            assert dict(now.marks) == dict(editor.live.current().marks)
            assert now.table == editor.live.current().table


async def test_a_load_finds_what_the_edit_left(database: Database) -> None:
    async with database.editor() as editor:
        await write(editor, put_table("big"))
        for turn, replaces in ((0, False), (1, False), (2, True)):
            put = PutMany("big", entries(first=turn * 7, turn=turn), replaces)
            edited = await write(editor, put)
            loaded, _ = await editor._store.load()
            assert loaded == edited.snapshot
            assert dict(loaded.marks) == dict(edited.snapshot.marks)


async def test_many_entries_stand_as_single_ones(database: Database) -> None:
    """Their times too, which the driver alone would write in another way."""
    async with database.editor() as editor:
        await write(editor, put_table("big"), put_entry("big", "single.example", "mx"))
        await write(editor, PutMany("big", entries()))
        with database.connection() as connection:
            rows = connection.execute(text("SELECT CAST(created_at AS TEXT) FROM entries"))
            # PostgreSQL writes no zeros at the end of a second's parts.
            shapes = {re.sub("[0-9]+", "9", moment) for moment in rows.scalars()}
        assert len(shapes) == 1


async def test_the_journal_keeps_many_entries_packed(database: Database) -> None:
    async with database.editor() as editor:
        made = await three(editor)
        for each in made:
            kept = await editor._store.changes(each.snapshot.revision)
            assert list(kept) == list(each.changes)
            assert any(isinstance(part, EntryChanges) for part in parts_of(kept))
        since = await editor._store.changes_since(1, made[-1].snapshot.revision)
        then = apply(made[-1].snapshot.table, invert(since))
        assert dict(then.entries["big"]) == {"d1.example": parse_entry_hop("mx")}


async def test_a_table_with_many_entries_is_restored(database: Database) -> None:
    async with database.editor() as editor:
        made = await three(editor)
        back = await editor.restore(made[0].snapshot.revision, author="test")
        assert back.snapshot.table.entries == made[0].snapshot.table.entries
        await editor.restore(1, author="test")
        assert list(editor.live.current().table.entries["big"]) == ["d1.example"]
        again, _ = await editor._store.load()
        assert again == editor.live.current()


async def test_many_entries_and_single_ones_in_one_edit(database: Database) -> None:
    async with database.editor() as editor:
        await write(editor, put_table("big"), put_table("other"))
        edited = await write(
            editor,
            put_entry("other", "a.example", "mx"),
            PutMany("big", entries()),
            put_entry("big", "d0.example", "mx"),
            Put(Subject(Kind.ENTRY, "big", "new.example"), HOPS[0]),
        )
        assert len(edited.changes) == MANY + 2
        loaded, _ = await editor._store.load()
        assert loaded == edited.snapshot
        assert str(loaded.table.entries["big"]["d0.example"]) == "mx"
