r"""The rows of the live file: a routing as a table program reads it, key by key.

    meta                       whose it is, which revision, and what the MTA's own addresses are
    down                       the relays that health says get nothing
    map\0NAME                  a relay map, its relays out of service, its slots
    rule\0NAME, table\0NAME    as documents
    credential\0LABEL          hosts, user name and password
    action\0NAME               what is asked for under an action's name
    known\0TABLE               for the agent: the digest of its entries, where they lead
    retired                    for the agent: maps and tables that routing no longer has
    leaving                    for the agent: what stands behind the rows of `left`
    left\0TABLE\0KEY          where a key led before it went, the default where it is none, after
                               the number of the write that took it, and until when mail may wait
    to\0TABLE\0KEY            where a key leads; a relay is followed by how the MTA spells it

The agent writes whole revisions, each in one transaction, and nobody else writes. An entry is read
when it is asked for; everything else is read whenever `Meta.structure` has changed.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from app.routing import document
from app.routing.credential import Credential
from app.routing.decision import Asking, Fixed, Slots
from app.routing.names import IPAddress
from app.routing.next_hop import EntryHop, ViaMap, ViaTable, parse_entry_hop
from app.routing.relay_map import OutOfService, RelayMap
from app.routing.relay_url import RelayURL
from app.routing.routing_table import RoutingTable, StateKey
from app.routing.rule import Rule
from app.routing.table import Entries, Table

FORMAT = 1
META = b"meta"
DOWN = b"down"
LEFT = b"left\0"
ENTRY = b"to\0"
"""It sorts behind all others, so that a million of them can be appended."""
STRUCTURE = (b"action\0", b"credential\0", b"map\0", b"rule\0", b"table\0")
"""The beginnings of the keys of all other rows, in the order in which the file has them."""

MAP_BYTES = 1 << 36
"""Of address space, for who writes and who reads alike; none of it is used before there is a row.
Who has mapped less cannot read a file once it has grown over that."""

MAX_KEY = 511
"""Octets of a key in LMDB."""

Rows = dict[bytes, bytes]
Spell = Callable[[RelayURL], str]
"""How an MTA spells a relay."""


class NotLive(Exception):
    """Rows that no agent of this format wrote."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What stands above the rows.

    Attributes:
        writes: how often this file was written; an older copy of it has a lower number.
        structure: the number of the write that last changed more than entries.
        addresses: of the MTA's host; a client from one of them is `local`.
    """

    history: str = ""
    revision: int = 0
    model_digest: str = ""
    writes: int = 0
    structure: int = 0
    addresses: tuple[IPAddress, ...] = ()

    def row(self) -> bytes:
        """The row of it."""
        return _json(
            {
                "format": FORMAT,
                "history": self.history,
                "revision": self.revision,
                "model_digest": self.model_digest,
                "writes": self.writes,
                "structure": self.structure,
                "addresses": [str(address) for address in self.addresses],
            }
        )

    @classmethod
    def read(cls, row: bytes | None) -> "Meta":
        """The meta of a file.

        Raises:
            NotLive: it has none, or one of another format.
        """
        try:
            said: dict[str, Any] = json.loads(row or b"null")
            if said.pop("format") != FORMAT:
                raise NotLive
            addresses = tuple(ip_address(text) for text in said.pop("addresses"))
            meta = cls(addresses=addresses, **said)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise NotLive from error
        texts, numbers = (meta.history, meta.model_digest), (meta.revision, meta.writes)
        if {str} != set(map(type, texts)) or {int} != set(map(type, (*numbers, meta.structure))):
            raise NotLive
        return meta


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """A user name and a password; no `repr` shows them."""

    username: str
    password: str


@dataclass(slots=True, repr=False)
class Structure:
    """All of a file but its entries. No `repr`: it holds passwords.

    Attributes:
        spelt: how the MTA spells each relay of the maps.
    """

    maps: dict[str, RelayMap] = field(default_factory=dict)
    states: dict[StateKey, OutOfService] = field(default_factory=dict)
    slots: dict[str, dict[str, int]] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    credentials: dict[str, Credential] = field(default_factory=dict)
    logins: dict[str, Login] = field(default_factory=dict)
    actions: dict[str, Asking] = field(default_factory=dict)
    spelt: dict[RelayURL, str] = field(default_factory=dict)

    def routing(self, revision: int, entries: Mapping[str, Entries]) -> RoutingTable:
        """The routing, with the entries of its tables wherever they are."""
        return RoutingTable(
            revision, self.maps, self.states, self.tables, entries, self.rules, self.credentials
        )


# --- writing ----------------------------------------------------------------------------------


def structure_rows(
    table: RoutingTable,
    slots: Slots,
    logins: Mapping[str, Login],
    actions: Iterable[Fixed],
    spell: Spell,
) -> Iterator[tuple[bytes, bytes]]:
    """The rows of everything but entries.

    Args:
        table: the routing.
        slots: of its maps that hash at acceptance.
        logins: by label; only these credentials are written.
        actions: those that the MTA has.
        spell: how it spells relays.
    """
    for name, relay_map in table.maps.items():
        yield key("map", name), _map_row(table, relay_map, slots.get(name, {}), spell)
    for name, rule in table.rules.items():
        if rule.enabled:
            yield key("rule", name), _json(document.rule_document(rule))
    for name, each in table.tables.items():
        more = {} if not isinstance(each.default, RelayURL) else {"spelt": spell(each.default)}
        yield key("table", name), _json(document.table_document(each) | more)
    for label, login in logins.items():
        said = document.credential_document(table.credentials[label])
        pair = {"username": login.username, "password": login.password}
        yield key("credential", label), _json(said | pair)
    for each_action in actions:
        if isinstance(each_action.to, ViaMap | ViaTable):
            yield key("action", each_action.name), action_row(each_action)


def action_row(action: Fixed) -> bytes:
    """The row of an action whose relay is asked for."""
    verified = action.options.tls_verify
    return _json({"to": str(action.to), "slot": action.slot, "verified": verified})


def entry_key(table: str, entry: str) -> bytes:
    """The key of an entry's row."""
    return key("to", table, entry)


