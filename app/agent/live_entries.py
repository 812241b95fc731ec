"""The entries of tables in the live file: written where they differ, and read where they are."""

import hashlib
import json
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping, Sequence, ValuesView
from operator import itemgetter
from typing import Any, TypeGuard

import lmdb

from app import garbage
from app.agent.left_entries import LeftEntries
from app.render.opensmtpd import spelling
from app.routing.entries import LayeredEntries, TableEntries
from app.routing.entries_digest import EntriesDigest
from app.routing.errors import ControlError
from app.routing.hop_kinds import Credentials, HopKind, Noted, RelayKind, kind_of, noted_as
from app.routing.live_file import MAX_KEY, NotLive, entry_key, entry_row, key, left_key, read_entry
from app.routing.live_rows import beginning, get
from app.routing.next_hop import EntryHop, ViaMap, parse_entry_hop
from app.routing.routing_table import RoutingTable
from app.routing.shards import Shards
from app.routing.table import Table

_Sorted = list[tuple[bytes, bytes]]

_MOST_HOPS = 20_000
"""Different next hops of a table that are counted here; with more they are found anew."""

Begin = Callable[[], lmdb.Transaction]
"""Begins a look at what is there now."""


class KeyTooLong(ControlError):
    """A key of an entry, with the name of its table, is longer than the file takes."""

    code = "key-too-long"

    def __init__(self) -> None:
        super().__init__(f"the name of a table and a key of it have more than {MAX_KEY} octets")


def write_tables(
    transaction: lmdb.Transaction,
    routing: RoutingTable,
    kept: Collection[bytes],
    before: Mapping[str, Table],
    write: int,
    until: int,
) -> None:
    """Write what differs in the entries of all tables, and what is known of each.

    Args:
        transaction: in which it is written.
        routing: whose tables they are.
        kept: the keys of rows that routing no longer has, and mail may still ask for.
        before: the tables that the file has.
        write: see `LeftEntries`.
        until: see `LeftEntries`.
    """
    has = _tables(transaction, entry_key("", "")) | _tables(transaction, left_key("", ""))
    for name in has - routing.tables.keys():
        if key("table", name) not in kept:
            for where, _ in list(beginning(transaction, entry_key(name, ""))):
                transaction.delete(where)
            transaction.delete(key("known", name))
            transaction.delete(key("doubts", name))
            LeftEntries(transaction, name, write, until).forget()
    beside = routing.credentials, mark_of(routing.credentials)
    for name, table in routing.tables.items():
        entries = routing.entries_of(name)
        left = LeftEntries(transaction, name, write, until)
        left.became_table(before.get(name), table)
        if not _is_stored(entries, name):
            _write_all(transaction, name, entries, left)
            _find_out(entries, routing.credentials)
            transaction.put(key("known", name), _known_row(entries))
        elif entries.over:
            _write_changes(transaction, name, entries.over, left)
            transaction.put(key("known", name), _known_row(entries))
        _write_doubts(transaction, name, entries, beside)


def _is_stored(entries: TableEntries, table: str) -> TypeGuard[LayeredEntries]:
    """Whether these are the entries of that table in the file, and what changed since."""
    base = entries.base if isinstance(entries, LayeredEntries) else None
    return isinstance(base, StoredEntries) and base.table == table


def _write_changes(
    transaction: lmdb.Transaction,
    table: str,
    changes: Mapping[str, EntryHop | None],
    left: LeftEntries,
) -> None:
    for name, hop in changes.items():
        where = _entry_key(table, name)
        row = None if hop is None else entry_row(hop, spelling.relay_url)
        left.became(name.encode(), get(transaction, where), row)
        if row is None:
            transaction.delete(where)
        else:
            transaction.put(where, row)


def _write_all(
    transaction: lmdb.Transaction, table: str, entries: TableEntries, left: LeftEntries
) -> None:
    begin = entry_key(table, "")
    with garbage.put_off():
        wanted = _rows_of(begin, entries)
        cursor = transaction.cursor()
        if not cursor.set_range(begin):  # nothing stands behind: all can be appended
            cursor.putmulti(wanted, append=True)
            if left.are_any:
                for where, row in wanted:
                    left.became(where[len(begin) :], None, row)
            return
        gone, changed = _differences(list(beginning(transaction, begin)), wanted)
        for where, row in gone:
            left.became(where[len(begin) :], row, None)
            transaction.delete(where)
        for where, before, row in changed:
            left.became(where[len(begin) :], before, row)
        transaction.cursor().putmulti([(where, row) for where, _, row in changed])


