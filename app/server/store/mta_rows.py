"""MTAs as rows, and the last report of each."""

from datetime import datetime

from pydantic import ValidationError
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from app.routing.errors import LimitReached, NameTaken, Unknown
from app.server.storage import MAX_MTAS, MtaRow, ReportRow, StorageDamaged
from app.server.store import push_rows
from app.server.store.schema import mtas, reports
from app.wire import Report


def put(connection: Connection, mta: MtaRow, *, create_only: bool) -> bool:
    """Create an MTA (true) or replace it (false). Raises NameTaken or LimitReached."""
    values = {
        "driver": mta.driver,
        "description": mta.description,
        "updated_at": mta.updated_at,
    }
    if create_only and _find(connection, mta.name) is not None:
        raise NameTaken("MTA")
    changed = connection.execute(update(mtas).where(mtas.c.name == mta.name).values(values))
    if changed.rowcount:
        return False
    if connection.execute(select(func.count()).select_from(mtas)).scalar_one() >= MAX_MTAS:
        raise LimitReached("MTAs", MAX_MTAS)
    created = values | {"name": mta.name, "created_at": mta.created_at}
    connection.execute(insert(mtas).values(created))
    return True


def _find(connection: Connection, name: str) -> MtaRow | None:
    row = connection.execute(select(mtas).where(mtas.c.name == name)).first()
    return None if row is None else _mta(row)


def _mta(row: Row[tuple[object, ...]]) -> MtaRow:
    return MtaRow(row.name, row.driver, row.description, row.created_at, row.updated_at)


def get(connection: Connection, name: str) -> MtaRow:
    """One MTA. Raises Unknown."""
    found = _find(connection, name)
    if found is None:
        raise Unknown("MTA")
    return found


def every(connection: Connection) -> tuple[MtaRow, ...]:
    """Every MTA, by name."""
    found = (_mta(row) for row in connection.execute(select(mtas)))
    return tuple(sorted(found, key=lambda mta: mta.name))


def remove(connection: Connection, name: str, at: datetime) -> None:
    """Forget an MTA, its report and its tokens, and withdraw its open lines. Raises Unknown."""
    get(connection, name)
    push_rows.withdraw_all(connection, name, at)
    connection.execute(delete(mtas).where(mtas.c.name == name))


def report(connection: Connection, mta: str) -> ReportRow | None:
    """The last report of an MTA, or None."""
    row = connection.execute(select(reports).where(reports.c.mta == mta)).first()
    return None if row is None else _report(row)


def _report(row: Row[tuple[object, ...]]) -> ReportRow:
    try:
        return ReportRow(row.mta, Report.model_validate_json(row.report), row.seen_at)
    except ValidationError as wrong:
        raise StorageDamaged("a report of an MTA cannot be read") from wrong


def every_report(connection: Connection) -> tuple[ReportRow, ...]:
    """The last report of every MTA that was heard of, by name."""
    found = (_report(row) for row in connection.execute(select(reports)))
    return tuple(sorted(found, key=lambda row: row.mta))


def save_report(connection: Connection, row: ReportRow) -> None:
    """Keep a report in place of the one before. Raises Unknown."""
    values = {"report": row.report.model_dump_json(), "seen_at": row.seen_at}
    changed = connection.execute(update(reports).where(reports.c.mta == row.mta).values(values))
    if not changed.rowcount:
        get(connection, row.mta)
        connection.execute(insert(reports).values(values | {"mta": row.mta}))
