"""The entries of tables in the live file: written where they differ, and read where they are."""

import json
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping, ValuesView
from operator import itemgetter
from typing import TypeGuard

import lmdb

from app import garbage
from app.render.opensmtpd import spelling
from app.routing.entries import EntriesDigest, LayeredEntries, TableEntries
from app.routing.errors import ControlError
from app.routing.live_file import MAX_KEY, NotLive, entry_key, entry_row, key, read_entry
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
    transaction: lmdb.Transaction, routing: RoutingTable, kept: Collection[bytes]
) -> None:
    """Write what differs in the entries of all tables, and what is known of each."""
    for name in _tables(transaction) - routing.tables.keys():
        if key("table", name) not in kept:
            for where, _ in list(beginning(transaction, entry_key(name, ""))):
                transaction.delete(where)
            transaction.delete(key("known", name))
    for name in routing.tables:
        entries = routing.entries_of(name)
        if _is_stored(entries, name):
            if not entries.over:
                continue
            _write_changes(transaction, name, entries.over)
        else:
            _write_all(transaction, name, entries)
        transaction.put(key("known", name), _known_row(entries))


def _is_stored(entries: TableEntries, table: str) -> TypeGuard[LayeredEntries]:
    """Whether these are the entries of that table in the file, and what changed since."""
    base = entries.base if isinstance(entries, LayeredEntries) else None
    return isinstance(base, StoredEntries) and base.table == table


def _write_changes(
    transaction: lmdb.Transaction, table: str, changes: Mapping[str, EntryHop | None]
) -> None:
    for name, hop in changes.items():
        where = _entry_key(table, name)
        if hop is None:
            transaction.delete(where)
        else:
            transaction.put(where, entry_row(hop, spelling.relay_url))


def _write_all(transaction: lmdb.Transaction, table: str, entries: Mapping[str, EntryHop]) -> None:
    begin = entry_key(table, "")
    with garbage.put_off():
        wanted = _rows_of(begin, entries)
        cursor = transaction.cursor()
        if not cursor.set_range(begin):  # nothing stands behind: all can be appended
            cursor.putmulti(wanted, append=True)
            return
        gone, changed = _differences(list(beginning(transaction, begin)), wanted)
        for where in gone:
            transaction.delete(where)
        transaction.cursor().putmulti(changed)


def _rows_of(begin: bytes, entries: Mapping[str, EntryHop]) -> _Sorted:
    # By name, as a server sends them: that is quicker than by key and row. To hash a next hop costs
    # as much as all the rest, and a million entries share a few of them.
    pairs = sorted(entries.items(), key=itemgetter(0))
    hops = {id(hop): hop for _, hop in pairs}
    spelt = {hop: entry_row(hop, spelling.relay_url) for hop in dict.fromkeys(hops.values())}
    rows = {number: spelt[hop] for number, hop in hops.items()}
    wanted = [(begin + name.encode(), rows[id(hop)]) for name, hop in pairs]
    _check_length(max((len(where) for where, _ in wanted), default=0))
    return wanted


def _entry_key(table: str, name: str) -> bytes:
    where = entry_key(table, name)
    _check_length(len(where))
    return where


def _check_length(length: int) -> None:
    if length > MAX_KEY:
        raise KeyTooLong


def _differences(before: _Sorted, wanted: _Sorted) -> tuple[list[bytes], _Sorted]:
    """The keys that go, and the rows that come or change, of two lists in order of their keys."""
    gone: list[bytes] = []
    changed: _Sorted = []
    old = iter(before)
    at = next(old, None)
    for where, row in wanted:
        while at is not None and at[0] < where:
            gone.append(at[0])
            at = next(old, None)
        if at != (where, row):
            changed.append((where, row))
        if at is not None and at[0] == where:
            at = next(old, None)
    return gone + ([] if at is None else [at[0], *(each for each, _ in old)]), changed


def _known_row(entries: TableEntries) -> bytes:
    """What is known of all entries of a table, so that nobody has to look through them."""
    digest = entries.digest
    hops: Mapping[EntryHop, int] | None = entries.hops
    if hops is not None and len(hops) > _MOST_HOPS:
        hops = None
    said = {
        "digest": digest.to_bytes().hex(),
        "hops": None if hops is None else {str(hop): n for hop, n in hops.items()},
        "noted": {str(hop): n for hop, n in entries.noted.items()},
    }
    return json.dumps(said).encode()


def entries_of(begin: Begin, transaction: lmdb.Transaction, table: str) -> TableEntries:
    """The entries of a table, with what is known of them all.

    Raises:
        NotLive: nothing is.
    """
    said = json.loads(get(transaction, key("known", table)) or b"null")
    if said is None:
        raise NotLive
    digest = EntriesDigest.from_bytes(bytes.fromhex(said["digest"]))
    found = LayeredEntries(StoredEntries(begin, table, digest.count), {}, digest.count)
    found.known.digest = digest
    if said["hops"] is not None:
        found.known.hops = _counts(said["hops"])
    found.known.noted = _counts(said["noted"])
    return found


def maps_of(transaction: lmdb.Transaction, name: str, table: Table | None) -> frozenset[str]:
    """The relay maps that a table leads to, by its entries or by its default."""
    said = json.loads(get(transaction, key("known", name)) or b"{}")
    hops = {parse_entry_hop(hop) for hop in said.get("noted", {})}
    if table is not None and table.default is not None:
        hops.add(table.default)
    return frozenset(hop.name for hop in hops if isinstance(hop, ViaMap))


def _counts(said: Mapping[str, int]) -> Shards[EntryHop, int]:
    return Shards({parse_entry_hop(hop): n for hop, n in said.items()})


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


def _tables(transaction: lmdb.Transaction) -> set[str]:
    """The tables that have entries here, those that routing no longer has as well."""
    found: set[str] = set()
    cursor = transaction.cursor()
    at = cursor.set_range(entry_key("", "")[:-1])
    while at:
        kind, _, rest = bytes(cursor.key()).partition(b"\0")
        if kind != b"to":
            break
        name = rest.partition(b"\0")[0]
        found.add(name.decode())
        at = cursor.set_range(b"to\0" + name + b"\1")
    return found


def beginning(transaction: lmdb.Transaction, begin: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows whose keys begin so."""
    cursor = transaction.cursor()
    if cursor.set_range(begin):
        for where, row in cursor:
            if not bytes(where).startswith(begin):
                return
            yield bytes(where), bytes(row)


def get(transaction: lmdb.Transaction, where: bytes) -> bytes | None:
    """The row of a key."""
    row = transaction.get(where)
    return None if row is None else bytes(row)
