"""The live file as it is written: one transaction a revision, by this process alone.

    STATE_DIR/data/data.mdb    the rows of `app.routing.live_file`, readable by the MTA's group
    STATE_DIR/data/lock.mdb    where readers say what they read, so writable by it
    STATE_DIR/data/run/        where the table program listens

LMDB writes new pages beside the old ones and then one page that says so: a writer that is killed
has written nothing, and no reader has to repair anything.
"""

import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import lmdb

from app.agent import durable, left_entries
from app.agent.live_entries import entries_of, maps_of, mark_of, write_tables
from app.observe import event
from app.render.opensmtpd import spelling
from app.routing.decision import Fixed, Slots
from app.routing.errors import ControlError
from app.routing.live_file import (
    DOWN,
    MAP_BYTES,
    META,
    STRUCTURE,
    Known,
    Login,
    Meta,
    NotLive,
    Structure,
    down_row,
    key,
    read_down,
    read_structure,
    structure_rows,
)
from app.routing.live_rows import beginning, get
from app.routing.names import IPAddress
from app.routing.next_hop import ViaTable
from app.routing.routing_table import EMPTY, RoutingTable, StateKey
from app.routing.table import TableKey

RETIRED = b"retired"
"""The row of maps and tables that routing no longer has."""
_RETIRE = {b"map\0", b"table\0"[:4]}
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
        now_s: in seconds since the epoch.
        until_s: until then mail may live that is queued now.
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
    now_s: int
    until_s: int


class LiveFile:
    """The live file of one state directory."""

    def __init__(self, state_dir: Path, group: int) -> None:
        self.directory = state_dir / "data"
        self.room = self.directory / "run"
        self._group = group
        self._environment: lmdb.Environment | None = None
        self._known = Known()
        self._routing: tuple[int, RoutingTable, RoutingTable] | None = None
        """Of how many writes it is, since two threads may ask while a third writes."""

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
            self._environment = self._opened()
            with self._environment.begin(write=True) as transaction:
                if get(transaction, META) is None:
                    transaction.put(META, Meta().row())
            self._lengthen()
        except lmdb.Error as error:
            raise NotWritten(error) from error
        for name, mode in (("data.mdb", _DATA_MODE), ("lock.mdb", _LOCK_MODE)):
            os.chown(self.directory / name, -1, self._group)
            (self.directory / name).chmod(mode)
        durable.sync_directory(self.directory)

    def _opened(self) -> lmdb.Environment:
        """The file; one that nobody of ours wrote is set aside, and the next push writes it anew.

        Raises:
            lmdb.Error: the disk refuses.
        """
        try:
            environment = _open_at(self.directory)
        except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError):
            event("live-file-set-aside", logging.ERROR)
        else:
            if _is_ours(environment):
                return environment
            environment.close()
            event("live-file-set-aside", logging.ERROR)
        (self.directory / "data.mdb").replace(self.directory / "set-aside.mdb")
        (self.directory / "lock.mdb").unlink(missing_ok=True)
        return _open_at(self.directory)

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
        with self.begin() as transaction:
            return Meta.read(get(transaction, META))

    def structure(self) -> Structure:
        """All of it but the entries, and what was retired."""
        with self.begin() as transaction:
            return _structure(transaction, self._known)

    def routing(self) -> RoutingTable:
        """The routing that is in force; its entries stay where they are, and are read there.

        Raises:
            NotLive: it is none that an agent wrote.
        """
        return self._known_routing()[1]

    def retired(self) -> RoutingTable:
        """The maps that routing no longer has, and mail may still be queued for; nothing else.

        Raises:
            NotLive: as `routing`.
        """
        return self._known_routing()[2]

    def _known_routing(self) -> tuple[int, RoutingTable, RoutingTable]:
        meta, known = self.meta(), self._routing
        if known is None or known[0] != meta.writes:
            known = self._routing = (meta.writes, *self._read(meta.revision))
        return known

    def _read(self, revision: int) -> tuple[RoutingTable, RoutingTable]:
        """The routing that is in force, and what was retired of it."""
        found = self.structure()
        with self.begin() as transaction:
            retired = json.loads(get(transaction, RETIRED) or b"[]")
            beside = found.credentials, mark_of(found.credentials)
            entries = {
                name: entries_of(self.begin, transaction, name, beside) for name in found.tables
            }
        for _, name in (each for each in retired if each[0] == "table"):
            found.tables.pop(name, None)
            entries.pop(name, None)
        maps = {name for kind, name in retired if kind == "map" and name in found.maps}
        apart = replace(
            EMPTY,
            maps={name: found.maps.pop(name) for name in maps},
            states={key: each for key, each in found.states.items() if key[0] in maps},
        )
        found.states = {key: each for key, each in found.states.items() if key[0] in found.maps}
        return found.routing(revision, entries), apart

    def begin(self) -> lmdb.Transaction:
        """A look at what is there now."""
        try:
            return self._open.begin()
        except lmdb.ReadersFullError:  # as if all places were of readers that were killed
            self._open.reader_check()
            return self._open.begin()

    def down(self) -> frozenset[StateKey]:
        """The relays that are said to be down."""
        with self.begin() as transaction:
            return read_down(get(transaction, DOWN))

    # --- writing -----------------------------------------------------------------------------

    def tell(self, down: frozenset[StateKey]) -> None:
        """Say which relays get nothing, from the next pick on.

        Raises:
            NotWritten: the disk refuses.
        """
        try:
            with self._open.begin(write=True) as transaction:
                transaction.put(DOWN, down_row(down))
            self._lengthen()
        except lmdb.Error as error:
            raise NotWritten(error) from error

    def notice(self, addresses: tuple[IPAddress, ...]) -> None:
        """Take it that the host has these addresses now: clients from them are `local`.

        Raises:
            NotWritten: the disk refuses.
        """
        try:
            with self._open.begin(write=True) as transaction:
                meta = Meta.read(get(transaction, META))
                if not meta.history or meta.addresses == addresses:
                    return
                transaction.put(META, replace(meta, addresses=addresses).row())
            self._lengthen()
        except (lmdb.Error, NotLive) as error:
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
        try:
            self._open.reader_check()  # a program that was killed while it read keeps no pages
            with self._open.begin(write=True) as transaction:
                meta = Meta.read(get(transaction, META))
                before = _structure(transaction, Known())
                kept = _kept(transaction, before, rows, content.names)
                maps = _maps_of_tables(transaction, before)
                writes = meta.writes + 1
                write_tables(
                    transaction, content.routing, kept, before.tables, writes, content.until_s
                )
                kept |= left_entries.settle(transaction, content.now_s, maps, rows)
                changed = _replace(transaction, STRUCTURE, rows, kept)
                retired = [each.decode().split("\0") for each in kept if each[:4] in _RETIRE]
                transaction.put(RETIRED, json.dumps(sorted(retired)).encode())
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
            self._lengthen()
        except (lmdb.Error, NotLive) as error:
            raise NotWritten(error) from error
        return meta

    def _lengthen(self) -> None:
        """Make the file as long as it says that it is: who reads it takes less for a part of it.

        LMDB counts pages at the end that a write took and gave back, and does not write them.
        """
        environment, path = self._open, self.directory / "data.mdb"

        def lacks() -> int:
            pages = int(environment.info()["last_pgno"]) + 1
            length = pages * int(environment.stat()["psize"])
            return length if path.stat().st_size < length else 0

        # Once more with everybody else kept from writing, or what they add would be cut off.
        if lacks():
            with environment.begin(write=True), suppress(OSError):
                if length := lacks():
                    os.truncate(path, length)


