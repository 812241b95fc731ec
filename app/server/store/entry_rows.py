"""The entries of tables as rows: a million read in seconds, by the driver's own cursor.

To make a row of SQLAlchemy of each would take ten times as long. What many entries have alike, next
hops and marks, becomes one value.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, case, literal_column, select

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

_MARK = "revision || '|' || created_at || '|' || updated_at"
_Row: TypeAlias = tuple[str, str, str, str | None]
"""Table, key, next hop, and the mark as a text; None is the common one."""


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
    common = _common_mark(connection)
    hops, marks = _Hops(), _Marks(common)
    try:
        for rows in _slices(connection, _mark_unless(common)):
            for name, (keys, vias, marked) in _by_table(rows):
                tables[name].entries.add(keys, map(hops.__getitem__, vias))
                tables[name].mark(keys, list(map(marks.__getitem__, marked)))
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


class _Marks(dict[str | None, Mark]):
    def __init__(self, common: str | None) -> None:
        self._moments: dict[str, datetime] = {}
        self._common = common

    def __missing__(self, row: str | None) -> Mark:
        if len(self) >= _MOST_KNOWN:
            self.clear()
            self._moments.clear()
        revision, created, updated = (row or self._common or "").split("|")
        mark = self[row] = Mark(int(revision), self._moment(created), self._moment(updated))
        return mark

    def _moment(self, text: str) -> datetime:
        found = self._moments.get(text)
        if found is None:
            found = datetime.fromisoformat(text)
            # SQLite keeps none of the zone; PostgreSQL's session is in UTC.
            found = self._moments[text] = found.replace(tzinfo=UTC)
        return found


def _slices(connection: Connection, mark: ColumnElement[Any]) -> Iterator[Sequence[_Row]]:
    """All rows, as many at a time as are worked on at once."""
    columns = entries.c
    query = select(columns.table_name, columns.key, columns.via, mark)
    # PostgreSQL would send all rows at once to a cursor without a name.
    named = {"name": "entries"} if connection.dialect.name == "postgresql" else {}
    cursor = connection.connection.cursor(**named)
    try:
        cursor.execute(str(query.compile(connection.engine)))
        while rows := cursor.fetchmany(_SLICE):
            yield rows
    finally:
        cursor.close()


def _common_mark(connection: Connection) -> str | None:
    """The mark of most entries, as far as the first ones say; None where there are none."""
    mark: ColumnElement[str] = literal_column(_MARK)
    query = select(mark).select_from(entries).limit(1_000)
    found = Counter(connection.execute(query).scalars()).most_common(1)
    return found[0][0] if found else None


def _moment_text(text: str) -> str:
    """The text, which is a moment. Raises ValueError."""
    datetime.fromisoformat(text)
    return text


def _mark_unless(common: str | None) -> ColumnElement[Any]:
    """The mark as a text, but NULL for the common one: no object is made for each of those."""
    mark: ColumnElement[Any] = literal_column(_MARK)
    if common is None:
        return mark
    revision, *moments = common.split("|")
    columns = entries.c
    same = and_(
        columns.revision == literal_column(str(int(revision))),
        *(
            column == literal_column(f"'{_moment_text(text)}'")
            for column, text in zip((columns.created_at, columns.updated_at), moments, strict=True)
        ),
    )
    return case((same, None), else_=mark)


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
