"""Routing as rows: the whole read at once, and the changes of one edit written."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Insert,
    Table,
    Update,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from app.render.generation import Secret
from app.routing.change import (
    Change,
    EntryChanges,
    Kind,
    Subject,
    Value,
    one_by_one,
    parts_of,
    read_value,
    value_document,
)
from app.routing.credential import Credential
from app.routing.document import canonical_json
from app.routing.errors import ControlError
from app.routing.relay_map import OutOfService
from app.routing.routing_table import RoutingTable
from app.server.live import Mark, Marks
from app.server.storage import Edit, NewSecret, StorageDamaged
from app.server.store import entry_rows, entry_writes, heads, schema
from app.server.store.sealing import Seal

Values = dict[str, object]
Marked = tuple[Subject, Mark]

_SLICE = 10_000
"""Rows in one statement: bounds the memory that a large edit takes."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where the subjects of a kind are: a table, and the columns of its key."""

    table: Table
    name: Column[str]
    member: Column[str] | None = None


_ROWS: dict[Kind, _Rows] = {
    Kind.RELAY_MAP: _Rows(schema.relay_maps, schema.relay_maps.c.name),
    Kind.TABLE: _Rows(schema.tables, schema.tables.c.name),
    Kind.RULE: _Rows(schema.rules, schema.rules.c.name),
    Kind.CREDENTIAL: _Rows(schema.credentials, schema.credentials.c.label),
    Kind.RELAY_STATE: _Rows(schema.states, schema.states.c.relay_map, schema.states.c.relay),
    Kind.ENTRY: _Rows(schema.entries, schema.entries.c.table_name, schema.entries.c.key),
}
"""Owners before what belongs to them: the order in which rows are made; they go in reverse."""


# --- reading ----------------------------------------------------------------------------------


def read(connection: Connection, revision: int) -> tuple[RoutingTable, Marks]:
    """The whole routing and its marks, as of the transaction.

    Raises:
        StorageDamaged: a row is none that we wrote.
    """
    marks: list[Marked] = []
    found = {
        kind: dict(_documents(connection, kind, marks))
        for kind in (Kind.RELAY_MAP, Kind.TABLE, Kind.RULE, Kind.CREDENTIAL)
    }
    entries, entry_marks = entry_rows.read(connection, found[Kind.TABLE])
    table = RoutingTable(
        revision=revision,
        maps=found[Kind.RELAY_MAP],  # type: ignore[arg-type]
        states=dict(_states(connection)),
        tables=found[Kind.TABLE],  # type: ignore[arg-type]
        entries=entries,
        rules=found[Kind.RULE],  # type: ignore[arg-type]
        credentials=found[Kind.CREDENTIAL],  # type: ignore[arg-type]
    )
    return table, Marks.of(marks, entry_marks)


def _documents(
    connection: Connection, kind: Kind, marks: list[Marked]
) -> Iterator[tuple[str, Value | None]]:
    where = _ROWS[kind]
    for row in connection.execute(select(where.table).order_by(where.name)):
        subject = Subject(kind, row[0])
        yield row[0], _value(subject, row.document)
        marks.append((subject, Mark(row.revision, row.created_at, row.updated_at)))


def _value(subject: Subject, text: str) -> Value | None:
    try:
        return read_value(subject, json.loads(text))
    except (ControlError, ValueError) as wrong:
        raise StorageDamaged(f"{subject}: its row cannot be read") from wrong


def _states(connection: Connection) -> Iterator[tuple[tuple[str, str], OutOfService]]:
    for row in connection.execute(select(schema.states)):
        value = _value(Subject(Kind.RELAY_STATE, row.relay_map, row.relay), row.document)
        if isinstance(value, OutOfService):
            yield (row.relay_map, row.relay), value


def secrets(connection: Connection, labels: Iterable[str], seal: Seal) -> tuple[Secret, ...]:
    """The secrets of those labels that exist, by label."""
    return tuple(_secrets(connection, labels, seal, heads.row(connection).identity))


