"""A mapping that never changes and whose successors cost what they change, not what they hold.

A successor shares the rows of its predecessor and keeps what is new beside them; once that is
much, the rows are copied anew. Looking a key up costs one look more than in a dict.
"""

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from itertools import chain, filterfalse
from math import isqrt
from typing import Self, TypeVar, cast, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_LEAST = 64
_ABSENT: object = object()


class Overlay(Mapping[K, V]):
    """Rows, and the changes that were made since: immutable. No value is None.

    Attributes:
        base: the rows as they were last copied; successors share them.
        over: what became of some of them, and what came, since; None is absence.
    """

    __slots__ = ("_length", "base", "over")

    def __init__(
        self,
        base: Mapping[K, V] | None = None,
        over: Mapping[K, V | None] | None = None,
        length: int | None = None,
    ) -> None:
        """Take rows as they are: whoever made them changes them no more.

        Args:
            base: see above.
            over: see above.
            length: how many keys have a value; of the base where nothing is over it.
        """
        self.base: Mapping[K, V] = {} if base is None else base
        self.over: dict[K, V | None] = dict(over or {})
        self._length = len(self.base) if length is None else length

    @classmethod
    def of(cls, rows: Mapping[K, V]) -> Self:
        """The rows themselves where they are of this kind already, else a mapping of them."""
        return rows if isinstance(rows, cls) else cls(rows)

    def after(self, changes: Mapping[K, V | None]) -> Self:
        """The mapping with these values; None removes a key.

        It costs as much as there are changes, and about twice the root of what it holds; once in
        as many changes, all that it holds is copied.
        """
        over = {**self.over, **changes}
        moved = ((value is not None) - (key in self) for key, value in changes.items())
        length = self._length + sum(moved)
        if len(over) <= max(_LEAST, 2 * isqrt(len(self.base))):
            return type(self)(self.base, over, length)
        return type(self)(_whole(self.base, over))

    def after_many(self, keys: Sequence[K], values: Sequence[V | None]) -> Self:
        """As `after`, of many keys, each once."""
        return self.after(dict(zip(keys, values, strict=True)))

    def differing(self, other: "Overlay[K, V]") -> set[K]:
        """Keys, among them all whose values differ in the two: few where rows are shared."""
        if self.base is other.base:
            return {*self.over, *other.over}
        return {*self, *other}

    def differences(self, other: "Overlay[K, V]") -> Iterator[tuple[K, V | None, V | None]]:
        """Keys whose values are not one object in the two, with both; None is absence."""
        for key in self.differing(other):
            before, after = self.get(key), other.get(key)
            if before is not after:
                yield key, before, after

    def __getitem__(self, key: K) -> V:
        """The value of a key. Raises KeyError."""
        found = self.over.get(key, cast("V", _ABSENT))
        if found is _ABSENT:
            return self.base[key]
        if found is None:
            raise KeyError(key)
        return found

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D, /) -> V | D: ...
    def get(self, key: K, default: V | D | None = None, /) -> V | D | None:
        """The value of a key; `default` where there is none."""
        if self.over:
            found = self.over.get(key, cast("V", _ABSENT))
            if found is not _ABSENT:
                return default if found is None else found
        return self.base.get(key, default)

    def __contains__(self, key: object) -> bool:
        """Whether the key has a value."""
        return self.get(cast("K", key)) is not None

    def __len__(self) -> int:
        """How many keys have a value."""
        return self._length

    def __iter__(self) -> Iterator[K]:
        """The keys: those that were not touched since the rows were copied come first."""
        if not self.over:
            return iter(self.base)
        new = (key for key, value in self.over.items() if value is not None)
        return chain(filterfalse(self.over.__contains__, self.base), new)

    def items(self) -> ItemsView[K, V]:
        """Keys and values, without a look-up for each."""
        return _whole(self.base, self.over).items()

    def values(self) -> ValuesView[V]:
        """The values, without a look-up for each."""
        return _whole(self.base, self.over).values()

    def __repr__(self) -> str:
        """As of a dict, in the order of iteration."""
        return f"{type(self).__name__}({dict(self)!r})"


def _whole(base: Mapping[K, V], over: Mapping[K, V | None]) -> Mapping[K, V]:
    if not over:
        return base
    whole = dict(base.items())  # without a look-up for each
    for key, value in over.items():
        if value is None:
            whole.pop(key, None)
        else:
            whole[key] = value
    return whole
