"""Many entries of one table written by the driver itself: SQLAlchemy doubles what a row costs."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Update, bindparam, delete, insert, update

from app.routing.change import EntryChanges
from app.routing.next_hop import EntryHop
from app.server.store.schema import entries

_COLUMNS = tuple(column.name for column in entries.columns)
Row = tuple[object, ...]


def remove(connection: Connection, changes: EntryChanges) -> None:
    """Remove the rows of those that go."""
    if changes.only_adds:
        return
    gone = (
        (changes.table, key)
        for key, after in zip(changes.keys, changes.afters, strict=True)
        if after is None
    )
    _execute(connection, delete(entries).where(*_is_it()), ("the_table", "the_key"), gone)


def put(connection: Connection, changes: EntryChanges, revision: int, at: datetime) -> None:
    """Make the rows of those that come or change what they are then."""
    moment, texts = _moment(connection, at), _texts(changes.afters)
    new = (
        (changes.table, key, texts[id(after)], revision, moment, moment)
        for key, before, after in _columns(changes)
        if before is None and after is not None
    )
    changed = (
        (texts[id(after)], revision, moment, changes.table, key)
        for key, before, after in _columns(changes)
        if before is not None and after is not None
    )
    if connection.dialect.name == "postgresql":
        _copy(connection, new)
    else:
        _execute(connection, insert(entries), _COLUMNS, new)
    if changes.only_adds:
        return
    values = ("via", "revision", "updated_at")
    statement = update(entries).where(*_is_it()).values({each: bindparam(each) for each in values})
    _execute(connection, statement, (*values, "the_table", "the_key"), changed)


def _texts(hops: Iterable[EntryHop | None]) -> dict[int, str]:
    """How next hops are written, by their objects: most entries share one with others."""
    texts: dict[int, str] = {}
    for hop in hops:
        if id(hop) not in texts:
            texts[id(hop)] = str(hop)
    return texts


def _columns(changes: EntryChanges) -> Iterable[tuple[str, object, object]]:
    return zip(changes.keys, changes.befores, changes.afters, strict=True)


def _is_it() -> tuple[Any, Any]:
    return entries.c.table_name == bindparam("the_table"), entries.c.key == bindparam("the_key")


def _copy(connection: Connection, rows: Iterator[Row]) -> None:
    """Add rows as PostgreSQL takes them fastest."""
    driver: Any = connection.connection.driver_connection
    statement = f"COPY {entries.name} ({', '.join(_COLUMNS)}) FROM STDIN"
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _execute(
    connection: Connection,
    statement: Delete | Insert | Update,
    names: tuple[str, ...],
    rows: Iterator[Row],
) -> None:
    """Execute once for each row, whose values are those of `names`."""
    compiled = statement.compile(dialect=connection.dialect)
    order = compiled.positiontup
    placed: Iterable[object] = rows
    if order is None:
        placed = (dict(zip(names, row, strict=True)) for row in rows)
    elif tuple(order) != names:
        placed = map(itemgetter(*map(names.index, order)), rows)
    driver: Any = connection.connection.driver_connection
    cursor = driver.cursor()
    try:
        cursor.executemany(str(compiled), placed)
    finally:
        cursor.close()


def _moment(connection: Connection, at: datetime) -> object:
    """A time as SQLAlchemy gives it to the driver."""
    kind = entries.c.created_at.type.dialect_impl(connection.dialect)
    bind = kind.bind_processor(connection.dialect)
    return at if bind is None else bind(at)
