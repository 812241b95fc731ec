"""The journal says what was, whole and unaltered; any walk through revisions can be walked back."""

import asyncio
import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import inspect, text

from app.routing.change import Change, Kind, Subject, value_document
from app.routing.errors import StillReferenced
from app.routing.routing_table import RoutingTable
from app.routing.writes import Delete, Write
from app.server.edit import Editor
from app.server.storage import StorageDamaged
from app.server.store import journal
from app.server.store.schema import METADATA
from app.server.store.store import DatabaseStore
from tests.contract.conftest import Database
from tests.contract.samples import (
    CANARY,
    EVERYTHING,
    SECRETS,
    delete,
    put_entry,
    put_map,
    put_rule,
    put_state,
    put_table,
)


async def three_revisions(editor: Editor) -> list[Sequence[Change]]:
    made: list[Sequence[Change]] = []
    for writes in (
        EVERYTHING,
        [put_rule("shop", "mx", 11), put_entry("by-domain", "new.example", "mx")],
        [delete(Kind.RULE, "shop"), delete(Kind.ENTRY, "by-domain", "new.example")],
    ):
        edited = await editor.edit(
            lambda _, w=writes: w,  # type: ignore[misc]
            author="me",
            message=f"message {len(made)}",
            secrets=SECRETS,
        )
        made.append(edited.changes)
    return made


@pytest.mark.anyio
async def test_each_revision_keeps_what_was_before_and_after(database: Database) -> None:
    async with database.editor() as editor:
        made = await three_revisions(editor)
        for number, changes in enumerate(made, start=1):
            row = await editor._store.revision(number)
            assert (row.author, row.message) == ("me", f"message {number - 1}")
            assert row.change_count == len(changes)
            assert await editor._store.changes(number) == changes
        assert await editor._store.changes_since(0, 3) == (*made[0], *made[1], *made[2])
        assert await editor._store.changes_since(1, 2) == made[1]
        assert [row.revision for row in await editor._store.revisions(2)] == [3, 2]
        assert [row.revision for row in await editor._store.revisions(2, 2)] == [1]
    (shop,) = [c for c in made[1] if c.subject.kind is Kind.RULE]
    assert shop.before is not None
    assert value_document(shop.subject, shop.before) != value_document(shop.subject, shop.after)


@pytest.mark.anyio
async def test_the_journal_is_json_that_needs_no_program_of_ours(database: Database) -> None:
    async with database.editor() as editor:
        await three_revisions(editor)
    with database.connection() as connection:
        rows = connection.execute(text("SELECT changes FROM journal ORDER BY revision")).scalars()
        documents = [json.loads(row) for row in rows]
    assert [len(document) for document in documents] == [8, 2, 2]
    (rule_,) = [each for each in documents[2] if each["kind"] == "rules"]
    assert (rule_["name"], rule_["after"], rule_["before"]["id"]) == ("shop", None, "r1")
    assert CANARY not in json.dumps(documents)


TAMPERINGS = [
    "UPDATE journal SET changes = replace(changes, 'shop', 'spam') WHERE revision = 2",
    "UPDATE journal SET changes = nonce WHERE revision = 2",
    "UPDATE revisions SET author = 'somebody else' WHERE revision = 2",
    "UPDATE revisions SET message = '' WHERE revision = 2",
    "UPDATE revisions SET change_count = 1 WHERE revision = 2",
    "UPDATE journal SET checksum = previous WHERE revision = 2",
    "DELETE FROM journal WHERE revision = 2",
]


@pytest.mark.anyio
@pytest.mark.parametrize("statement", TAMPERINGS)
async def test_a_row_that_was_altered_is_noticed(database: Database, statement: str) -> None:
    async with database.editor() as editor:
        await three_revisions(editor)
        with database.connection() as connection:
            connection.execute(text(statement))
        for reading in (
            editor._store.changes(2),
            editor._store.changes_since(0, 3),
            editor.restore(1, author="test"),
        ):
            with pytest.raises(StorageDamaged):
                await reading
        assert len(await editor._store.changes(1)) == len(EVERYTHING)


@pytest.mark.anyio
async def test_a_row_whose_checksum_was_made_to_fit_breaks_the_chain(database: Database) -> None:
    async with database.editor() as editor:
        await three_revisions(editor)
        row = await editor._store.revision(2)
        with database.connection() as connection:
            was = connection.execute(text("SELECT * FROM journal WHERE revision = 2")).one()
            forged = was.changes.replace("new.example", "old.example")
            assert forged != was.changes
            fits = journal.checksum(row, was.nonce, forged, was.previous)
            connection.execute(
                text("UPDATE journal SET changes = :c, checksum = :s WHERE revision = 2"),
                {"c": forged, "s": fits},
            )
        with pytest.raises(StorageDamaged):
            await editor.table_at(1)


# --- any walk, against a model in memory --------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
HOSTS = st.lists(st.sampled_from(["x.example", "y.example", "z.example"]), min_size=1, unique=True)
VIAS = st.sampled_from(["mx", "map:a", "map:b", "smtp://direct.example"])


@dataclass
class Model:
    """What routing should hold, said without the program's own types."""

    maps: dict[str, list[str]] = field(default_factory=dict)
    states: set[tuple[str, str]] = field(default_factory=set)
    tables: dict[str, str] = field(default_factory=dict)
    entries: dict[tuple[str, str], str] = field(default_factory=dict)
    rules: dict[str, tuple[str, str]] = field(default_factory=dict)

    def drop_lost_states(self) -> None:
        self.states = {(m, r) for m, r in self.states if r in self.maps.get(m, ())}

    def users(self, name: str) -> int:
        vias = [via for _, via in self.rules.values()]
        return sum(
            via == f"map:{name}" for via in (*vias, *self.tables.values(), *self.entries.values())
        )


