"""The live file as it is written: one transaction a revision, by this process alone.

    STATE_DIR/data/data.mdb    the rows of `app.routing.live_file`, readable by the MTA's group
    STATE_DIR/data/lock.mdb    where readers say what they read, so writable by it
    STATE_DIR/data/run/        where the table program listens

LMDB writes new pages beside the old ones and then one page that says so: a writer that is killed
has written nothing, and no reader has to repair anything.
"""

import json
import os
from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

import lmdb

from app.agent import durable, garbage
from app.render.opensmtpd import spelling
from app.routing.decision import Fixed, Slots
from app.routing.entries import EntriesDigest, TableEntries
from app.routing.errors import ControlError
from app.routing.live_file import (
    DOWN,
    MAP_BYTES,
    MAX_KEY,
    META,
    STRUCTURE,
    Known,
    Login,
    Meta,
    NotLive,
    Structure,
    down_row,
    entry_key,
    entry_row,
    key,
    read_down,
    read_entry,
    read_structure,
    structure_rows,
)
from app.routing.names import IPAddress
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.routing.overlay import Overlay
from app.routing.routing_table import RoutingTable, StateKey

_Sorted = list[tuple[bytes, bytes]]

RETIRED = b"retired"
"""The row of maps and tables that routing no longer has."""
_RETIRE = {b"map\0", b"table\0"[:4]}
_MOST_HOPS = 20_000
"""Different next hops of a table that are counted here; with more they are found anew."""
_DIRECTORY_MODE = 0o750
_ROOM_MODE = 0o770
_DATA_MODE = 0o640
_LOCK_MODE = 0o660


class NotWritten(ControlError):
    """The live file could not be written; it says what it said before."""

    code = "live-file-not-written"
    temporary = True

    def __init__(self, error: Exception) -> None:
        super().__init__(f"the live file could not be written: {type(error).__name__}")


class ReadsOtherwise(ControlError):
    """Rows would not say what the model says; they must not be written."""

    code = "rows-differ"

    def __init__(self, where: str) -> None:
        super().__init__(f"what was to be written does not read back as the model at {where}")


@dataclass(frozen=True, slots=True, repr=False)
class Content:
    """A revision as it is written. No `repr`: it holds passwords.

    Attributes:
        actions: that the routing may decide for.
        names: of all actions that smtpd has; what those of before ask about is kept for them.
    """

    history: str
    revision: int
    model_digest: str
    routing: RoutingTable
    slots: Slots
    logins: Mapping[str, Login]
    actions: tuple[Fixed, ...]
    names: frozenset[str]
    addresses: tuple[IPAddress, ...]


