"""How rows of the live file are read."""

from collections.abc import Iterator

import lmdb


def beginning(transaction: lmdb.Transaction, begin: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows whose keys begin so."""
    cursor = transaction.cursor()
    if cursor.set_range(begin):
        for where, row in cursor:
            if not bytes(where).startswith(begin):
                return
            yield bytes(where), bytes(row)


def get(transaction: lmdb.Transaction, where: bytes) -> bytes | None:
    """The row of a key."""
    row = transaction.get(where)
    return None if row is None else bytes(row)