def _secrets(
    connection: Connection, labels: Iterable[str], seal: Seal, identity: str
) -> Iterator[Secret]:
    table = schema.credentials
    query = select(table).where(table.c.label.in_(sorted(labels))).order_by(table.c.label)
    for row in connection.execute(query):
        opened = seal.open(bytes(row.sealed), row.label, row.sealed_at, identity)
        credential = _value(Subject(Kind.CREDENTIAL, row.label), row.document)
        if isinstance(credential, Credential):
            yield Secret(row.label, credential.revision, opened.username, opened.password)


# --- writing ----------------------------------------------------------------------------------


def write(connection: Connection, edit: Edit, seal: Seal, identity: str) -> None:
    """Make the rows of an edit's subjects what they are after it."""
    by_kind: dict[Kind, list[Change]] = {kind: [] for kind in _ROWS}
    for change in one_by_one(edit.changes):
        by_kind[change.subject.kind].append(change)
    many = [part for part in parts_of(edit.changes) if isinstance(part, EntryChanges)]
    for part in many:
        entry_writes.remove(connection, part)
    for kind in reversed(_ROWS):
        gone = [change for change in by_kind[kind] if change.after is None]
        _execute(connection, _deleting(kind), [_key(change.subject) for change in gone])
    for kind, changes in by_kind.items():
        sealed = {
            label: _sealed(edit, label, secret, seal, identity)
            for label, secret in edit.secrets.items()
            if kind is Kind.CREDENTIAL
        }
        for new, statement in ((True, _inserting(kind)), (False, _updating(kind))):
            chosen = [c for c in changes if c.after is not None and (c.before is None) is new]
            rows = [_row(c, edit, new=new) | sealed.get(c.subject.name, {}) for c in chosen]
            _execute(connection, statement, rows)
    for part in many:
        entry_writes.put(connection, part, edit.revision, edit.at)


def _execute(
    connection: Connection, statement: Delete | Insert | Update, rows: list[Values]
) -> None:
    """Execute once for each row; rows of one call of the driver have the same columns."""
    for _, alike in groupby(rows, key=sorted):
        left = list(alike)
        for start in range(0, len(left), _SLICE):
            connection.execute(statement, left[start : start + _SLICE])


def _key(subject: Subject) -> Values:
    key: Values = {"key_name": subject.name}
    return key if _ROWS[subject.kind].member is None else key | {"key_member": subject.member}


def _matches(kind: Kind) -> list[ColumnElement[bool]]:
    where = _ROWS[kind]
    name = where.name == bindparam("key_name")
    return [name] if where.member is None else [name, where.member == bindparam("key_member")]


def _deleting(kind: Kind) -> Delete:
    return delete(_ROWS[kind].table).where(*_matches(kind))


def _updating(kind: Kind) -> Update:
    return update(_ROWS[kind].table).where(*_matches(kind))


def _inserting(kind: Kind) -> Insert:
    return insert(_ROWS[kind].table)


def _row(change: Change, edit: Edit, *, new: bool) -> Values:
    subject, where = change.subject, _ROWS[change.subject.kind]
    row: Values = {}
    if new:
        row[where.name.name] = subject.name
        if where.member is not None:
            row[where.member.name] = subject.member
    else:
        row.update(_key(subject))
    if subject.kind is Kind.ENTRY:
        row["via"] = str(change.after)
    else:
        row["document"] = canonical_json(value_document(subject, change.after)).decode()
    if subject.kind is not Kind.RELAY_STATE:
        row |= {"revision": edit.revision, "updated_at": edit.at}
        row |= {"created_at": edit.at} if new else {}
    return row


def _sealed(edit: Edit, label: str, secret: NewSecret, seal: Seal, identity: str) -> Values:
    sealed = seal.seal(secret, label, edit.revision, identity)
    return {"sealed": sealed, "sealed_at": edit.revision}
