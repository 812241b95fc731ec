"""Tokens, MTAs, reports and pushes are kept as promised."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.routing.errors import LimitReached, NameTaken, RevisionMoved, Unknown
from app.server.storage import LastAdmin, LineRow, MtaRow, ReportRow, TokenRow
from app.server.store import mta_rows
from app.wire import LineState, MtaState, Reload, Report
from tests.contract.conftest import Database
from tests.contract.samples import put_rule

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)


def token(
    number: int, *scopes: str, mta: str | None = None, expires_at: datetime | None = None
) -> TokenRow:
    at = NOW + timedelta(seconds=number)
    return TokenRow(f"t{number}", f"token {number}", scopes, mta, f"{number:064x}", at, expires_at)


def mta(name: str, description: str = "") -> MtaRow:
    return MtaRow(name, "opensmtpd", description, NOW, NOW)


# --- tokens


async def test_a_token_is_found_by_its_hash(database: Database) -> None:
    async with database.store() as store:
        first = token(1, "resolve", "push", expires_at=NOW + HOUR)
        second = token(0, "tokens:admin")
        await store.put_token(first)
        await store.put_token(second)
        assert await store.token_by_hash(first.hash) == first
        assert await store.token_by_hash("f" * 64) is None
        assert await store.tokens() == (second, first), "oldest first"
        await store.touch_token("t1", NOW + HOUR)
        assert await store.token_by_hash(first.hash) == replace(first, last_used_at=NOW + HOUR)
        await store.delete_token("t1", NOW)
        assert await store.token_by_hash(first.hash) is None
        await store.touch_token("t1", NOW)
        with pytest.raises(Unknown):
            await store.delete_token("t1", NOW)


async def test_the_last_token_that_may_make_tokens_stays(database: Database) -> None:
    async with database.store() as store:
        await store.put_token(token(1, "resolve", "tokens:admin"))
        await store.put_token(token(2, "tokens:admin", expires_at=NOW + HOUR))
        await store.put_token(token(3, "resolve"))
        with pytest.raises(LastAdmin):
            await store.delete_token("t1", NOW + 2 * HOUR)
        await store.delete_token("t1", NOW)
        with pytest.raises(LastAdmin):
            await store.delete_token("t2", NOW)
        await store.delete_token("t3", NOW)
        assert [row.id for row in await store.tokens()] == ["t2"]


async def test_of_two_deletes_at_once_one_leaves_an_admin(database: Database) -> None:
    async with database.store() as one, database.store() as two:
        await one.put_token(token(1, "tokens:admin"))
        await one.put_token(token(2, "tokens:admin"))
        ends = await asyncio.gather(
            one.delete_token("t1", NOW), two.delete_token("t2", NOW), return_exceptions=True
        )
        assert sorted(type(end).__name__ for end in ends) == ["LastAdmin", "NoneType"]
        assert len(await one.tokens()) == 1


async def test_an_mta_has_two_live_tokens_at_most(database: Database) -> None:
    async with database.store() as store:
        with pytest.raises(Unknown):
            await store.put_token(token(1, mta="mx1"))
        await store.put_mta(mta("mx1"))
        await store.put_token(token(1, mta="mx1", expires_at=NOW))
        await store.put_token(token(2, mta="mx1"))
        await store.put_token(token(3, mta="mx1"))
        with pytest.raises(LimitReached):
            await store.put_token(token(4, mta="mx1"))
        await store.delete_token("t2", NOW)
        await store.put_token(token(4, mta="mx1"))


# --- MTAs


async def test_an_mta_is_created_replaced_and_deleted(database: Database) -> None:
    async with database.store() as store:
        assert await store.put_mta(mta("mx2"), create_only=True)
        assert await store.put_mta(mta("mx1"))
        with pytest.raises(NameTaken):
            await store.put_mta(mta("mx1", "no"), create_only=True)
        later = replace(mta("mx1", "new"), created_at=NOW + HOUR, updated_at=NOW + HOUR)
        assert not await store.put_mta(later)
        assert await store.mta("mx1") == replace(later, created_at=NOW)
        assert [row.name for row in await store.mtas()] == ["mx1", "mx2"]
        await store.delete_mta("mx1", NOW)
        for gone in (store.mta("mx1"), store.delete_mta("mx1", NOW)):
            with pytest.raises(Unknown):
                await gone


async def test_there_are_so_many_mtas_at_most(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mta_rows, "MAX_MTAS", 2)
    async with database.store() as store:
        await store.put_mta(mta("mx1"))
        await store.put_mta(mta("mx2"))
        with pytest.raises(LimitReached):
            await store.put_mta(mta("mx3"))
        await store.put_mta(mta("mx2", "changed"))


async def test_the_last_report_of_an_mta_is_kept(database: Database) -> None:
    async with database.store() as store:
        report = ReportRow("mx1", Report(agent="a", state=MtaState.LIVE, version="6.8.0p2"), NOW)
        with pytest.raises(Unknown):
            await store.save_report(report)
        await store.put_mta(mta("mx1"))
        assert await store.report("mx1") is None
        await store.save_report(report)
        newer = replace(
            report, report=Report(agent="a", state=MtaState.DRIFTED), seen_at=NOW + HOUR
        )
        await store.save_report(newer)
        assert await store.report("mx1") == newer
        assert await store.reports() == (newer,)


async def test_what_belongs_to_an_mta_goes_with_it(database: Database) -> None:
    async with database.store() as store:
        await store.put_mta(mta("mx1"))
        await store.put_token(token(1, mta="mx1"))
        await store.put_token(token(2, "resolve"))
        await store.save_report(ReportRow("mx1", Report(agent="a", state=MtaState.LIVE), NOW))
        push = await store.create_push(0, "test", ["mx1"], NOW)
        await store.delete_mta("mx1", NOW + HOUR)
        assert [row.id for row in await store.tokens()] == ["t2"]
        assert await store.reports() == ()
        (line,) = (await store.push(push.id)).lines
        assert (line.state, line.finished_at) == (LineState.WITHDRAWN, NOW + HOUR)
        assert await store.open_lines() == ()
        assert await store.wanted() == {}


# --- pushes


async def test_a_push_pins_the_head_for_each_mta(database: Database) -> None:
    async with database.editor() as editor:
        store = editor._store
        await store.put_mta(mta("mx1"))
        await store.put_mta(mta("mx2"))
        await editor.edit(lambda _: [put_rule("a")], author="test")
        with pytest.raises(RevisionMoved) as moved:
            await store.create_push(0, "test", ["mx1"], NOW)
        assert moved.value.current == 1
        with pytest.raises(Unknown):
            await store.create_push(1, "test", ["mx1", "mx9"], NOW)
        push = await store.create_push(1, "me", ["mx2", "mx1"], NOW)
        assert (push.id, push.revision, push.author, push.created_at) == (1, 1, "me", NOW)
        assert push.history == (await store.head()).history
        assert push.lines == (LineRow(1, "mx1"), LineRow(1, "mx2"))
        assert await store.push(1) == push
        with pytest.raises(Unknown):
            await store.push(2)


async def test_a_newer_push_supersedes_what_waits_and_nothing_else(database: Database) -> None:
    async with database.store() as store:
        for name in ("mx1", "mx2", "mx3"):
            await store.put_mta(mta(name))
        await store.create_push(0, "test", ["mx1", "mx2", "mx3"], NOW)
        await store.save_line(LineRow(1, "mx2", LineState.APPLYING, started_at=NOW))
        failed = LineRow(1, "mx3", LineState.FAILED, tries=2, next_try_at=NOW + HOUR)
        await store.save_line(failed)
        assert [line.mta for line in await store.open_lines()] == ["mx1", "mx2", "mx3"]
        await store.create_push(0, "test", ["mx1", "mx2", "mx3"], NOW + HOUR)
        lines = {line.mta: line for line in (await store.push(1)).lines}
        assert lines["mx1"].state is LineState.SUPERSEDED
        assert lines["mx1"].finished_at == NOW + HOUR
        assert lines["mx2"].state is LineState.APPLYING
        assert lines["mx3"] == replace(failed, next_try_at=None)
        assert [(line.push, line.mta) for line in await store.open_lines()] == [
            (1, "mx2"),
            (2, "mx1"),
            (2, "mx2"),
            (2, "mx3"),
        ]


async def test_what_is_at_work_on_an_mta_is_found_with_its_line_alone(
    database: Database,
) -> None:
    async with database.store() as store:
        for name in ("mx1", "mx2"):
            await store.put_mta(mta(name))
        for number in (1, 2, 3):
            await store.create_push(0, "test", ["mx1", "mx2"], NOW)
            await store.save_line(LineRow(number, "mx1", LineState.APPLIED))
        await store.save_line(LineRow(2, "mx1", LineState.UNKNOWN))
        again = LineRow(3, "mx1", LineState.FAILED, tries=1, next_try_at=NOW + HOUR)
        await store.save_line(again)

        async def found(name: str, number: int | None) -> list[int]:
            rows = await store.pushes_at_work(name, number)
            assert all(line.mta == name for row in rows for line in row.lines)
            assert all(len(row.lines) == 1 for row in rows)
            return [row.id for row in rows]

        assert await found("mx1", None) == [2, 3]
        assert await found("mx1", 1) == [1, 2, 3]
        assert await found("mx1", 99) == [2, 3]
        assert await found("mx2", None) == [3]
        assert await found("nobody", 1) == []
        await store.save_line(replace(again, next_try_at=None))
        assert await found("mx1", None) == [2]


async def test_a_line_changes_only_from_the_state_that_was_seen(database: Database) -> None:
    async with database.store() as store:
        await store.put_mta(mta("mx1"))
        await store.create_push(0, "test", ["mx1"], NOW)
        begun = LineRow(1, "mx1", LineState.APPLYING, started_at=NOW)
        assert await store.save_line(begun, LineState.WAITING)
        assert not await store.save_line(replace(begun, detail="again"), LineState.WAITING)
        done = replace(
            begun,
            state=LineState.APPLIED,
            reload=Reload.TABLE_UPDATE,
            detail="served",
            finished_at=NOW + HOUR,
            tries=1,
        )
        assert await store.save_line(done)
        assert (await store.push(1)).lines == (done,)
        assert not await store.save_line(LineRow(7, "mx1"))
        assert await store.open_lines() == ()


async def test_the_newest_wish_counts_unless_it_was_taken_back(database: Database) -> None:
    async with database.store() as store:
        await store.put_mta(mta("mx1"))
        await store.put_mta(mta("mx2"))
        first = await store.create_push(0, "test", ["mx1", "mx2"], NOW)
        await store.save_line(LineRow(1, "mx1", LineState.REFUSED, finished_at=NOW))
        await store.create_push(0, "test", ["mx1"], NOW)
        wanted = await store.wanted()
        assert {name: push.id for name, push in wanted.items()} == {"mx1": 2, "mx2": 1}
        assert wanted["mx2"] == replace(first, lines=(LineRow(1, "mx2"),))
        await store.save_line(LineRow(2, "mx1", LineState.WITHDRAWN, finished_at=NOW))
        assert {name: push.id for name, push in (await store.wanted()).items()} == {
            "mx1": 1,
            "mx2": 1,
        }


async def test_pushes_come_in_pages_newest_first(database: Database) -> None:
    async with database.store() as store:
        await store.put_mta(mta("mx1"))
        for _ in range(5):
            await store.create_push(0, "test", ["mx1"], NOW)
        pages = [await store.pushes(2), await store.pushes(2, 4), await store.pushes(2, 2)]
        assert [[push.id for push in page] for page in pages] == [[5, 4], [3, 2], [1]]
        assert all(len(push.lines) == 1 for page in pages for push in page)


async def test_what_an_mta_is_still_to_serve_is_not_pruned(database: Database) -> None:
    async with database.editor() as editor:
        store = editor._store
        await store.put_mta(mta("mx1"))
        for number in range(5):
            await editor.edit(lambda _, n=number: [put_rule(f"a{n}")], author="test")  # type: ignore[misc]
            if number == 1:
                await store.create_push(2, "test", ["mx1"], NOW)
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        assert await store.prune(1, tomorrow) == 1
        assert set((await editor.table_at(2)).rules) == {"a0", "a1"}
        assert [push.id for push in await store.pushes(9)] == [1]
        await store.create_push(5, "test", ["mx1"], NOW)
        assert await store.prune(1, tomorrow) == 3
        assert [push.id for push in await store.pushes(9)] == [2]


async def test_an_mta_that_is_gone_keeps_nothing(database: Database) -> None:
    async with database.editor() as editor:
        store, now = editor._store, datetime.now(UTC)
        await store.put_mta(mta("mx1"))
        for number in range(3):
            await editor.edit(lambda _, n=number: [put_rule(f"a{n}")], author="test")  # type: ignore[misc]
            await store.create_push(number + 1, "test", ["mx1"], now)
        await store.delete_mta("mx1", now)
        assert await store.prune(1, now - timedelta(days=1)) == 0
        assert len(await store.pushes(9)) == 3, "they are young"
        assert await store.prune(1, now + timedelta(days=1)) == 2
        assert await store.pushes(9) == ()