def seen(table: RoutingTable) -> Model:
    return Model(
        {name: [r.name for r in found.relays] for name, found in table.maps.items()},
        set(table.states),
        {name: str(found.default) for name, found in table.tables.items()},
        {(n, key): str(v) for n, entries in table.entries.items() for key, v in entries.items()},
        {name: (found.id, str(found.action.via)) for name, found in table.rules.items()},  # type: ignore[union-attr]
    )


class Walk(RuleBasedStateMachine):
    """Edits, restores and restarts in any order, on a real database and on the model."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.empty()
        self.model = Model()
        self.past = [Model()]
        self.given = count(1)
        self.open()

    def open(self) -> None:
        self.store = self.runner.run(DatabaseStore.open(self.database.url, self.database.key_file))
        self.editor = self.runner.run(Editor.start(self.store))

    def empty(self) -> None:
        """Make the database as if its making had been interrupted: opening takes that up."""
        with self.database.connection() as connection:
            if inspect(connection).has_table("head"):
                for table in reversed(METADATA.sorted_tables):
                    connection.execute(table.delete())

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()

    def write(self, expected: Model, *writes: Write) -> None:
        before = self.editor.live.current()
        edited = self.runner.run(self.editor.edit(lambda _: writes, author="walk"))
        if edited.changes:
            self.past.append(copy.deepcopy(expected))
        else:
            assert edited.snapshot is before
        self.model = expected

    @rule(name=NAMES, hosts=HOSTS)
    def put_map(self, name: str, hosts: list[str]) -> None:
        then = copy.deepcopy(self.model)
        then.maps[name] = hosts
        then.drop_lost_states()
        self.write(then, put_map(name, *(f"smtp://{host}" for host in hosts)))

    @rule(name=NAMES, via=VIAS)
    def put_rule(self, name: str, via: str) -> None:
        if via.startswith("map:") and via[4:] not in self.model.maps:
            return
        then = copy.deepcopy(self.model)
        known = self.model.rules.get(name)
        then.rules[name] = (known[0] if known else f"r{next(self.given)}", via)
        self.write(then, put_rule(name, via))

    @rule(name=NAMES)
    def delete_rule(self, name: str) -> None:
        if name in self.model.rules:
            then = copy.deepcopy(self.model)
            del then.rules[name]
            self.write(then, delete(Kind.RULE, name))

    @rule(name=NAMES)
    def delete_map(self, name: str) -> None:
        if name not in self.model.maps:
            return
        then = copy.deepcopy(self.model)
        if self.model.users(name):
            with pytest.raises(StillReferenced):
                self.write(then, delete(Kind.RELAY_MAP, name))
            return
        del then.maps[name]
        then.drop_lost_states()
        self.write(then, delete(Kind.RELAY_MAP, name))

    @rule(name=NAMES, via=VIAS, key=st.sampled_from(["k.example", "*.k.example"]))
    def put_entry(self, name: str, via: str, key: str) -> None:
        if via.startswith("map:") and via[4:] not in self.model.maps:
            return
        then = copy.deepcopy(self.model)
        then.tables[name] = "mx"
        then.entries[name, key] = via
        self.write(then, put_table(name, "mx"), put_entry(name, key, via))

    @rule(name=NAMES)
    def delete_table(self, name: str) -> None:
        if name in self.model.tables:
            then = copy.deepcopy(self.model)
            del then.tables[name]
            then.entries = {k: via for k, via in then.entries.items() if k[0] != name}
            self.write(then, delete(Kind.TABLE, name))

    @rule(name=NAMES, number=st.integers(0, 2), out=st.booleans())
    def set_state(self, name: str, number: int, *, out: bool) -> None:
        relays = self.model.maps.get(name, [])[number : number + 1]
        for relay in relays:
            then = copy.deepcopy(self.model)
            subject = Subject(Kind.RELAY_STATE, name, relay)
            if out:
                then.states.add((name, relay))
                self.write(then, put_state(name, relay))
            elif (name, relay) in then.states:
                then.states.remove((name, relay))
                self.write(then, Delete(subject))

    @rule(back=st.integers(0, 20))
    def restore(self, back: int) -> None:
        number = max(0, len(self.past) - 1 - back)
        then = copy.deepcopy(self.past[number])
        then.states = set(self.model.states)
        then.drop_lost_states()
        self.runner.run(self.editor.restore(number, author="walk"))
        if then != self.model:
            self.past.append(copy.deepcopy(then))
        self.model = then

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.open()

    @invariant()
    def live_and_stored_are_the_model(self) -> None:
        live = self.editor.live.current()
        stored, head = self.runner.run(self.store.load())
        assert seen(live.table) == self.model
        assert stored == live
        assert dict(stored.marks) == dict(live.marks)
        assert head.revision == live.revision == len(self.past) - 1

    @invariant()
    def every_past_revision_can_be_had_back(self) -> None:
        for number in {0, len(self.past) // 2, len(self.past) - 1}:
            assert seen(self.runner.run(self.editor.table_at(number))) == self.past[number]


def test_any_walk_through_revisions_is_the_walk_of_a_model(database: Database) -> None:
    machine = type("BoundWalk", (Walk,), {"database": database})
    run_state_machine_as_test(machine, settings=settings(max_examples=8, stateful_step_count=20))