def entry_row(hop: EntryHop, spell: Spell) -> bytes:
    """The row of an entry."""
    return (f"{hop}\t{spell(hop)}" if isinstance(hop, RelayURL) else str(hop)).encode()


def left_key(table: str, entry: str) -> bytes:
    """The key of the row of an entry that was; "": of a default that was."""
    return key("left", table, entry)


def left_row(write: int, until: int, row: bytes) -> bytes:
    """The row of an entry that was.

    Args:
        write: the number of the write that took it.
        until: seconds since the epoch.
        row: the one that it had.
    """
    return b"%d\t%d\t%s" % (write, until, row)


def down_row(down: Iterable[StateKey]) -> bytes:
    """The row of the relays that are down."""
    return _json(sorted(list(each) for each in down))


def key(*parts: str) -> bytes:
    """The key of a row."""
    return "\0".join(parts).encode()


def _map_row(
    table: RoutingTable, relay_map: RelayMap, slots: Mapping[str, int], spell: Spell
) -> bytes:
    return _json(
        document.relay_map_document(relay_map)
        | {
            "out": [r.name for r in relay_map.relays if table.is_out(relay_map.name, r.name)],
            "slots": dict(slots),
            "spelt": [spell(relay.url) for relay in relay_map.relays],
        }
    )


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


# --- reading ----------------------------------------------------------------------------------


def read_structure(rows: Iterable[tuple[bytes, bytes]], known: "Known") -> Structure:
    """Everything but the entries.

    Args:
        rows: all rows whose keys begin as `STRUCTURE` says.
        known: what was read before; a row that is as it was is not read again.

    Raises:
        NotLive: a row is none that is written.
    """
    try:
        return _structure(rows, known)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotLive from error


def _structure(rows: Iterable[tuple[bytes, bytes]], known: "Known") -> Structure:
    found = Structure()
    slots: dict[str, dict[int, str]] = {}
    asked: list[tuple[str, dict[str, Any]]] = []
    for where, row in rows:
        kind, _, name = where.decode().partition("\0")
        value = known.value(kind, where, row)
        if kind == "action":
            asked.append((name, value))
        else:
            _TAKE[kind](found, name, value)
    for name, of_map in found.slots.items():
        slots[name] = {slot: relay for relay, slot in of_map.items()}
    for name, said in asked:
        found.actions[name] = _asking(said, slots)
    known.forget_others()
    return found


