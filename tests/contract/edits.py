"""Edits as a test makes them twice: of documents by their description, and through the editor.

To add a kind of edit: a class here with `write` and `make`, and an entry in `EDITS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from hypothesis import strategies as st

from app.routing import document
from app.routing.change import Kind, Subject, read_value
from app.routing.entries import TableEntries
from app.routing.envelope import Envelope, parse_client, parse_helo, parse_mail_address
from app.routing.next_hop import parse_entry_hop
from app.routing.relay_map import OutOfService
from app.routing.table import TableKey, parse_key
from app.routing.writes import Delete, Put, PutMany, Write
from app.server.edit import Editor
from tests.oracle import Letter, Routing
from tests.unit.routing import strategies

Document = dict[str, Any]

AUTHOR = "test"
RULES = tuple(f"{name}-{number}" for name in strategies.NAMES for number in range(6))
_KEYS: dict[str, tuple[str, ...]] = {
    "auth-user": strategies.USERS,
    "domain": (*strategies.DOMAINS, "*.a.test", "*.b.a.test", "*.test"),
    "address": tuple(f"{local}@{d}" for local in strategies.LOCALS for d in strategies.DOMAINS),
}
_VIAS = ("mx", *(f"map:{name}" for name in strategies.MAPS), "smtp://x.test", "tls://y.test:587")


class Step(Protocol):
    """One edit."""

    def make(self, routing: Routing) -> None:
        """Make it in documents; whoever calls throws them away if the editor refuses it."""
        ...

    async def write(self, editor: Editor) -> None:
        """Make it through the editor. Raises ControlError where it is refused."""
        ...


async def edit(editor: Editor, writes: Sequence[Write]) -> None:
    await editor.edit(lambda _: writes, author=AUTHOR)


async def clear(editor: Editor) -> None:
    """Remove all but credentials; a restore of revision 0 would walk back over every case."""
    table = editor.live.current().table
    rules = [Subject(Kind.RULE, name) for name in table.rules]
    tables = [Subject(Kind.TABLE, name) for name in table.tables]
    maps = [Subject(Kind.RELAY_MAP, name) for name in table.maps]
    await edit(editor, [Delete(subject) for subject in (*rules, *tables, *maps)])


@dataclass(frozen=True)
class PutAll:
    """Create, change or, without a document, delete some maps, tables and rules at once."""

    maps: dict[str, Document | None] = field(default_factory=dict)
    tables: dict[str, Document | None] = field(default_factory=dict)
    rules: dict[str, Document | None] = field(default_factory=dict)

    def make(self, routing: Routing) -> None:
        for name, body in self.maps.items():
            routing.put_map(name, body)
        for name, body in self.tables.items():
            routing.put_table(name, body)
        routing.put_rules(self.rules)

    async def write(self, editor: Editor) -> None:
        maps = [_write(Kind.RELAY_MAP, name, body) for name, body in self.maps.items()]
        tables = [_write(Kind.TABLE, name, body) for name, body in self.tables.items()]
        rules = [_write(Kind.RULE, name, body) for name, body in self.rules.items()]
        await edit(editor, [*maps, *tables, *rules])


def _write(kind: Kind, name: str, body: Document | None) -> Write:
    subject = Subject(kind, name)
    value = read_value(subject, body)
    return Delete(subject) if value is None else Put(subject, value)


@dataclass(frozen=True)
class Reorder:
    """Give some rules other places."""

    priorities: dict[str, int]

    def make(self, routing: Routing) -> None:
        for name, priority in self.priorities.items():
            if name in routing.rules:
                routing.rules[name] = routing.rules[name] | {"priority": priority}

    async def write(self, editor: Editor) -> None:
        rules = editor.live.current().table.rules
        bodies = {
            name: document.rule_document(rules[name]) | {"priority": priority}
            for name, priority in self.priorities.items()
            if name in rules
        }
        await edit(editor, [_write(Kind.RULE, name, body) for name, body in bodies.items()])


@dataclass(frozen=True)
class PutEntries:
    """Set or remove entries by the number of their key, whatever the table is keyed by.

    Attributes:
        whole: whether those that are not named go.
    """

    table: str
    vias: dict[int, str | None]
    whole: bool = False

    def _entries(self, kind: str, present: Sequence[str]) -> dict[str, str | None]:
        keys = _keys_for(kind)
        named = {keys[n % len(keys)]: via for n, via in self.vias.items()}
        gone = dict.fromkeys(present if self.whole else ())
        wanted = gone | named
        return {key: via for key, via in wanted.items() if via is not None or key in present}

    def make(self, routing: Routing) -> None:
        kind = routing.tables[self.table]["key"]
        present = tuple(routing.entries[self.table])
        routing.put_entries(self.table, self._entries(kind, present))

    async def write(self, editor: Editor) -> None:
        table = editor.live.current().table
        kind = table.tables[self.table].key
        writes: list[Write] = []
        for key, via in self._entries(kind.value, tuple(table.entries[self.table])).items():
            subject = Subject(Kind.ENTRY, self.table, parse_key(kind, key))
            writes.append(Delete(subject) if via is None else Put(subject, parse_entry_hop(via)))
        await edit(editor, writes)


@dataclass(frozen=True)
class Import:
    """Bring many entries at once, as an import does, by the number of their key.

    Attributes:
        replaces: whether those that are not named go.
    """

    table: str
    vias: dict[int, str]
    replaces: bool

    def _entries(self, kind: str) -> dict[str, str]:
        keys = _keys_for(kind)
        return {keys[n % len(keys)]: via for n, via in self.vias.items()}

    def make(self, routing: Routing) -> None:
        entries: dict[str, str | None] = dict(self._entries(routing.tables[self.table]["key"]))
        gone = routing.entries[self.table].keys() - entries.keys() if self.replaces else ()
        routing.put_entries(self.table, dict.fromkeys(gone) | entries)

    async def write(self, editor: Editor) -> None:
        kind = editor.live.current().table.tables[self.table].key
        hops = {
            parse_key(kind, key): parse_entry_hop(via)
            for key, via in self._entries(kind.value).items()
        }
        await edit(editor, [PutMany(self.table, TableEntries.of(hops), self.replaces)])


def _keys_for(kind: str) -> tuple[str, ...]:
    if kind == TableKey.AUTH_USER:
        return _KEYS["auth-user"]
    return _KEYS["domain"] + (() if kind.endswith("-domain") else _KEYS["address"])


@dataclass(frozen=True)
class SetState:
    """Take a relay of a map out of service, or all of them, or bring back those that are.

    Attributes:
        number: of the relay; None for all.
    """

    relay_map: str
    number: int | None
    out: bool

    def _named(self, names: Sequence[str], out: set[str]) -> list[str]:
        if self.number is not None:
            return [names[self.number % len(names)]]
        return [name for name in names if self.out or name in out]

    def make(self, routing: Routing) -> None:
        names = [relay["name"] for relay in routing.maps[self.relay_map]["relays"]]
        there = {relay for name, relay in routing.out if name == self.relay_map}
        for name in self._named(names, there):
            if self.out:
                routing.out.add((self.relay_map, name))
            else:
                routing.out.remove((self.relay_map, name))

    async def write(self, editor: Editor) -> None:
        table = editor.live.current().table
        names = [relay.name for relay in table.maps[self.relay_map].relays]
        there = {relay for name, relay in table.states if name == self.relay_map}
        subjects = (
            Subject(Kind.RELAY_STATE, self.relay_map, name) for name in self._named(names, there)
        )
        state = OutOfService()
        await edit(editor, [Put(each, state) if self.out else Delete(each) for each in subjects])


@dataclass(frozen=True)
class Restore:
    """Go back to what was after an earlier step of the same case.

    Attributes:
        back: how many steps.
    """

    back: int


_CHANCE = Random(6)


def _rule_bodies(name: str) -> list[Document]:
    chance = Random(name)
    rules = (strategies.any_rule(chance, name) for _ in range(20))
    return [document.rule_document(rule) | {"priority": chance.randint(0, 4)} for rule in rules]


_RULE_BODIES = {name: _rule_bodies(name) for name in RULES}
_MAP_BODIES = {
    name: [document.relay_map_document(strategies.any_relay_map(_CHANCE, name)) for _ in range(40)]
    for name in strategies.MAPS
}
_TABLE_BODIES = {
    name: [document.table_document(strategies.any_table(_CHANCE, name)[0]) for _ in range(40)]
    for name in strategies.TABLES
}


def _put_map(chance: Random) -> Step:
    name = chance.choice(strategies.MAPS)
    return PutAll(maps={name: _some(chance, 0.1, _MAP_BODIES[name])})


def _put_table(chance: Random) -> Step:
    name = chance.choice(strategies.TABLES)
    return PutAll(tables={name: _some(chance, 0.1, _TABLE_BODIES[name])})


def _put_rules(chance: Random) -> Step:
    names = chance.sample(RULES, chance.choice([1, 1, 1, 3, 20]))
    gone = chance.random() * 0.5
    return PutAll(rules={name: _some(chance, gone, _RULE_BODIES[name]) for name in names})


def _some(chance: Random, gone: float, bodies: Sequence[Document]) -> Document | None:
    return None if chance.random() < gone else chance.choice(bodies)


def _reorder(chance: Random) -> Step:
    names = chance.sample(RULES, chance.choice([1, 2, len(RULES)]))
    return Reorder({name: chance.randint(0, 4) for name in names})


def _put_entries(chance: Random) -> Step:
    numbers = chance.sample(range(24), chance.choice([1, 1, 2, 20]))
    gone = chance.random() * 0.6
    vias = {n: None if chance.random() < gone else chance.choice(_VIAS) for n in numbers}
    return PutEntries(chance.choice(strategies.TABLES), vias, whole=chance.random() < 0.3)


def _import(chance: Random) -> Step:
    numbers = chance.sample(range(24), chance.choice([0, 5, 20]))
    vias = {number: chance.choice(_VIAS) for number in numbers}
    return Import(chance.choice(strategies.TABLES), vias, replaces=chance.random() < 0.5)


def _set_state(chance: Random) -> Step:
    name = chance.choice(strategies.MAPS)
    return SetState(name, chance.choice([None, 0, 1, 2]), out=chance.random() < 0.7)


EDITS: tuple[Callable[[Random], Step], ...] = (
    _put_map,
    _put_table,
    _put_rules,
    _put_rules,
    _put_rules,
    _reorder,
    _put_entries,
    _put_entries,
    _import,
    _set_state,
)


def _everything() -> Step:
    """What a case begins with: something of each kind."""
    return PutAll(
        {name: _CHANCE.choice(_MAP_BODIES[name]) for name in strategies.MAPS},
        {name: _CHANCE.choice(_TABLE_BODIES[name]) for name in strategies.TABLES},
        {name: _CHANCE.choice(_RULE_BODIES[name]) for name in _CHANCE.sample(RULES, 30)},
    )


beginnings = st.sampled_from([_everything() for _ in range(100)])
steps = st.lists(
    st.sampled_from([_CHANCE.choice(EDITS)(_CHANCE) for _ in range(3000)])
    | st.builds(Restore, st.integers(1, 5)),
    min_size=2,
    max_size=8,
)


def _letter(chance: Random) -> Letter:
    address = [f"{local}@{d}" for local in ("joe", "Joe+X", "ann") for d in strategies.DOMAINS]
    literals = ["joe@[192.0.2.9]", "joe@[IPv6:2001:db8::9]", "ann@q.C.b.A.test"]
    return Letter(
        chance.choice([*address, "", "", ""]),
        chance.choice([*address, *literals]),
        chance.choice(strategies.CLIENTS),
        chance.choice([None, *strategies.USERS]),
        chance.choice([None, *strategies.HELOS, "H.mx.test"]),
        chance.choice(["", *strategies.TAGS]),
    )


letters = st.lists(
    st.sampled_from([_letter(_CHANCE) for _ in range(600)]), min_size=4, max_size=8, unique=True
)


def envelope(letter: Letter) -> Envelope:
    return Envelope(
        parse_mail_address(letter.sender),
        parse_mail_address(letter.recipient),
        parse_client(letter.client),
        letter.auth_user,
        None if letter.helo is None else parse_helo(letter.helo),
        letter.tag,
    )


@dataclass
class Tally:
    """What was done, to say so."""

    taken: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
