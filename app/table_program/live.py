"""The live file as it is read: the newest revision, or the last good file."""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import lmdb

from app.routing.entries import LayeredEntries
from app.routing.envelope import LOOPBACK
from app.routing.live_file import (
    DOWN,
    MAP_BYTES,
    MAX_KEY,
    META,
    STRUCTURE,
    Known,
    Meta,
    NotLive,
    Structure,
    entry_key,
    left_key,
    read_down,
    read_entry,
    read_left,
    read_structure,
)
from app.routing.live_rows import beginning, get
from app.routing.names import IPAddress
from app.routing.next_hop import EntryHop
from app.routing.relay_url import RelayURL
from app.routing.routing_table import EMPTY, RoutingTable, StateKey

DATA = "data.mdb"
_READS = 4096
"""Until the file is opened anew in any case: what somebody did to the file of its readers under us,
or wrote over it in place, is seen then at the latest. That costs a thousandth of what is answered.
"""
_MOST_MAPPED = 12 << 20
_MAPPED = 2 * 16 * 4096
"""Octets of a large file that may be mapped until they are let go, and that a look-up of an entry
may map: around its page, and around the one above it. They count as this process's own memory. To
open the file anew costs two look-ups.
"""
_CUT_OFF = "the live file was cut off"


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
        self._refused = (0, 0, 0, 0)
        self._mapped = 0
        self._reads = 0
        self._least = 0
        self._snapshot = -1
        self._known = Known()
        self._view = _NOTHING
        self._entry: tuple[EntryHop | None, str] = None, ""
        self._reading = _Reading(self)
        self.trouble = ""
        """What keeps the newest file from being read, in few words; "" where nothing does."""

    def read(self) -> "_Reading":
        """The newest revision; all that is asked while it is open is answered from it.

        Entering it raises `CannotRead` where there is none.
        """
        return self._reading

    def begin(self) -> View:
        """Open the newest revision.

        Raises:
            CannotRead: there is none.
        """
        environment = self._opened()
        try:
            try:
                transaction = self._transaction = environment.begin()
            except lmdb.BadRslotError:
                # The table of readers was made anew under us: we are in it once we open it anew.
                self.close()
                environment = self._opened()
                transaction = self._transaction = environment.begin()
            snapshot = transaction.id()
            if snapshot != self._snapshot:
                self._take(environment, transaction)
                self._snapshot = snapshot
        except (lmdb.Error, NotLive) as error:
            self.end()
            raise self.cannot(error) from error
        except BaseException:
            self.end()
            raise
        return self._view

    def end(self) -> None:
        """Let go of the revision that is open."""
        if self._transaction is not None:
            self._transaction.abort()
            self._transaction = None

    def close(self) -> None:
        """Leave the file."""
        if self._environment is not None:
            self._environment.close()
            self._environment, self._inode = None, (0, 0)

    def cannot(self, error: Exception) -> CannotRead:
        """What is raised for an error of the file."""
        self._snapshot = -1
        self.trouble = f"the live file cannot be read: {type(error).__name__}"
        return CannotRead(self.trouble)

    def spelling(self, url: RelayURL) -> str:
        """How smtpd spells a relay that the entry read last leads to, or the view does."""
        hop, spelt = self._entry
        return spelt if hop is url else self._view.structure.spelt[url]

    def entry(self, where: bytes) -> EntryHop | None:
        """Where the entry of the view that is open leads whose row has this key."""
        if self._transaction is None or len(where) > MAX_KEY:
            return None
        self._mapped += _MAPPED
        row = get(self._transaction, where)
        if row is None:
            return None
        self._entry = read_entry(row)
        return self._entry[0]

    def left(self, table: str, name: str) -> tuple[int, EntryHop] | None:
        """Where an entry led that the view which is open has no more; see `LeftOf`."""
        where = left_key(table, name)
        if self._transaction is None or len(where) > MAX_KEY:
            return None
        row = get(self._transaction, where)
        if row is None:
            return None
        write, _, entry = read_left(row)
        self._entry = read_entry(entry)
        return write, self._entry[0]

    def entries(self, begin: bytes) -> Iterator[str]:
        """The keys of the entries in the view that is open whose rows begin so."""
        if self._transaction is not None:
            for where, _ in beginning(self._transaction, begin):
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
            size = found.st_size
            self._reads += 1
            is_due = self._reads > _READS or min(self._mapped, size) > _MOST_MAPPED
            if inode == self._inode and not is_due:
                if size < self._least:
                    # What is mapped beyond its end cannot even be looked at: that is SIGBUS.
                    self.trouble = _CUT_OFF
                    raise CannotRead(self.trouble)
                self.trouble = ""
            else:
                state = (*inode, size, found.st_ctime_ns)
                if state != self._refused:
                    self._refused = (0, 0, 0, 0) if self._open_other(inode) else state
        if self._environment is None:
            raise CannotRead(self.trouble)
        return self._environment

    def _open_other(self, inode: tuple[int, int]) -> bool:
        """Change over to what lies there now, if it can be read and is not older than ours.

        Returns:
            false where there is nothing to be had from it as long as nobody changes it.
        """
        try:
            least = 0
            if inode == self._inode:
                least = self._least
                self.close()
            # Without its locks: to close a second one would free the first one's (fcntl(2)). By
            # the file's own name: lmdb refuses to open a path that it has open.
            with _opened_at(self._path, lock=False) as environment:
                if not _has(self._path, least or _least(environment)):
                    self.trouble = _CUT_OFF
                    return False
                with environment.begin() as transaction:
                    meta = Meta.read(get(transaction, META))
            if meta.writes < self._view.meta.writes:
                self.trouble = "the live file was replaced by an older one"
                return False
        except (lmdb.Error, NotLive) as error:
            self.trouble = f"the live file is not one of ours: {type(error).__name__}"
            return False
        self.close()
        try:
            self._environment = _opened_at(str(self._directory), lock=True)
            self._environment.reader_check()  # of 126 places, those of who was killed are free
        except lmdb.Error as error:
            self.trouble = f"the live file cannot be opened: {type(error).__name__}"
            return True
        self._inode, self._snapshot, self._least = inode, -1, 0
        self._mapped = self._reads = 0
        self.trouble = ""
        return True

    def _take(self, environment: lmdb.Environment, transaction: lmdb.Transaction) -> None:
        before = self._view
        meta = Meta.read(get(transaction, META))
        structure, table = before.structure, before.table
        if (meta.structure, meta.history) != (before.meta.structure, before.meta.history):
            rows = (pair for begin in STRUCTURE for pair in beginning(transaction, begin))
            structure = read_structure(rows, self._known)
            # Nobody who answers counts them, and to count a million would take half a second.
            entries = {
                name: LayeredEntries(_Entries(self, name), {}, 0) for name in structure.tables
            }
            table = structure.routing(meta.revision, entries)
            table.prepare()
        own = LOOPBACK | frozenset(meta.addresses)
        self._least = _least(environment)
        with suppress(OSError):
            # Pages that a write took and gave back are counted, and may stand behind the end until
            # the writer has made the file longer.
            self._least = min(self._least, os.stat(self._path).st_size)  # noqa: PTH116
        self._view = View(meta, table, structure, read_down(get(transaction, DOWN)), own)
        if structure is not before.structure:
            gc.collect()
            gc.freeze()  # it stays: nobody has to look through it again