class Known:
    """Values of rows, by key, that need not be read again while the rows are the same."""

    def __init__(self) -> None:
        self._before: dict[bytes, tuple[bytes, Any]] = {}
        self._now: dict[bytes, tuple[bytes, Any]] = {}

    def value(self, kind: str, where: bytes, row: bytes) -> Any:  # noqa: ANN401  by kind
        """The value of a row.

        Raises:
            NotLive: it has none.
        """
        seen = self._before.get(where)
        if seen is None or seen[0] != row:
            try:
                seen = (bytes(row), _READ[kind](json.loads(row)))
            except Exception as error:
                raise NotLive from error
        self._now[where] = seen
        return seen[1]

    def forget_others(self) -> None:
        """Forget what was not asked for since the last time."""
        self._before, self._now = self._now, {}


@lru_cache(maxsize=4096)  # many entries lead to few relays, and to read a URL is half a look-up
def read_entry(row: bytes) -> tuple[EntryHop, str]:
    """Where an entry leads, and how the MTA spells it where that is a relay.

    Raises:
        NotLive: no entry is written so.
    """
    try:
        text, _, spelt = row.decode().partition("\t")
        hop = parse_entry_hop(text)
    except Exception as error:
        raise NotLive from error
    if isinstance(hop, RelayURL) != bool(spelt):
        raise NotLive
    return hop, spelt


def read_left(row: bytes) -> tuple[int, int, bytes]:
    """The parts of such a row; see `left_row`.

    Raises:
        NotLive: none is written so.
    """
    try:
        write, until, entry = row.split(b"\t", 2)
        return int(write), int(until), entry
    except ValueError as error:
        raise NotLive from error


def read_down(row: bytes | None) -> frozenset[StateKey]:
    """The relays that are down; none where nobody has said so.

    Raises:
        NotLive: it is not written so.
    """
    try:
        return frozenset((relay_map, relay) for relay_map, relay in json.loads(row or b"[]"))
    except (TypeError, ValueError, RecursionError) as error:
        raise NotLive from error


def _read_map(said: dict[str, Any]) -> tuple[RelayMap, list[str], dict[str, int], list[str]]:
    out, slots, spelt = said.pop("out"), said.pop("slots"), said.pop("spelt")
    return document.read_relay_map(said), out, slots, spelt


def _read_table(said: dict[str, Any]) -> tuple[Table, str]:
    spelt = said.pop("spelt", "")
    return document.read_table(said), spelt


def _read_credential(said: dict[str, Any]) -> tuple[Credential, Login]:
    login = Login(said.pop("username"), said.pop("password"))
    return document.read_credential(said), login


_READ: dict[str, Callable[[Any], Any]] = {
    "map": _read_map,
    "rule": document.read_rule,
    "table": _read_table,
    "credential": _read_credential,
    "action": lambda said: said,
}


def _take_map(found: Structure, name: str, value: Any) -> None:  # noqa: ANN401  by kind
    relay_map, out, slots, spelt = value
    found.maps[name] = relay_map
    found.states.update(((name, relay), OutOfService()) for relay in out)
    if slots:
        found.slots[name] = slots
    found.spelt.update(zip((r.url for r in relay_map.relays), spelt, strict=True))


def _take_table(found: Structure, name: str, value: Any) -> None:  # noqa: ANN401  by kind
    found.tables[name], spelt = value
    default = found.tables[name].default
    if isinstance(default, RelayURL):
        found.spelt[default] = spelt


def _take_rule(found: Structure, name: str, value: Any) -> None:  # noqa: ANN401  by kind
    found.rules[name] = value


def _take_credential(found: Structure, name: str, value: Any) -> None:  # noqa: ANN401  by kind
    found.credentials[name], found.logins[name] = value


_TAKE: dict[str, Callable[[Structure, str, Any], None]] = {
    "map": _take_map,
    "rule": _take_rule,
    "table": _take_table,
    "credential": _take_credential,
}


def _asking(said: dict[str, Any], slots: Mapping[str, Mapping[int, str]]) -> Asking:
    kind, _, name = said["to"].partition(":")
    to = ViaMap(name) if kind == "map" else ViaTable(name)
    # A map that hashes no more when mail comes in picks for what it hashed before as for all else.
    hashed = said["slot"] is not None and name in slots
    relay = slots[name].get(said["slot"], "") if hashed else None
    return Asking(to, relay, said["verified"])
