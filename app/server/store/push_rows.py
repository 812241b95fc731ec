"""Pushes as rows: a revision, and a line for each MTA that is to serve it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, Row, Select, delete, func, insert, or_, select, update

from app.routing.errors import RevisionMoved, Unknown
from app.server.storage import LineRow, PushRow
from app.server.store.schema import head, lines, mtas, pushes
from app.wire import LineState, Reload

_BEGUN = (LineState.APPLYING.value, LineState.UNKNOWN.value)
_OPEN = (LineState.WAITING.value, *_BEGUN)
_TAKEN_BACK = (
    LineState.SUPERSEDED.value,
    LineState.EXPIRED.value,
    LineState.WITHDRAWN.value,
)
_IS_OPEN = or_(
    lines.c.state.in_(_OPEN),
    (lines.c.state == LineState.FAILED.value) & lines.c.next_try_at.is_not(None),
)
_SLICE = 500


def create(
    connection: Connection, revision: int, author: str, names: Collection[str], at: datetime
) -> PushRow:
    """Tell MTAs to serve the head. Raises RevisionMoved, or Unknown for an MTA."""
    # The head's row is locked: an edit comes before this push, or after it.
    counted = update(head).values(push_counter=head.c.push_counter + 1)
    now = connection.execute(
        counted.where(head.c.id == 1).returning(
            head.c.push_counter, head.c.revision, head.c.history
        )
    ).one()
    if now.revision != revision:
        raise RevisionMoved(now.revision)
    known = connection.execute(select(mtas.c.name).where(mtas.c.name.in_(sorted(names)))).all()
    if len(known) != len(set(names)):
        raise Unknown("MTA")
    _supersede(connection, names, at)
    push = PushRow(now.push_counter, revision, now.history, author, at)
    connection.execute(
        insert(pushes).values(
            id=push.id, revision=revision, history=push.history, author=author, created_at=at
        )
    )
    made = tuple(LineRow(push.id, name) for name in sorted(set(names)))
    if made:
        connection.execute(insert(lines), [_values(line) for line in made])
    return replace(push, lines=made)


def _supersede(connection: Connection, names: Collection[str], at: datetime) -> None:
    of_these = lines.c.mta.in_(sorted(names))
    connection.execute(
        update(lines)
        .where(of_these, lines.c.state == LineState.WAITING.value)
        .values(state=LineState.SUPERSEDED.value, finished_at=at)
    )
    connection.execute(
        update(lines).where(of_these, lines.c.next_try_at.is_not(None)).values(next_try_at=None)
    )


def withdraw_all(connection: Connection, mta: str, at: datetime) -> None:
    """End every line of an MTA that has not ended."""
    connection.execute(
        update(lines)
        .where(lines.c.mta == mta, lines.c.state.in_(_OPEN))
        .values(state=LineState.WITHDRAWN.value, finished_at=at)
    )
    connection.execute(
        update(lines)
        .where(lines.c.mta == mta, lines.c.next_try_at.is_not(None))
        .values(next_try_at=None)
    )


def _values(line: LineRow) -> dict[str, object]:
    return {
        "push": line.push,
        "mta": line.mta,
        "state": line.state.value,
        "reload": None if line.reload is None else line.reload.value,
        "detail": line.detail,
        "started_at": line.started_at,
        "finished_at": line.finished_at,
        "tries": line.tries,
        "next_try_at": line.next_try_at,
    }


def _line(row: Row[tuple[object, ...]]) -> LineRow:
    return LineRow(
        row.push,
        row.mta,
        LineState(row.state),
        None if row.reload is None else Reload(row.reload),
        row.detail,
        row.started_at,
        row.finished_at,
        row.tries,
        row.next_try_at,
    )


def get(connection: Connection, number: int) -> PushRow:
    """One push with its lines. Raises Unknown."""
    found = _with_lines(connection, select(pushes).where(pushes.c.id == number))
    if not found:
        raise Unknown("push")
    return found[0]


def page(connection: Connection, limit: int, before: int | None) -> tuple[PushRow, ...]:
    """Pushes below `before`, newest first, with their lines."""
    query = select(pushes).order_by(pushes.c.id.desc()).limit(limit)
    return _with_lines(connection, query if before is None else query.where(pushes.c.id < before))


def _with_lines(connection: Connection, query: Select[tuple[object, ...]]) -> tuple[PushRow, ...]:
    found = connection.execute(query).all()
    by_push: dict[int, list[LineRow]] = {row.id: [] for row in found}
    for numbers in _slices(list(by_push)):
        of_these = select(lines).where(lines.c.push.in_(numbers))
        for row in connection.execute(of_these):
            by_push[row.push].append(_line(row))
    return tuple(_push(row, sorted(by_push[row.id], key=lambda line: line.mta)) for row in found)


def _slices(numbers: list[int]) -> Iterable[list[int]]:
    return (numbers[start : start + _SLICE] for start in range(0, len(numbers), _SLICE))


def _push(row: Row[tuple[object, ...]], of_it: Iterable[LineRow]) -> PushRow:
    return PushRow(row.id, row.revision, row.history, row.author, row.created_at, tuple(of_it))


def save_line(connection: Connection, line: LineRow, expected: LineState | None) -> bool:
    """Replace a line; false where it is not in the state expected."""
    change = update(lines).where(lines.c.push == line.push, lines.c.mta == line.mta)
    if expected is not None:
        change = change.where(lines.c.state == expected.value)
    return connection.execute(change.values(_values(line))).rowcount == 1


def open_lines(connection: Connection) -> tuple[LineRow, ...]:
    """The lines that have not ended, and those to be tried again, oldest push first."""
    found = (_line(row) for row in connection.execute(select(lines).where(_IS_OPEN)))
    return tuple(sorted(found, key=lambda line: (line.push, line.mta)))


def at_work(connection: Connection, mta: str, number: int | None) -> tuple[PushRow, ...]:
    """The pushes whose line of an MTA is open, and the one of that number, oldest first."""
    query = (
        select(pushes, lines)
        .join(lines, lines.c.push == pushes.c.id)
        .where(lines.c.mta == mta, or_(_IS_OPEN, lines.c.push == number))
        .order_by(pushes.c.id)
    )
    return tuple(_push(row, (_line(row),)) for row in connection.execute(query))


def wanted(connection: Connection) -> Mapping[str, PushRow]:
    """By MTA, the newest push that names it and was not taken back, with that line alone."""
    newest = (
        select(lines.c.mta, func.max(lines.c.push).label("push"))
        .where(lines.c.state.not_in(_TAKEN_BACK))
        .group_by(lines.c.mta)
        .subquery()
    )
    at = (lines.c.mta == newest.c.mta) & (lines.c.push == newest.c.push)
    query = (
        select(pushes, lines)
        .join(lines, lines.c.push == pushes.c.id)
        .join(newest, at)
        .join(mtas, mtas.c.name == lines.c.mta)
    )
    return {row.mta: _push(row, (_line(row),)) for row in connection.execute(query)}


def prune(connection: Connection, older_than: datetime) -> int:
    """Forget pushes that are older than all that MTAs are still to serve; how many were."""
    needed = [push.id for push in wanted(connection).values()]
    needed += [line.push for line in open_lines(connection)]
    old = pushes.c.created_at < older_than
    if needed:
        old = old & (pushes.c.id < min(needed))
    return connection.execute(delete(pushes).where(old)).rowcount
