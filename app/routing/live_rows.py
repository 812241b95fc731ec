"""How rows of the live file are looked at, by whoever has it open."""

from collections.abc import Iterator
from typing import Any, Protocol


class Look(Protocol):
    """A look at one state of the file: what LMDB calls a transaction."""

    def get(self, key: bytes, /) -> Any:  # noqa: ANN401  octets, in what LMDB has them in
        """The row of a key; None where there is none."""
        ...

    def cursor(self) -> Any:  # noqa: ANN401  LMDB's
        """What goes from row to row, in the order of the keys."""
        ...


def beginning(look: Look, begin: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows whose keys begin so."""
    cursor = look.cursor()
    if cursor.set_range(begin):
        for where, row in cursor:
            if not bytes(where).startswith(begin):
                return
            yield bytes(where), bytes(row)


def get(look: Look, where: bytes) -> bytes | None:
    """The row of a key."""
    row = look.get(where)
    return None if row is None else bytes(row)