def _open_at(directory: Path) -> lmdb.Environment:
    environment = lmdb.open(str(directory), map_size=MAP_BYTES, mode=_DATA_MODE, readahead=False)
    environment.reader_check()  # of 126 places, those of who was killed are free
    return environment


def _is_ours(environment: lmdb.Environment) -> bool:
    with environment.begin() as transaction:
        row = get(transaction, META)
    try:
        return row is None or Meta.read(row) is not None
    except NotLive:
        return False


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


def _structure(transaction: lmdb.Transaction, known: Known) -> Structure:
    rows = (pair for begin in STRUCTURE for pair in beginning(transaction, begin))
    return read_structure(rows, known)


def _maps_of_tables(transaction: lmdb.Transaction, found: Structure) -> frozenset[str]:
    """The maps that tables lead to whose mail may wait."""
    maps = (
        maps_of(transaction, name, table)
        for name, table in found.tables.items()
        if table.key is TableKey.RECIPIENT_DOMAIN
    )
    return frozenset(name for each in maps for name in each if name in found.maps)


def _kept(
    transaction: lmdb.Transaction,
    found: Structure,
    rows: Mapping[bytes, bytes],
    names: Collection[str],
) -> set[bytes]:
    """The keys of rows that actions of before ask about, which mail may still be queued under."""
    kept: set[bytes] = set()
    for name, asking in found.actions.items():
        if name in names and key("action", name) not in rows:
            kept.add(key("action", name))
            kind, _, what = str(asking.to).partition(":")
            kept.add(key(kind, what))
            if isinstance(asking.to, ViaTable) and key(kind, what) not in rows:
                maps = maps_of(transaction, what, found.tables.get(what))
                kept.update(key("map", each) for each in maps if each in found.maps)
    return kept - rows.keys()


def _replace(
    transaction: lmdb.Transaction,
    begins: Iterable[bytes],
    rows: Mapping[bytes, bytes],
    kept: Collection[bytes],
) -> bool:
    """Make the rows that begin so be those given and those kept; whether that changed any."""
    before = {where: row for begin in begins for where, row in beginning(transaction, begin)}
    gone = before.keys() - rows.keys() - set(kept)
    changed = {where: row for where, row in rows.items() if before.get(where) != row}
    for where in gone:
        transaction.delete(where)
    for where, row in changed.items():
        transaction.put(where, row)
    return bool(gone or changed)