class LiveFile:
    """The live file of one state directory."""

    def __init__(self, state_dir: Path, group: int) -> None:
        self.directory = state_dir / "data"
        self.room = self.directory / "run"
        self._group = group
        self._environment: lmdb.Environment | None = None
        self._known = Known()
        self._routing: RoutingTable | None = None

    def open(self) -> None:
        """Make what is missing, and make it readable to the MTA.

        Raises:
            NotWritten: the disk refuses.
        """
        for directory, mode in ((self.directory, _DIRECTORY_MODE), (self.room, _ROOM_MODE)):
            directory.mkdir(mode=0o700, exist_ok=True)
            os.chown(directory, -1, self._group)
            directory.chmod(mode)
        try:
            self._environment = lmdb.open(
                str(self.directory), map_size=MAP_BYTES, mode=_DATA_MODE, readahead=False
            )
            with self._environment.begin(write=True) as transaction:
                if transaction.get(META) is None:
                    transaction.put(META, Meta().row())
        except lmdb.Error as error:
            raise NotWritten(error) from error
        for name, mode in (("data.mdb", _DATA_MODE), ("lock.mdb", _LOCK_MODE)):
            os.chown(self.directory / name, -1, self._group)
            (self.directory / name).chmod(mode)
        durable.sync_directory(self.directory)

    def close(self) -> None:
        """Leave the file."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    @property
    def _open(self) -> lmdb.Environment:
        if self._environment is None:
            raise AssertionError("the live file is opened before it is used")
        return self._environment

    # --- what is there -----------------------------------------------------------------------

    def meta(self) -> Meta:
        """Whose it is, and which revision."""
        with self._open.begin() as transaction:
            return Meta.read(_get(transaction, META))

    def structure(self) -> Structure:
        """All of it but the entries, and what was retired."""
        with self._open.begin() as transaction:
            rows = (pair for begin in STRUCTURE for pair in _beginning(transaction, begin))
            return read_structure(rows, self._known)

    def routing(self) -> RoutingTable:
        """The routing that is in force; its entries stay where they are, and are read there.

        Raises:
            NotLive: it is none that an agent wrote.
        """
        if self._routing is None:
            meta, found = self.meta(), self.structure()
            with self._open.begin() as transaction:
                retired = json.loads(_get(transaction, RETIRED) or b"[]")
                entries = {name: _entries_of(self, transaction, name) for name in found.tables}
            for kind, name in retired:
                (found.maps if kind == "map" else found.tables).pop(name, None)
            states = {key: each for key, each in found.states.items() if key[0] in found.maps}
            entries = {name: each for name, each in entries.items() if name in found.tables}
            self._routing = RoutingTable(
                meta.revision, found.maps, states, found.tables, entries, found.rules,
                found.credentials,
            )  # fmt: skip
        return self._routing

    def begin(self) -> lmdb.Transaction:
        """A look at what is there now."""
        return self._open.begin()

    def down(self) -> frozenset[StateKey]:
        """The relays that are said to be down."""
        with self._open.begin() as transaction:
            return read_down(_get(transaction, DOWN))

    # --- writing -----------------------------------------------------------------------------

    def tell(self, down: frozenset[StateKey]) -> None:
        """Say which relays get nothing, from the next pick on.

        Raises:
            NotWritten: the disk refuses.
        """
        try:
            with self._open.begin(write=True) as transaction:
                transaction.put(DOWN, down_row(down))
        except lmdb.Error as error:
            raise NotWritten(error) from error

    def notice(self, addresses: tuple[IPAddress, ...]) -> None:
        """Take it that the host has these addresses now: clients from them are `local`.

        Raises:
            NotWritten: the disk refuses.
        """
        meta = self.meta()
        if not meta.history or meta.addresses == addresses:
            return
        try:
            with self._open.begin(write=True) as transaction:
                transaction.put(META, replace(meta, addresses=addresses).row())
        except lmdb.Error as error:
            raise NotWritten(error) from error

    def write(self, content: Content) -> Meta:
        """Write a whole revision; from then on every question is answered from it.

        Raises:
            NotWritten: the disk refuses, and nothing has changed.
            ReadsOtherwise: the rows would say something else than the routing.
        """
        rows = dict(
            structure_rows(
                content.routing,
                content.slots,
                content.logins,
                content.actions,
                spelling.relay_url,
            )
        )
        _read_back(rows, content)
        self._routing = None
        try:
            self._open.reader_check()  # a program that was killed while it read keeps no pages
            with self._open.begin(write=True) as transaction:
                meta = Meta.read(_get(transaction, META))
                kept = _kept(transaction, rows, content.names)
                changed = _replace(transaction, STRUCTURE, rows, kept)
                _write_tables(transaction, content.routing, kept)
                retired = [each.decode().split("\0") for each in kept if each[:4] in _RETIRE]
                transaction.put(RETIRED, json.dumps(sorted(retired)).encode())
                writes = meta.writes + 1
                meta = replace(
                    meta,
                    history=content.history,
                    revision=content.revision,
                    model_digest=content.model_digest,
                    writes=writes,
                    structure=writes if changed else meta.structure,
                    addresses=content.addresses,
                )
                transaction.put(META, meta.row())
        except (lmdb.Error, NotLive) as error:
            raise NotWritten(error) from error
        return meta


def _read_back(rows: Mapping[bytes, bytes], content: Content) -> None:
    """Read what is to be written as the table program will.

    Raises:
        ReadsOtherwise: it says something else.
    """
    try:
        found = read_structure(sorted(rows.items()), Known())
    except NotLive as error:
        raise ReadsOtherwise("a row") from error
    wanted = content.routing
    enabled = {name: rule for name, rule in wanted.rules.items() if rule.enabled}
    credentials = {label: wanted.credentials[label] for label in content.logins}
    for where, one, other in (
        ("relay maps", found.maps, wanted.maps),
        ("states", found.states.keys(), wanted.states.keys()),
        ("tables", found.tables, wanted.tables),
        ("rules", found.rules, enabled),
        ("credentials", found.credentials, credentials),
        ("slots", found.slots, {name: dict(each) for name, each in content.slots.items()}),
    ):
        if one != other:
            raise ReadsOtherwise(where)


def _kept(
    transaction: lmdb.Transaction, rows: Mapping[bytes, bytes], names: Collection[str]
) -> set[bytes]:
    """The keys of rows that actions of before ask about, which mail may still be queued under."""
    kept: set[bytes] = set()
    begins = tuple(_beginning(transaction, begin) for begin in STRUCTURE)
    found = read_structure((pair for rows_of in begins for pair in rows_of), Known())
    for name, asking in found.actions.items():
        if name in names and key("action", name) not in rows:
            kept.add(key("action", name))
            kind, _, what = str(asking.to).partition(":")
            kept.add(key(kind, what))
    return kept - rows.keys()


def _replace(
    transaction: lmdb.Transaction,
    begins: Iterable[bytes],
    rows: Mapping[bytes, bytes],
    kept: Collection[bytes],
) -> bool:
    """Make the rows that begin so be those given and those kept; whether that changed any."""
    before = {where: row for begin in begins for where, row in _beginning(transaction, begin)}
    gone = before.keys() - rows.keys() - set(kept)
    changed = {where: row for where, row in rows.items() if before.get(where) != row}
    for where in gone:
        transaction.delete(where)
    for where, row in changed.items():
        transaction.put(where, row)
    return bool(gone or changed)


def _write_tables(
    transaction: lmdb.Transaction, routing: RoutingTable, kept: Collection[bytes]
) -> None:
    """Write what differs in the entries of all tables, and what is known of each."""
    for name in _tables(transaction) - routing.tables.keys():
        if key("table", name) not in kept:
            for where, _ in list(_beginning(transaction, entry_key(name, ""))):
                transaction.delete(where)
            transaction.delete(key("known", name))
    for name in routing.tables:
        entries = routing.entries_of(name)
        base = entries.base
        if isinstance(base, _Entries) and base.table == name:
            if not entries.over:
                continue
            _write_changes(transaction, name, entries.over)
        else:
            _write_all(transaction, name, entries)
        transaction.put(key("known", name), _known_row(entries))


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
        gone, changed = _differences(list(_beginning(transaction, begin)), wanted)
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
        raise NotWritten(ValueError("a key is too long"))


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


def _entries_of(file: LiveFile, transaction: lmdb.Transaction, table: str) -> TableEntries:
    said = json.loads(_get(transaction, key("known", table)) or b"null")
    if said is None:
        raise NotLive
    digest = EntriesDigest.from_bytes(bytes.fromhex(said["digest"]))
    found = TableEntries(_Entries(file, table, digest.count), None, digest.count)
    found.known.digest = digest
    if said["hops"] is not None:
        found.known.hops = _counts(said["hops"])
    found.known.noted = _counts(said["noted"])
    return found


def _counts(said: Mapping[str, int]) -> Overlay[EntryHop, int]:
    return Overlay({parse_entry_hop(hop): n for hop, n in said.items()})


class _Entries(Mapping[str, EntryHop]):
    """The entries of one table as the file has them."""

    def __init__(self, file: LiveFile, table: str, length: int) -> None:
        self.table = table
        self._file = file
        self._length = length

    def __getitem__(self, name: str) -> EntryHop:
        hop = self.get(name)
        if hop is None:
            raise KeyError(name)
        return hop

    def get(self, name: str, default: object = None) -> EntryHop | None:  # type: ignore[override]
        """See `Mapping.get`."""
        del default
        with self._file.begin() as transaction:
            row = _get(transaction, entry_key(self.table, name))
        return None if row is None else read_entry(row)[0]

    def __contains__(self, name: object) -> bool:
        return self.get(str(name)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return self._length

    def items(self) -> ItemsView[str, EntryHop]:
        """See `Mapping.items`; all are read at once."""
        return self._all().items()

    def values(self) -> ValuesView[EntryHop]:
        """See `Mapping.values`; all are read at once."""
        return self._all().values()

    def _all(self) -> dict[str, EntryHop]:
        begin = entry_key(self.table, "")
        with self._file.begin() as transaction:
            return {
                where[len(begin) :].decode(): read_entry(row)[0]
                for where, row in _beginning(transaction, begin)
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


def _beginning(transaction: lmdb.Transaction, begin: bytes) -> Iterator[tuple[bytes, bytes]]:
    cursor = transaction.cursor()
    if cursor.set_range(begin):
        for where, row in cursor:
            if not bytes(where).startswith(begin):
                return
            yield bytes(where), bytes(row)


def _get(transaction: lmdb.Transaction, where: bytes) -> bytes | None:
    row = transaction.get(where)
    return None if row is None else bytes(row)
