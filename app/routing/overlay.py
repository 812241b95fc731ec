"""A mapping that never changes and whose successors cost what they change, not what they hold.

A successor shares the rows of its predecessor and keeps what is new beside them; once that is
much, the rows are copied anew. Looking a key up costs one look more than in a dict.
"""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from itertools import chain, filterfalse
from math import isqrt
from typing import Self, TypeVar, cast, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_LEAST = 64
_ABSENT: object = object()


class Overlay(Mapping[K, V]):
    """Rows, and the changes that were made since: immutable. No value is None."""

    __slots__ = ("_base", "_length", "_over")

    def __init__(self, rows: Mapping[K, V] | None = None) -> None:
        """Take the rows as they are; whoever made them changes them no more."""
        self._base: Mapping[K, V] = {} if rows is None else rows
        self._over: dict[K, V | None] = {}
        self._length = len(self._base)

    @classmethod
    def of(cls, rows: Mapping[K, V]) -> Self:
        """The rows themselves where they are of this kind already, else a mapping of them."""
        return rows if isinstance(rows, cls) else cls(rows)

    def after(self, changes: Mapping[K, V | None]) -> Self:
        """The mapping with these values; None removes a key.

        It costs as much as there are changes, and about twice the root of what it holds; once in
        as many changes, all that it holds is copied.
        """
        made = type(self)(self._base)
        made._over = {**self._over, **changes}
        made._length = self._length + sum(
            (value is not None) - (key in self) for key, value in changes.items()
        )
        if len(made._over) > max(_LEAST, 2 * isqrt(len(self._base))):
            made._base, made._over = made._whole(), {}
        return made

    def differing(self, other: "Overlay[K, V]") -> set[K]:
        """Keys, among them all whose values differ in the two: few where rows are shared."""
        if self._base is other._base:
            return {*self._over, *other._over}
        return {*self, *other}

    def _whole(self) -> Mapping[K, V]:
        if not self._over:
            return self._base
        whole = dict(self._base)
        for key, value in self._over.items():
            if value is None:
                whole.pop(key, None)
            else:
                whole[key] = value
        return whole

    def __getitem__(self, key: K) -> V:
        """The value of a key. Raises KeyError."""
        found = self._over.get(key, cast("V", _ABSENT))
        if found is _ABSENT:
            return self._base[key]
        if found is None:
            raise KeyError(key)
        return found

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D, /) -> V | D: ...
    def get(self, key: K, default: V | D | None = None, /) -> V | D | None:
        """The value of a key; `default` where there is none."""
        if self._over:
            found = self._over.get(key, cast("V", _ABSENT))
            if found is not _ABSENT:
                return default if found is None else found
        return self._base.get(key, default)  # type: ignore[arg-type]

    def __contains__(self, key: object) -> bool:
        """Whether the key has a value."""
        return self.get(key) is not None  # type: ignore[call-overload, no-any-return]

    def __len__(self) -> int:
        """How many keys have a value."""
        return self._length

    def __iter__(self) -> Iterator[K]:
        """The keys: those that were not touched since the rows were copied come first."""
        if not self._over:
            return iter(self._base)
        new = (key for key, value in self._over.items() if value is not None)
        return chain(filterfalse(self._over.__contains__, self._base), new)

    def items(self) -> ItemsView[K, V]:
        """Keys and values, without a look-up for each."""
        return self._whole().items()

    def values(self) -> ValuesView[V]:
        """The values, without a look-up for each."""
        return self._whole().values()

    def __repr__(self) -> str:
        """As of a dict, in the order of iteration."""
        return f"{type(self).__name__}({dict(self)!r})"
