"""What another process writes is taken over: by what changed, or all anew, and never wrong."""

from datetime import timedelta

import pytest

from app.routing.change import Kind, Subject
from app.routing.writes import Delete, Write
from app.server import following
from app.server.edit import Editor, utc_now
from app.server.live import Snapshot
from app.server.storage import Head
from app.server.store.store import DatabaseStore
from tests.contract.conftest import Database
from tests.contract.samples import (
    EVERYTHING,
    SECRETS,
    put_entry,
    put_map,
    put_rule,
    put_state,
    put_table,
)

pytestmark = pytest.mark.anyio


class Counting(DatabaseStore):
    """Counts how often everything is read."""

    loads = 0

    async def load(self) -> tuple[Snapshot, Head]:
        self.loads += 1
        return await super().load()


async def write(editor: Editor, *writes: Write) -> None:
    await editor.edit(lambda _: writes, author="test", secrets=SECRETS)


async def pair(database: Database) -> tuple[Counting, Editor, Editor]:
    """A store, one editor on it that will follow, and one that writes."""
    store = await Counting.open(database.url, database.key_file)
    follower, writer = await Editor.start(store), await Editor.start(store)
    store.loads = 0
    return store, follower, writer


async def assert_is_stored(follower: Editor, store: Counting) -> None:
    loads = store.loads
    stored, head = await store.load()
    store.loads = loads
    live = follower.live.current()
    assert live == stored
    assert dict(live.marks) == dict(stored.marks)
    assert (live.history, live.revision) == (head.history, head.revision)


async def test_what_changed_is_taken_over_without_reading_the_rest(database: Database) -> None:
    store, follower, writer = await pair(database)
    try:
        await write(writer, *EVERYTHING)
        await write(writer, put_table("t"), put_entry("t", "a.test", "mx"))
        await write(writer, put_entry("t", "a.test", "mx"), put_entry("t", "b.test", "mx"))
        assert await follower.follow()
        await assert_is_stored(follower, store)
        await write(writer, Delete(Subject(Kind.ENTRY, "t", "a.test")), put_rule("late"))
        await write(writer, put_map("m", "smtp://a.test", "smtp://b.test"))
        await write(writer, put_state("m", "a.test"))
        assert await follower.follow()
        assert not await follower.follow()
        await assert_is_stored(follower, store)
        assert store.loads == 0
        # The ids that rules are given go on as well.
        await write(follower, put_rule("own"))
        assert await writer.follow()
        await assert_is_stored(writer, store)
        ids = [rule.id for rule in writer.live.current().table.rules.values()]
        assert len(set(ids)) == len(ids)
        assert store.loads == 0
    finally:
        await store.close()


async def test_a_writer_that_was_overtaken_takes_over_what_changed(database: Database) -> None:
    store, late, writer = await pair(database)
    try:
        await write(writer, put_table("t"), put_entry("t", "a.test", "mx"))
        await write(late, put_table("u"))
        await assert_is_stored(late, store)
        assert late.live.current().table.tables.keys() == {"t", "u"}
        assert store.loads == 0
    finally:
        await store.close()


@pytest.mark.parametrize("why", ["many revisions", "many changes", "pruned", "another history"])
async def test_what_the_journal_does_not_tell_is_read_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(following, "_MOST_REVISIONS", 2 if why == "many revisions" else 50)
    monkeypatch.setattr(following, "_MOST_CHANGES", 2 if why == "many changes" else 50)
    store, follower, writer = await pair(database)
    try:
        for name in ("a", "b", "c"):
            await write(writer, put_table(name))
        if why == "pruned":
            assert await store.prune(1, utc_now() + timedelta(days=1))
        if why == "another history":
            with database.connection() as connection:
                connection.exec_driver_sql("UPDATE head SET history = 'another'")
        assert await follower.follow()
        await assert_is_stored(follower, store)
        assert store.loads == 1
    finally:
        await store.close()
