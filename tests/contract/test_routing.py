"""Routing is kept as it was written: every kind, through commits, reloads and restores."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.routing.change import Kind, Subject
from app.routing.errors import (
    CredentialMissing,
    Invalid,
    LimitReached,
    RevisionMoved,
    RevisionPruned,
    StillReferenced,
    Unknown,
)
from app.routing.routing_table import EMPTY
from app.routing.writes import Write
from app.server import proposal
from app.server.edit import Edited, Editor, Plan
from app.server.live import Snapshot
from app.server.storage import NewSecret
from tests.contract.conftest import Database
from tests.contract.samples import (
    CANARY,
    EVERYTHING,
    SECRETS,
    delete,
    put_credential,
    put_entry,
    put_map,
    put_rule,
    put_state,
    put_table,
)

pytestmark = pytest.mark.anyio


async def write(editor: Editor, *writes: Write, dry_run: bool = False) -> Edited:
    return await editor.edit(
        lambda _: writes, author="test", message="because", dry_run=dry_run, secrets=SECRETS
    )


def at(revision: int, *writes: Write) -> Plan:
    """A plan that holds for one revision alone, as with If-Match."""

    def plan(now: Snapshot) -> tuple[Write, ...]:
        if now.revision != revision:
            raise RevisionMoved(now.revision)
        return writes

    return plan


async def test_what_was_written_is_what_is_loaded(database: Database) -> None:
    async with database.editor() as editor:
        edited = await write(editor, *EVERYTHING)
        assert edited.snapshot.revision == 1
        assert len(edited.changes) == len(EVERYTHING)
    async with database.editor() as again:
        loaded = again.live.current()
    assert loaded == edited.snapshot
    assert dict(loaded.marks) == dict(edited.snapshot.marks)
    assert {len(m) for m in (loaded.table.maps, loaded.table.states, loaded.table.tables)} == {1}
    assert len(loaded.table.entries["by-domain"]) == len(loaded.table.rules) == 2


async def test_each_kind_is_changed_and_deleted(database: Database) -> None:
    async with database.editor() as editor:
        first = await write(editor, *EVERYTHING)
        second = await write(
            editor,
            put_credential("acct", "*.example.net", "192.0.2.1", "192.0.2.2"),
            put_map("mxmap", "smtp://mx1.example.net", "smtp://mx3.example.net"),
            put_state("mxmap", "mx1.example.net", "another reason"),
            put_table("by-domain"),
            put_entry("by-domain", "customer.example", "map:mxmap"),
            put_rule("shop", "mx", 11),
        )
        assert second.snapshot.revision == 2
        snapshot, _ = await editor._store.load()
        assert snapshot == second.snapshot
        mark = snapshot.marks[Subject(Kind.RULE, "shop")]
        assert mark.revision == 2
        assert mark.created_at == first.snapshot.marks[Subject(Kind.RULE, "shop")].created_at
        assert mark.updated_at > mark.created_at
        assert snapshot.marks[Subject(Kind.RULE, "lists")].revision == 1
        third = await write(
            editor,
            delete(Kind.RULE, "shop"),
            delete(Kind.RULE, "lists"),
            delete(Kind.TABLE, "by-domain"),
            delete(Kind.RELAY_MAP, "mxmap"),
            delete(Kind.CREDENTIAL, "acct"),
        )
        assert len(third.changes) == 8, "what belongs to a map and a table goes with it"
        snapshot, _ = await editor._store.load()
        assert snapshot.table == replace(EMPTY, revision=3)
        assert len(snapshot.marks) == 0
        assert await editor._store.secrets(["acct"]) == ()


async def test_a_write_that_changes_nothing_makes_no_revision(database: Database) -> None:
    async with database.editor() as editor:
        first = await write(editor, *EVERYTHING)
        again = await write(editor, *EVERYTHING)
        assert again.changes == ()
        assert again.snapshot is first.snapshot
        assert (await editor._store.head()).revision == 1
        assert len(await editor._store.revisions(10)) == 1


async def test_a_dry_run_stores_nothing(database: Database) -> None:
    async with database.editor() as editor:
        tried = await write(editor, *EVERYTHING, dry_run=True)
        assert len(tried.changes) == len(EVERYTHING)
        assert tried.snapshot.revision == 0
        assert set(tried.snapshot.table.rules) == {"shop", "lists"}
        assert editor.live.current().table == EMPTY
        assert (await editor._store.head()).revision == 0
        assert await editor._store.secrets(["acct"]) == ()
        done = await write(editor, *EVERYTHING)
        assert done.snapshot.table.rules == tried.snapshot.table.rules, "ids were not used up"


async def test_a_rule_id_is_never_given_twice(database: Database) -> None:
    async with database.editor() as editor:
        made = await write(editor, put_rule("a"), put_rule("b"))
        assert {r.id for r in made.snapshot.table.rules.values()} == {"r1", "r2"}
        changed = await write(editor, put_rule("a", priority=5))
        assert changed.snapshot.table.rules["a"].id == "r1"
        await write(editor, delete(Kind.RULE, "a"), delete(Kind.RULE, "b"))
    async with database.editor() as editor:
        remade = await write(editor, put_rule("a"))
        assert remade.snapshot.table.rules["a"].id == "r3"
        swapped = await write(editor, delete(Kind.RULE, "a"), put_rule("a"))
        assert swapped.snapshot.table.rules["a"].id == "r4", "deleted and made again: another rule"
        restored = await editor.restore(2, author="test")
        assert restored.snapshot.table.rules["a"].id == "r1", "restored: the rule that it was"
        more = await write(editor, put_rule("c"))
        assert more.snapshot.table.rules["c"].id == "r5"


async def test_a_credential_moves_with_its_secret_and_its_hosts_alone(database: Database) -> None:
    async with database.editor() as editor:
        credential = put_credential("acct", "mx.example.net")

        async def store_it(put: Write, secret: NewSecret) -> int:
            given = {"acct": secret}
            edited = await editor.edit(lambda _: [put], author="test", secrets=given)
            return edited.snapshot.table.credentials["acct"].revision

        assert await store_it(credential, NewSecret("user", CANARY)) == 1
        assert await store_it(credential, NewSecret("user", CANARY)) == 1
        await write(editor, put_rule("between"))
        assert await store_it(credential, NewSecret("user", "another")) == 3
        wider = put_credential("acct", "mx.example.net", "mx.example.org")
        assert await store_it(wider, NewSecret("user", "another")) == 4
        (secret,) = await editor._store.secrets(["acct", "absent"])
        assert (secret.label, secret.revision) == ("acct", 4)
        assert (secret.username, secret.password) == ("user", "another")
        assert CANARY not in repr(secret)


async def test_a_new_credential_needs_a_secret_and_an_old_one_keeps_its_own(
    database: Database,
) -> None:
    async with database.editor() as editor:
        with pytest.raises(Invalid) as refused:
            await editor.edit(lambda _: [put_credential("acct", "a.example")], author="test")
        assert refused.value.faults[0].code == "missing"
        await write(editor, put_credential("acct", "a.example"))
        wider = put_credential("acct", "a.example", "b.example")
        await editor.edit(lambda _: [wider], author="test")
        (secret,) = await editor._store.secrets(["acct"])
        assert (secret.password, secret.revision) == (CANARY, 2)


async def test_what_is_used_is_not_deleted_and_its_users_are_named(database: Database) -> None:
    async with database.editor() as editor:
        await write(editor, *EVERYTHING, *(put_rule(f"x{n}", "map:mxmap") for n in range(30)))
        users: dict[str, tuple[int, int]] = {}
        for kind, name in (
            (Kind.RELAY_MAP, "mxmap"),
            (Kind.TABLE, "by-domain"),
            (Kind.CREDENTIAL, "acct"),
        ):
            with pytest.raises(StillReferenced) as refused:
                await write(editor, delete(kind, name))
            users[name] = (len(refused.value.users), refused.value.more)
        assert users == {"mxmap": (20, 12), "by-domain": (1, 0), "acct": (2, 0)}
        assert (await editor._store.head()).revision == 1
        together = await write(editor, delete(Kind.TABLE, "by-domain"), put_rule("lists", "mx"))
        assert together.snapshot.revision == 2, "checked together, at the end"


async def test_an_error_finding_refuses_the_whole_write_and_says_where(database: Database) -> None:
    async with database.editor() as editor:
        with pytest.raises(Invalid) as refused:
            await write(editor, put_rule("lost", "map:nowhere"))
        assert [f.pointer for f in refused.value.faults] == ["/action/via"]
        with pytest.raises(Invalid) as refused:
            await write(editor, put_rule("fine"), put_rule("lost", "map:nowhere"))
        assert [f.pointer for f in refused.value.faults] == ["/changes/1/body/action/via"]
        assert editor.live.current().table == EMPTY


@pytest.mark.parametrize(
    ("collection", "writes"),
    [
        ("maps", [put_map(f"m{n}", "smtp://mx.example") for n in range(4)]),
        ("rules", [put_rule(f"r{n}") for n in range(4)]),
        ("tables", [put_table(f"t{n}") for n in range(4)]),
        ("credentials", [put_credential("acct", "mx.example")]),
        ("entries", [put_table("t"), *(put_entry("t", f"d{n}.example", "mx") for n in range(4))]),
    ],
)
async def test_limits_are_kept(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    collection: str,
    writes: list[Write],
) -> None:
    limit = 0 if collection == "credentials" else 3
    if collection == "entries":
        monkeypatch.setattr(proposal, "MAX_ENTRIES", limit)
    else:
        monkeypatch.setattr(proposal, "LIMITS", {collection: limit})
    async with database.editor() as editor:
        with pytest.raises(LimitReached):
            await write(editor, *writes)
        assert editor.live.current().revision == 0
        if limit:
            assert (await write(editor, *writes[:-1])).snapshot.revision == 1


async def test_no_update_is_lost_among_concurrent_writers(database: Database) -> None:
    """Each adds one relay to what it read; a writer that was overtaken is told and tries again."""
    writers, each = 8, 5
    async with database.editor() as editor:
        await write(editor, put_map("shared", "smtp://first.example"))

        async def add(url: str) -> int:
            refused = 0
            while True:
                before = editor.live.current()
                urls = [str(relay.url) for relay in before.table.maps["shared"].relays]
                await asyncio.sleep(0)

                try:
                    await editor.edit(
                        at(before.revision, put_map("shared", *urls, url)), author=url
                    )
                except RevisionMoved:
                    refused += 1
                else:
                    return refused

        async def writer(number: int) -> int:
            return sum([await add(f"smtp://w{number}-{turn}.example") for turn in range(each)])

        refused = await asyncio.gather(*(writer(number) for number in range(writers)))
        assert sum(refused) > 0, "they did meet"
        snapshot, head = await editor._store.load()
        assert head.revision == 1 + writers * each
        assert len(snapshot.table.maps["shared"].relays) == 1 + writers * each
        authors = [row.author for row in await editor._store.revisions(1000)]
        assert len(set(authors)) == len(authors) == head.revision


async def test_two_processes_write_to_one_database(database: Database) -> None:
    """Each has its own editor: who is behind takes over what the other wrote, and decides anew."""
    async with database.editor() as one, database.editor() as two:
        await write(one, put_rule("a"))
        edited = await write(two, put_rule("b"))
        assert edited.snapshot.revision == 2
        assert {r.name: r.id for r in edited.snapshot.table.rules.values()} == {
            "a": "r1",
            "b": "r2",
        }
        assert one.live.current().revision == 1
        assert await one.follow()
        assert one.live.current() == two.live.current()
        assert not await one.follow()

        await write(two, put_rule("d"))
        with pytest.raises(RevisionMoved):
            await one.edit(at(2, put_rule("c")), author="test")


async def test_who_goes_away_does_not_undo_what_is_stored(database: Database) -> None:
    async with database.editor() as editor:
        with editor.subscribe() as changed:
            task = asyncio.ensure_future(write(editor, put_rule("a")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(changed.wait(), 30)
        snapshot, _ = await editor._store.load()
        assert snapshot == editor.live.current()
        assert snapshot.revision == 1


async def test_restore_brings_back_each_revision(database: Database) -> None:
    async with database.editor() as editor:
        seen = [editor.live.current().table]
        for writes in (
            EVERYTHING,
            [put_rule("shop", "mx"), put_map("mxmap", "smtp://mx9.example.net")],
            [delete(Kind.TABLE, "by-domain"), delete(Kind.RULE, "lists")],
            [put_table("by-domain"), put_entry("by-domain", "new.example", "map:mxmap")],
        ):
            edited = await write(editor, *writes)
            seen.append(edited.snapshot.table)
        for then in (*seen, *reversed(seen)):
            before = editor.live.current().table
            edited = await editor.restore(then.revision, author="test", message="back")
            now = edited.snapshot.table
            assert (now.maps, now.tables, now.entries, now.rules) == (
                then.maps,
                then.tables,
                then.entries,
                then.rules,
            )
            assert now.credentials == before.credentials
            assert (await editor._store.load())[0] == edited.snapshot
            assert await editor.table_at(then.revision) == then


async def test_restore_leaves_states_alone(database: Database) -> None:
    async with database.editor() as editor:
        await write(editor, put_map("m", "smtp://a.example", "smtp://b.example"))
        await write(editor, put_state("m", "a.example"), put_state("m", "b.example"))
        await write(editor, put_map("m", "smtp://a.example", "smtp://c.example"))
        edited = await editor.restore(1, author="test")
        assert set(edited.snapshot.table.states) == {("m", "a.example")}


async def test_restore_to_the_present_changes_nothing(database: Database) -> None:
    async with database.editor() as editor:
        await write(editor, *EVERYTHING)
        edited = await editor.restore(1, author="test")
        assert (edited.changes, edited.snapshot.revision) == ((), 1)
        with pytest.raises(RevisionMoved):
            await editor.restore(0, author="test", expected=7)
        for absent in (2, -1):
            with pytest.raises(Unknown):
                await editor.restore(absent, author="test")


async def test_restore_names_every_label_that_is_gone_or_no_longer_allowed(
    database: Database,
) -> None:
    async with database.editor() as editor:
        secrets = {label: NewSecret("u", "p") for label in ("gone", "moved")}
        puts = [
            put_credential("gone", "a.example"),
            put_credential("moved", "b.example"),
            put_map("m", "tls://gone@a.example", "tls://moved@b.example"),
        ]
        await editor.edit(lambda _: puts, author="test", secrets=secrets)
        await write(editor, delete(Kind.RELAY_MAP, "m"))
        await write(editor, delete(Kind.CREDENTIAL, "gone"), put_credential("moved", "c.example"))
        with pytest.raises(CredentialMissing) as missing:
            await editor.restore(1, author="test")
        assert {fault.code for fault in missing.value.faults} == {
            "dangling-credential",
            "credential-not-for-host",
        }
        assert (await editor._store.head()).revision == 3


async def test_pruned_revisions_are_gone_for_good_and_the_rest_stays(database: Database) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    yesterday = tomorrow - timedelta(days=2)
    async with database.editor() as editor:
        for number in range(6):
            await write(editor, put_rule(f"rule{number}"))
        assert await editor._store.prune(3, yesterday) == 0, "they are young"
        assert await editor._store.prune(100, tomorrow) == 0, "they are few"
        assert await editor._store.prune(3, tomorrow) == 3
        assert [row.revision for row in await editor._store.revisions(10)] == [6, 5, 4]
        for gone in (1, 3):
            with pytest.raises(RevisionPruned):
                await editor._store.revision(gone)
            with pytest.raises(RevisionPruned):
                await editor._store.changes(gone)
            with pytest.raises(RevisionPruned):
                await editor.restore(gone, author="test")
        with pytest.raises(RevisionPruned):
            await editor.restore(0, author="test")
        with pytest.raises(Unknown):
            await editor._store.revision(7)
        assert len((await editor.restore(4, author="test")).snapshot.table.rules) == 4
        assert await editor._store.prune(0, tomorrow) == 3, "the head stays whatever is asked"
    async with database.editor() as editor:
        assert editor.live.current().revision == 7
