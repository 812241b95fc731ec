"""What an MTA has to do to serve one generation after another."""

import re
from dataclasses import dataclass
from enum import StrEnum

from app.render.generation import File, Generation


class ReloadKind(StrEnum):
    """How a generation comes into force, cheapest first."""

    NONE = "none"
    TABLE_UPDATE = "table-update"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change of generations asks of an MTA.

    Attributes:
        tables: the tables to read again, for a table update; never more than one.
        files: names of the files that differ, come or go.
    """

    reload: ReloadKind
    tables: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


_TABLE = re.compile(rb'^table "([^"]+)" "file:[^"]*/([^"/]+)"$', re.MULTILINE)
CONF = "relaymap.conf"


def plan(old: Generation | None, new: Generation) -> Plan:
    """What an MTA that serves `old` has to do to serve `new`.

    One table is read again in one step, between two messages. Two would be read one after the
    other, and mail in between would meet a routing that nobody wrote: that is a restart.

    Args:
        old: what it serves; None: nothing of ours, or unknown.
        new: what it is to serve.
    """
    before = {} if old is None else {file.name: file for file in old.files}
    after = {file.name: file for file in new.files}
    changed = tuple(
        sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
    )
    if old is not None and not changed:
        return Plan(ReloadKind.NONE)
    table = _one_table(before, after, changed)
    if table is not None:
        return Plan(ReloadKind.TABLE_UPDATE, (table,), changed)
    return Plan(ReloadKind.RESTART, (), changed)


def _one_table(
    before: dict[str, File], after: dict[str, File], changed: tuple[str, ...]
) -> str | None:
    if len(changed) != 1 or changed[0] not in before or changed[0] not in after:
        return None
    conf = after.get(CONF)
    if conf is None:
        return None
    tables = {file.decode(): table.decode() for table, file in _TABLE.findall(conf.content)}
    return tables.get(changed[0])
