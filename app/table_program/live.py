"""The live file as it is read: the newest revision, or the last good file."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb

from app.routing.envelope import LOOPBACK
from app.routing.live_file import (
    DOWN,
    MAX_KEY,
    META,
    STRUCTURE,
    Known,
    Meta,
    NotLive,
    Structure,
    entry_key,
    read_down,
    read_entry,
    read_structure,
)
from app.routing.names import IPAddress
from app.routing.next_hop import EntryHop
from app.routing.relay_url import RelayURL
from app.routing.routing_table import EMPTY, RoutingTable, StateKey

DATA = "data.mdb"
_MAX_SPELT = 65_536


class CannotRead(Exception):
    """There is no revision that could be answered from; says why."""


@dataclass(frozen=True, slots=True, repr=False)
class View:
    """One revision, while it is read.

    Attributes:
        own: addresses of the MTA's host.
    """

    meta: Meta
    table: RoutingTable
    structure: Structure
    down: frozenset[StateKey]
    own: frozenset[IPAddress]


_NOTHING = View(Meta(), EMPTY, Structure(), frozenset(), LOOPBACK)


class LiveFile:
    """The file of one directory, read without ever writing to it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = str(directory / DATA)
        self._environment: lmdb.Environment | None = None
        self._transaction: lmdb.Transaction | None = None
        self._inode = (0, 0)
        self._least = 0
        self._snapshot = -1
        self._known = Known()
        self._view = _NOTHING
        self._spelt: dict[RelayURL, str] = {}
        self.trouble = ""
        """What keeps the newest file from being read, in few words; "" where nothing does."""

    @contextmanager
    def read(self) -> Iterator[View]:
        """The newest revision; all that is asked while it is open is answered from it.

        Raises:
            CannotRead: there is none.
        """
        environment = self._opened()
        try:
            with environment.begin() as self._transaction:
                snapshot = self._transaction.id()
                if snapshot != self._snapshot:
                    self._take(environment, self._transaction)
                    self._snapshot = snapshot
                yield self._view
        except (lmdb.Error, NotLive) as error:
            self.trouble = f"the live file cannot be read: {type(error).__name__}"
            raise CannotRead(self.trouble) from error
        finally:
            self._transaction = None

    def spelling(self, url: RelayURL) -> str:
        """How smtpd spells a relay that the view, or an entry read in it, leads to."""
        spelt = self._view.structure.spelt.get(url)
        return self._spelt[url] if spelt is None else spelt

    def entry(self, table: str, name: str) -> EntryHop | None:
        """Where an entry of the view that is open leads."""
        where = entry_key(table, name)
        if self._transaction is None or len(where) > MAX_KEY:
            return None
        row = _get(self._transaction, where)
        if row is None:
            return None
        hop, spelt = read_entry(row)
        if isinstance(hop, RelayURL):
            if len(self._spelt) >= _MAX_SPELT:
                self._spelt.clear()
            self._spelt[hop] = spelt
        return hop

    def entries(self, table: str) -> Iterator[str]:
        """The keys of the entries of a table, in the view that is open."""
        if self._transaction is not None:
            begin = entry_key(table, "")
            for where, _ in _beginning(self._transaction, begin):
                yield where[len(begin) :].decode()

    # --- the file ------------------------------------------------------------------------------

    def _opened(self) -> lmdb.Environment:
        """The file, opened anew where another one lies in its place; else the last good one."""
        try:
            found = os.stat(self._path)  # noqa: PTH116  half the time of Path.stat
        except OSError as error:
            self.trouble = f"there is no live file: {error.strerror}"
        else:
            inode = (found.st_dev, found.st_ino)
            if inode != self._inode:
                self._open_other(inode)
            elif found.st_size < self._least:
                # What is mapped beyond its end cannot even be looked at: that is SIGBUS.
                self.trouble = "the live file was cut off"
                raise CannotRead(self.trouble)
        if self._environment is None:
            raise CannotRead(self.trouble)
        return self._environment

    def _open_other(self, inode: tuple[int, int]) -> None:
        environment = self._environment_of_ours()
        if environment is None:
            return
        if self._environment is not None:
            self._environment.close()
        self._environment, self._inode, self._snapshot = environment, inode, -1
        self._least = 0
        self.trouble = ""

    def _environment_of_ours(self) -> lmdb.Environment | None:
        """What lies there now, if it can be read and is not older than what we have read."""
        try:
            environment = lmdb.open(
                str(self._directory),
                readonly=True,
                create=False,
                readahead=False,
                max_spare_txns=2,
            )
        except lmdb.Error as error:
            self.trouble = f"the live file cannot be opened: {type(error).__name__}"
            return None
        try:
            with environment.begin() as transaction:
                meta = Meta.read(_get(transaction, META))
            if meta.writes >= self._view.meta.writes:
                return environment
            self.trouble = "the live file was replaced by an older one"
        except (lmdb.Error, NotLive) as error:
            self.trouble = f"the live file is not one of ours: {type(error).__name__}"
        environment.close()
        return None

    def _take(self, environment: lmdb.Environment, transaction: lmdb.Transaction) -> None:
        before = self._view
        meta = Meta.read(_get(transaction, META))
        structure, table = before.structure, before.table
        if (meta.structure, meta.history) != (before.meta.structure, before.meta.history):
            rows = (pair for begin in STRUCTURE for pair in _beginning(transaction, begin))
            structure = read_structure(rows, self._known)
            entries = {name: _Entries(self, name) for name in structure.tables}
            table = structure.routing(meta.revision, entries)
        own = LOOPBACK | frozenset(meta.addresses)
        self._least = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        self._view = View(meta, table, structure, read_down(_get(transaction, DOWN)), own)


class _Entries(Mapping[str, EntryHop]):
    """The entries of one table, where they are."""

    def __init__(self, file: LiveFile, table: str) -> None:
        self._file = file
        self._table = table

    def __getitem__(self, name: str) -> EntryHop:
        hop = self._file.entry(self._table, name)
        if hop is None:
            raise KeyError(name)
        return hop

    def get(self, name: str, default: object = None) -> EntryHop | None:  # type: ignore[override]
        """See `Mapping.get`; the way that a look-up takes."""
        del default
        return self._file.entry(self._table, name)

    def __iter__(self) -> Iterator[str]:
        return self._file.entries(self._table)

    def __len__(self) -> int:
        return sum(1 for _ in self)


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