def _rows_of(begin: bytes, entries: TableEntries) -> _Sorted:
    # A million entries share a few next hops. Two that are equal may be spelt differently: the
    # digest tells them apart.
    names, hops = _by_name(entries)
    numbers = list(map(id, hops))
    rows = {
        number: entry_row(hop, spelling.relay_url)
        for number, hop in dict(zip(numbers, hops, strict=True)).items()
    }
    keys = list(map(begin.__add__, map(str.encode, names)))
    _check_length(max(map(len, keys), default=0))
    return list(zip(keys, map(rows.__getitem__, numbers), strict=True))


def _by_name(entries: TableEntries) -> tuple[Sequence[str], Sequence[EntryHop]]:
    """Names and next hops by name: a server sends them so, and to sort a million takes a while."""
    came, entries.known.in_order = entries.known.in_order, None
    if came is not None:
        return came
    pairs = sorted(entries.items(), key=itemgetter(0))
    return [name for name, _ in pairs], [hop for _, hop in pairs]


def _entry_key(table: str, name: str) -> bytes:
    where = entry_key(table, name)
    _check_length(len(where))
    return where


def _check_length(length: int) -> None:
    if length > MAX_KEY:
        raise KeyTooLong


def _differences(
    before: _Sorted, wanted: _Sorted
) -> tuple[_Sorted, list[tuple[bytes, bytes | None, bytes]]]:
    """The rows that go, and those that come or change, with their old one, of two sorted lists."""
    gone: _Sorted = []
    changed: list[tuple[bytes, bytes | None, bytes]] = []
    old = iter(before)
    at = next(old, None)
    for where, row in wanted:
        while at is not None and at[0] < where:
            gone.append(at)
            at = next(old, None)
        if at is not None and at[0] == where:
            if at[1] != row:
                changed.append((where, at[1], row))
            at = next(old, None)
        else:
            changed.append((where, None, row))
    return gone + ([] if at is None else [at, *old]), changed


def _find_out(entries: TableEntries, credentials: Credentials) -> None:
    """Find out what is told of all entries in their row."""
    entries.find_out()
    entries.doubtful(credentials)


def _known_row(entries: TableEntries) -> bytes:
    """What is known of all entries of a table, so that nobody has to look through them."""
    known = entries.known
    said = {
        "digest": entries.digest.to_bytes().hex(),
        "hops": _few(known.hops),
        "noted": _few(known.noted),
        "kinds": [[_said_of(kind), n] for kind, n in entries.kinds.items()],
    }
    return json.dumps(said).encode()


def _write_doubts(
    transaction: lmdb.Transaction,
    table: str,
    entries: TableEntries,
    beside: tuple[Credentials, str],
) -> None:
    """Write which next hops are doubtful beside these credentials, where that was found out."""
    known = entries.known.doubtful
    if known is None or known[0] is not beside[0]:
        return
    row = json.dumps({"beside": beside[1], "doubtful": _few(known[1])}).encode()
    if row != get(transaction, key("doubts", table)):
        transaction.put(key("doubts", table), row)


