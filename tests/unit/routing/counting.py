"""Rows that count how often somebody goes through all of them."""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TypeVar

V = TypeVar("V")


class Counting(Mapping[str, V]):
    """Look-ups are free; each walk over all rows is counted, whichever way it is taken."""

    def __init__(self, rows: Mapping[str, V]) -> None:
        self._rows = rows
        self.walks = 0

    def __getitem__(self, key: str) -> V:
        return self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        self.walks += 1
        return iter(self._rows)

    def items(self) -> ItemsView[str, V]:
        self.walks += 1
        return self._rows.items()

    def values(self) -> ValuesView[V]:
        self.walks += 1
        return self._rows.values()