class _Reading:
    """A revision of a file, from when it is entered until it is left."""

    __slots__ = ("_file",)

    def __init__(self, file: LiveFile) -> None:
        self._file = file

    def __enter__(self) -> View:
        return self._file.begin()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._file.end()
        if isinstance(error, lmdb.Error | NotLive):
            raise self._file.cannot(error) from error


def _opened_at(path: str, *, lock: bool) -> lmdb.Environment:
    return lmdb.open(
        path,
        map_size=MAP_BYTES,
        subdir=lock,
        readonly=True,
        create=False,
        readahead=False,
        lock=lock,
        max_spare_txns=2,
    )


def _least(environment: lmdb.Environment) -> int:
    """Octets that a file of these pages has at least."""
    return int((environment.info()["last_pgno"] + 1) * environment.stat()["psize"])


def _has(path: str, least: int) -> bool:
    """Whether a file is as long as its first pages say; they are all that is looked at."""
    try:
        return os.stat(path).st_size >= least  # noqa: PTH116  as it was opened
    except OSError:
        return False


class _Entries(Mapping[str, EntryHop]):
    """The entries of one table, where they are."""

    def __init__(self, file: LiveFile, table: str) -> None:
        self._file = file
        self._begin = entry_key(table, "")

    def __getitem__(self, name: str) -> EntryHop:
        hop = self.get(name)
        if hop is None:
            raise KeyError(name)
        return hop

    def get(self, name: str, default: object = None) -> EntryHop | None:  # type: ignore[override]
        """See `Mapping.get`; the way that a look-up takes."""
        del default
        return self._file.entry(self._begin + name.encode())

    def __iter__(self) -> Iterator[str]:
        return self._file.entries(self._begin)

    def __len__(self) -> int:
        return sum(1 for _ in self)