def mark_of(credentials: Credentials) -> str:
    """What tells credentials from others, in hex."""
    said = [repr(credentials[label]) for label in sorted(credentials)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _few(counts: Mapping[Any, int] | None) -> Mapping[str, int] | None:
    """Counts as they are written; None where there are so many that to write them costs more."""
    if counts is None or len(counts) > _MOST_HOPS:
        return None
    return {str(each): n for each, n in counts.items()}


def _said_of(kind: HopKind) -> object:
    if isinstance(kind, RelayKind):
        return [kind.mandatory, kind.credential, kind.family, kind.too_long]
    return str(kind)


def _kind_said(said: str | list[Any]) -> HopKind:
    return kind_of(parse_entry_hop(said)) if isinstance(said, str) else RelayKind(*said)


def entries_of(
    begin: Begin, transaction: lmdb.Transaction, table: str, beside: tuple[Credentials, str]
) -> TableEntries:
    """The entries of a table, with what is known of them all.

    Args:
        begin: see `Begin`.
        transaction: in which what is known is read.
        table: its name.
        beside: the credentials of the same revision, with their mark.

    Raises:
        NotLive: nothing is known.
    """
    said = json.loads(get(transaction, key("known", table)) or b"null")
    if said is None:
        raise NotLive
    digest = EntriesDigest.from_bytes(bytes.fromhex(said["digest"]))
    found = LayeredEntries(StoredEntries(begin, table, digest.count), {}, digest.count)
    known = found.known
    known.digest = digest
    if said["hops"] is not None:
        known.hops = Shards({parse_entry_hop(hop): n for hop, n in said["hops"].items()})
    known.noted = _noted(said["noted"])
    if said.get("kinds") is not None:
        known.kinds = Shards({_kind_said(kind): n for kind, n in said["kinds"]})
    doubts = json.loads(get(transaction, key("doubts", table)) or b"{}")
    doubtful = _noted(doubts.get("doubtful"))
    if doubtful is not None and doubts["beside"] == beside[1]:
        known.doubtful = beside[0], doubtful
    return found


def _noted(said: Mapping[str, int] | None) -> Shards[Noted, int] | None:
    if said is None:
        return None
    told = ((noted_as(parse_entry_hop(hop)), n) for hop, n in said.items())
    return Shards({noted: n for noted, n in told if noted is not None})


def maps_of(transaction: lmdb.Transaction, name: str, table: Table | None) -> frozenset[str]:
    """The relay maps that a table leads to, by its entries or by its default."""
    said = json.loads(get(transaction, key("known", name)) or b"{}")
    kinds = {_kind_said(kind) for kind, _ in said.get("kinds", [])}
    # As an agent wrote it that knew of no kinds.
    hops = {parse_entry_hop(hop) for hop in said.get("noted") or {}}
    default = set() if table is None or table.default is None else {table.default}
    return frozenset(hop.name for hop in kinds | hops | default if isinstance(hop, ViaMap))


class StoredEntries(Mapping[str, EntryHop]):
    """The entries of one table as the file has them."""

    def __init__(self, begin: Begin, table: str, length: int) -> None:
        self.table = table
        self._begin = begin
        self._length = length

    def __getitem__(self, name: str) -> EntryHop:
        """See `Mapping`."""
        hop = self.get(name)
        if hop is None:
            raise KeyError(name)
        return hop

    def get(self, name: str, default: object = None) -> EntryHop | None:  # type: ignore[override]
        """See `Mapping.get`."""
        del default
        with self._begin() as transaction:
            row = get(transaction, entry_key(self.table, name))
        return None if row is None else read_entry(row)[0]

    def __contains__(self, name: object) -> bool:
        """See `Mapping`."""
        return self.get(str(name)) is not None

    def __iter__(self) -> Iterator[str]:
        """See `Mapping`."""
        return iter(self._all())

    def __len__(self) -> int:
        """See `Mapping`."""
        return self._length

    def items(self) -> ItemsView[str, EntryHop]:
        """See `Mapping.items`; all are read at once."""
        return self._all().items()

    def values(self) -> ValuesView[EntryHop]:
        """See `Mapping.values`; all are read at once."""
        return self._all().values()

    def _all(self) -> dict[str, EntryHop]:
        begin = entry_key(self.table, "")
        with self._begin() as transaction:
            return {
                where[len(begin) :].decode(): read_entry(row)[0]
                for where, row in beginning(transaction, begin)
            }


def _tables(transaction: lmdb.Transaction, begin: bytes) -> set[str]:
    """The tables that have such rows here, those that routing no longer has as well.

    Args:
        transaction: in which they are read.
        begin: the key of a row of no table and no entry.
    """
    kind = begin.partition(b"\0")[0] + b"\0"
    found: set[str] = set()
    cursor = transaction.cursor()
    at = cursor.set_range(kind)
    while at and bytes(cursor.key()).startswith(kind):
        name = bytes(cursor.key())[len(kind) :].partition(b"\0")[0]
        found.add(name.decode())
        at = cursor.set_range(kind + name + b"\1")
    return found
