"""The entries of tables as rows: a million read in seconds, by the driver's own cursor.

To make a row of SQLAlchemy of each would take ten times as long. What many entries have alike, next
hops and marks, becomes one value.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sqlalchemy import Connection, Text, cast, select

from app.routing.entries import TableEntries
from app.routing.errors import ControlError
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.routing.shards import Builder, Shards
from app.server.live import Mark
from app.server.storage import EntryRow, StorageDamaged
from app.server.store.schema import entries

_SLICE = 10_000
"""Rows that are read at a time; one of them takes a few milliseconds."""
_MOST_KNOWN = 100_000
"""Texts that are remembered as values."""

_UNREADABLE = "an entry of a table cannot be read"

_Row: TypeAlias = tuple[str, str, str, int, str, str]
"""Table, key, next hop, and the mark: revision, when made, when changed."""


def read(
    connection: Connection, names: Iterable[str]
) -> tuple[dict[str, TableEntries], dict[str, Shards[str, Mark]]]:
    """The entries of all tables and their marks, by table, as of the transaction.

    Args:
        connection: within a transaction.
        names: of every table.

    Raises:
        StorageDamaged: a row is none that we wrote.
    """
    tables = {name: _Table() for name in names}
    hops, marks = _Hops(), _Marks()
    try:
        for rows in _slices(connection):
            for name, (keys, vias, *marked) in _by_table(rows):
                tables[name].entries.add(keys, list(map(hops.__getitem__, vias)))
                tables[name].mark(keys, list(map(marks.__getitem__, zip(*marked, strict=True))))
    except (ControlError, KeyError, ValueError) as wrong:
        raise StorageDamaged(_UNREADABLE) from wrong
    found = {name: TableEntries(table.entries.made()) for name, table in tables.items()}
    for each in found.values():
        each.prepare()
    return found, {name: table.marks(found[name]) for name, table in tables.items()}


class _Table:
    """A table that is being read. Most of a million entries were mostly made at once."""

    def __init__(self) -> None:
        self.entries: Builder[str, EntryHop] = Builder()
        self._common: Mark | None = None
        self._keys: list[str] = []
        self._others: list[Mark] = []

    def mark(self, keys: Sequence[str], marks: Sequence[Mark]) -> None:
        """Note the marks of some entries."""
        if self._common is None:
            [(number, _)] = Counter(map(id, marks)).most_common(1)
            self._common = next(mark for mark in marks if id(mark) == number)
        common = self._common
        if marks.count(common) < len(marks):
            others = [(key, mark) for key, mark in zip(keys, marks, strict=True) if mark != common]
            self._keys += (key for key, _ in others)
            self._others += (mark for _, mark in others)

    def marks(self, entries: TableEntries) -> Shards[str, Mark]:
        """The marks of all entries."""
        if self._common is None:
            return Shards()
        return entries.alike(self._common).after_all(self._keys, self._others)


def page(connection: Connection, table: str, limit: int, after: str) -> tuple[EntryRow, ...]:
    """Entries of a table whose keys come after one, in the order of their code points.

    Raises:
        StorageDamaged: a row is none that we wrote.
    """
    columns = entries.c
    query = (
        select(entries)
        .where(columns.table_name == table, columns.key > after)
        .order_by(columns.key)
        .limit(limit)
    )
    hops = _Hops()
    try:
        return tuple(
            EntryRow(row.key, hops[row.via], Mark(row.revision, row.created_at, row.updated_at))
            for row in connection.execute(query)
        )
    except ControlError as wrong:
        raise StorageDamaged(_UNREADABLE) from wrong


class _Hops(dict[str, EntryHop]):
    def __missing__(self, text: str) -> EntryHop:
        hop = parse_entry_hop(text)
        if len(self) >= _MOST_KNOWN:
            self.clear()
        self[text] = hop
        return hop


class _Marks(dict[tuple[int, str, str], Mark]):
    def __init__(self) -> None:
        self._moments: dict[str, datetime] = {}

    def __missing__(self, row: tuple[int, str, str]) -> Mark:
        revision, created, updated = row
        if len(self) >= _MOST_KNOWN:
            self.clear()
            self._moments.clear()
        mark = self[row] = Mark(revision, self._moment(created), self._moment(updated))
        return mark

    def _moment(self, text: str) -> datetime:
        found = self._moments.get(text)
        if found is None:
            found = datetime.fromisoformat(text)
            # SQLite keeps none of the zone; PostgreSQL's session is in UTC.
            found = self._moments[text] = found.replace(tzinfo=UTC)
        return found


def _slices(connection: Connection) -> Iterator[Sequence[_Row]]:
    """All rows, as many at a time as are worked on at once."""
    columns, is_postgresql = entries.c, connection.dialect.name == "postgresql"
    moments = (columns.created_at, columns.updated_at)
    query = select(
        columns.table_name,
        columns.key,
        columns.via,
        columns.revision,
        *(cast(each, Text) if is_postgresql else each for each in moments),
    )
    # PostgreSQL would send all rows at once to a cursor without a name.
    named = {"name": "entries"} if is_postgresql else {}
    cursor = connection.connection.cursor(**named)
    try:
        cursor.execute(str(query.compile(connection.engine)))
        while rows := cursor.fetchmany(_SLICE):
            yield rows
    finally:
        cursor.close()


def _by_table(rows: Sequence[_Row]) -> Iterator[tuple[str, Sequence[tuple[Any, ...]]]]:
    """The columns of the rows of each table, after its name."""
    names, *columns = zip(*rows, strict=True)
    if len(set(names)) == 1:
        yield names[0], columns
        return
    found: dict[str, list[_Row]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    for name, alike in found.items():
        yield name, list(zip(*alike, strict=True))[1:]
