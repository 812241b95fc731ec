"""Where entries of tables led that lead nowhere now, kept as long as mail may wait for them.

smtpd asks at each attempt where mail goes that was accepted for a table by recipient domain. With
its entry gone there would be no answer, and the mail would wait until it is sent back.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import lmdb

from app.render.opensmtpd import spelling
from app.routing.live_file import (
    LEFT,
    NotLive,
    entry_row,
    key,
    left_key,
    left_row,
    read_entry,
    read_left,
)
from app.routing.live_rows import beginning, get
from app.routing.next_hop import MX, EntryHop, ViaMap
from app.routing.table import Table, TableKey

LEAVING = b"leaving"
_LOOK_S = 86_400
"""Between two looks for rows that no mail waits for any more."""
_MX = str(MX).encode()


class LeftEntries:
    """The entries that were, of one table, in one transaction.

    Args:
        transaction: in which they are written.
        table: the name of the table.
        write: the number of this write.
        until: until when mail may live that is queued now, in seconds since the epoch.

    Attributes:
        are_any: whether there were any when it was made.
    """

    def __init__(self, transaction: lmdb.Transaction, table: str, write: int, until: int) -> None:
        self._transaction = transaction
        self._begin = left_key(table, "")
        self._write = write
        self._until = until
        self._asked = True
        self.are_any = _are_any(transaction, self._begin)

    def became(self, name: bytes, before: bytes | None, row: bytes | None) -> None:
        """Take it that an entry has another row; None: it has none."""
        if _leads(row):
            if self.are_any:
                self._transaction.delete(self._begin + name)
        elif before is not None and _leads(before) and self._asked:
            self._transaction.put(self._begin + name, left_row(self._write, self._until, before))

    def became_table(self, before: Table | None, now: Table) -> None:
        """Take it that the table is another one, before any of its entries is."""
        by_domain = TableKey.RECIPIENT_DOMAIN
        if now.key is by_domain and (before is None or before.key is by_domain):
            self.became(b"", _row(None if before is None else before.default), _row(now.default))
        else:
            self.forget()

    def forget(self) -> None:
        """Forget all, and keep none: nobody asks for them."""
        self._asked = False
        for where, _ in list(beginning(self._transaction, self._begin)):
            self._transaction.delete(where)


def _are_any(transaction: lmdb.Transaction, begin: bytes) -> bool:
    return next(beginning(transaction, begin), None) is not None


def _leads(row: bytes | None) -> bool:
    """Whether a table can be answered with it."""
    return row is not None and row != _MX


def _row(hop: EntryHop | None) -> bytes | None:
    return None if hop is None else entry_row(hop, spelling.relay_url)


@dataclass(frozen=True, slots=True)
class Leaving:
    """What stands behind the entries that were.

    Attributes:
        looked: when it was last looked for those that no mail waits for any more.
        maps: relay maps that they may lead to.
    """

    looked: int = 0
    maps: frozenset[str] = frozenset()

    @classmethod
    def read(cls, transaction: lmdb.Transaction) -> "Leaving":
        """What the file says."""
        said = json.loads(get(transaction, LEAVING) or b"{}")
        return cls(said.get("looked", 0), frozenset(said.get("maps", ())))

    def write(self, transaction: lmdb.Transaction) -> None:
        """Let the file say so."""
        row = json.dumps({"looked": self.looked, "maps": sorted(self.maps)}).encode()
        if row != get(transaction, LEAVING):
            transaction.put(LEAVING, row)


def settle(
    transaction: lmdb.Transaction, now_s: int, maps: frozenset[str], rows: Mapping[bytes, bytes]
) -> set[bytes]:
    """Forget what no mail waits for any more; the rows of maps that the rest may lead to.

    Args:
        transaction: in which all tables were written.
        now_s: seconds since the epoch.
        maps: those that tables have led to until now.
        rows: of the new revision; what is among them needs not be kept.
    """
    said = Leaving.read(transaction)
    looked, maps = said.looked, said.maps | maps
    if not 0 <= now_s - looked < _LOOK_S:
        looked, maps = now_s, _look(transaction, now_s)
    elif not _are_any(transaction, LEFT):
        maps = frozenset()
    Leaving(looked, maps).write(transaction)
    return {key("map", name) for name in maps} - rows.keys()


def _look(transaction: lmdb.Transaction, now_s: int) -> frozenset[str]:
    """Forget what no mail waits for any more; the maps that the rest leads to."""
    over: list[bytes] = []
    maps: set[str] = set()
    for where, row in beginning(transaction, LEFT):
        try:
            _, until, entry = read_left(row)
            hop = read_entry(entry)[0]
        except NotLive:  # nobody can be answered from it
            until, hop = now_s, None
        if until <= now_s:
            over.append(where)
        elif isinstance(hop, ViaMap):
            maps.add(hop.name)
    for where in over:
        transaction.delete(where)
    return frozenset(maps)
