"""A mapping that never changes, and whose successors copy a small part of it and never the whole.

Rows are kept by the hash of their key: a root of 64 branches of 64 leaves, which are dicts. A
successor has a leaf, a branch and the root of its own for each key that changed, and shares the
rest. A look-up takes two steps more than in a dict.

A branch of few rows is 64 times the same leaf, and a root of few rows 64 times the same branch, so
that a small mapping costs little and a look-up need not ask which it is. In a branch that was
divided no two leaves are the same one, empty ones neither.
"""

from collections.abc import (
    Collection,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    ValuesView,
)
from itertools import chain, islice
from typing import Generic, Self, TypeAlias, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
W = TypeVar("W")

_Leaf: TypeAlias = dict[K, V]
_Branch: TypeAlias = tuple[dict[K, V], ...]
_Node: TypeAlias = tuple[dict[K, V], ...] | list[dict[K, V]] | dict[K, V]

_FAN = 64
_MASK = _FAN - 1
_SHIFT = 6
_LEAVES = _FAN * _FAN
_MOST = 256
"""Rows that one leaf may hold for a whole branch, or for the whole mapping, before it is divided:
what may have to be looked at, beside the leaf itself, because one key was added."""
_AT_ONCE = 1024
"""Look-ups by one call: as many as take a millisecond."""
_MANY = 16_384
"""With so many changes every leaf is copied at once, which is quicker than to ask for each key."""


class Shards(Mapping[K, V]):
    """Rows, immutable. No value is None.

    Attributes:
        root: the branches, see above.
        length: how many keys have a value.
    """

    __slots__ = ("length", "root")

    def __init__(self, rows: Mapping[K, V] | None = None) -> None:
        self.root: tuple[_Branch[K, V], ...] = _EMPTY
        self.length = 0
        if rows is not None:
            kept = rows if isinstance(rows, Shards) else _built(rows)
            self.root, self.length = kept.root, kept.length

    @classmethod
    def of(cls, rows: Mapping[K, V]) -> Self:
        """The rows themselves where they are of this kind already, else a mapping of them."""
        return rows if isinstance(rows, cls) else cls(rows)

    def after(self, changes: Mapping[K, V | None]) -> Self:
        """The mapping with these values; None removes a key. It costs what is changed."""
        return self.after_all(changes.keys(), changes.values())

    def after_all(self, keys: Collection[K], values: Collection[V | None]) -> Self:
        """As `after`, with the n-th value for the n-th key; no key is there twice."""
        if not keys:
            return self
        builder = Builder(self)
        builder.add(keys, values)
        made = type(self)()
        made.root, made.length = builder.taken()
        return made

    def get_all(self, keys: Collection[K]) -> list[V | None]:
        """The value of each key, None where there is none: half of what `get` takes for each."""
        root = self.root
        found: list[V | None] = []
        left = iter(keys)
        # Not all in one call: a million keys would hold up every other thread.
        while some := list(islice(left, _AT_ONCE)):
            leaves = [root[(at := hash(key) & 4095) & 63][at >> 6] for key in some]
            found += map(dict.get, leaves, some)
        return found

    def joined(self, rows: "Shards[K, V]") -> Self:
        """The mapping with all rows of another, leaf by leaf: the quickest way to add a million."""
        if len(rows) < _MANY:
            return self.after_all(list(rows), list(rows.values()))
        builder = Builder(self)
        builder.join(rows)
        made = type(self)()
        made.root, made.length = builder.taken()
        return made

    def alike(self, value: W) -> "Shards[K, W]":
        """The same keys, each with this value: a tenth of the time that it takes to add them."""
        made: Shards[K, W] = Shards()
        if self.length:
            is_one = self.root[0] is self.root[1]
            branches = tuple(
                (dict.fromkeys(branch[0], value),) * _FAN
                if branch[0] is branch[1]
                else tuple(dict.fromkeys(leaf, value) for leaf in branch)
                for branch in (self.root[:1] if is_one else self.root)
            )
            made.root = branches * _FAN if is_one else branches
            made.length = self.length
        return made

    def differing(self, other: Mapping[K, V]) -> set[K]:
        """Keys, among them all whose values differ in the two: what they share is not looked at."""
        if not isinstance(other, Shards):
            return {*self, *other}
        return {key for key, _, _ in self.differences(other)}

    def differences(self, other: "Shards[K, V]") -> Iterator[tuple[K, V | None, V | None]]:
        """Keys whose values are not one object in the two, with both; None is absence."""
        for leaf in self.unshared(other):
            for (key, before), after in zip(leaf.items(), other.get_all(leaf), strict=True):
                if before is not after:
                    yield key, before, after
        for leaf in other.unshared(self):
            for (key, new), old in zip(leaf.items(), self.get_all(leaf), strict=True):
                if old is None:
                    yield key, None, new

    def leaves(self) -> Iterator[Mapping[K, V]]:
        """The rows in parts, as they are kept: who looks through millions goes by these."""
        return chain.from_iterable(self.branches())

    def branches(self) -> tuple[tuple[Mapping[K, V], ...], ...]:
        """The parts by branch: where a branch or a leaf is the same one, so are its rows."""
        root = self.root
        return tuple(
            branch[:1] if branch[0] is branch[1] else branch
            for branch in (root[:1] if root[0] is root[1] else root)
        )

    def __getitem__(self, key: K) -> V:
        """The value of a key. Raises KeyError."""
        place = hash(key) & 4095
        return self.root[place & 63][place >> 6][key]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D, /) -> V | D: ...
    def get(self, key: K, default: V | D | None = None, /) -> V | D | None:
        """The value of a key; `default` where there is none."""
        place = hash(key) & 4095
        return self.root[place & 63][place >> 6].get(key, default)

    def __contains__(self, key: object) -> bool:
        """Whether the key has a value."""
        place = hash(key) & 4095
        return key in self.root[place & 63][place >> 6]

    def __len__(self) -> int:
        """How many keys have a value."""
        return self.length

    def __iter__(self) -> Iterator[K]:
        """The keys, in no order."""
        return chain.from_iterable(self.leaves())

    def items(self) -> ItemsView[K, V]:
        """Keys and values, without a look-up for each."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """The values, without a look-up for each."""
        return _Values(self)

    def __repr__(self) -> str:
        """As of a dict."""
        return f"{type(self).__name__}({dict(self.items())!r})"

    def unshared(self, other: "Shards[K, V]") -> Iterator[Mapping[K, V]]:
        """Our leaves that the other does not have at that place, each once."""
        seen: set[int] = set()
        for ours, theirs in zip(self.root, other.root, strict=True):
            if ours is theirs:
                continue
            for leaf, another in zip(ours, theirs, strict=True):
                if leaf is not another and id(leaf) not in seen:
                    seen.add(id(leaf))
                    yield leaf


class _Items(ItemsView[K, V]):
    def __init__(self, rows: Shards[K, V]) -> None:
        super().__init__(rows)
        self._rows = rows

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return chain.from_iterable(leaf.items() for leaf in self._rows.leaves())


class _Values(ValuesView[V]):
    def __init__(self, rows: Shards[K, V]) -> None:
        super().__init__(rows)
        self._rows: Shards[object, V] = rows  # type: ignore[assignment]

    def __iter__(self) -> Iterator[V]:
        return chain.from_iterable(leaf.values() for leaf in self._rows.leaves())


class Builder(Generic[K, V]):
    """Makes rows of many, or a successor of them; each leaf is copied once, however often changed.

    It goes through what it is given step by step, so that other threads go on beside it.
    """

    __slots__ = ("_added", "_flat", "_length", "_nodes", "_own", "_whole")

    def __init__(self, start: Shards[K, V] | None = None) -> None:
        root, self._length = (_EMPTY, 0) if start is None else (start.root, start.length)
        self._added = 0
        # One of three: the only leaf; branches, each a tuple that is shared, a list of leaves, or
        # the only leaf of a branch; or all leaves by the lower twelve bits of their keys' hashes.
        self._whole: _Leaf[K, V] | None = root[0][0].copy() if root[0] is root[1] else None
        self._nodes: list[_Node[K, V]] = [] if self._whole is not None else list(root)
        self._flat: list[_Leaf[K, V]] = []
        self._own: set[int] = set()
        """The ids of the leaves, in lists of `_nodes`, that are nobody else's."""

    @classmethod
    def of_leaves(cls, leaves: Sequence[dict[K, V]]) -> "Builder[K, V]":
        """A builder that takes over 4096 leaves, as whoever filed them lets go of them.

        They are filed by the lower twelve bits of the hashes of their keys.
        """
        builder = cls()
        if sum(map(len, leaves)) >= _MANY:
            builder._whole, builder._flat = None, list(leaves)
        else:
            for leaf in filter(None, leaves):
                builder.add(leaf.keys(), leaf.values())
        return builder

    def add(self, keys: Collection[K], values: Iterable[V | None]) -> None:
        """Set the n-th value for the n-th key; None removes a key."""
        self._added += len(keys)
        if self._added >= _MANY and not self._flat:
            self._flatten()
        if self._flat:
            self._add_flat(keys, values)
            return
        if self._whole is not None:
            if len(self._whole) + len(keys) <= _MOST:
                self._add_whole(self._whole, keys, values)
                return
            self._length = len(self._whole)
            self._nodes, self._whole = list(_divided(self._whole, 0)), None
        self._add_nodes(keys, values)

    def join(self, rows: Shards[K, V]) -> None:
        """Set all of these."""
        if not self._flat:
            self._flatten()
        for place, branch in enumerate(rows.root):
            if branch[0] is branch[1]:
                self._add_flat(branch[0].keys(), branch[0].values())
                continue
            for number, leaf in enumerate(branch):
                self._flat[number << _SHIFT | place].update(leaf)

    def taken(self) -> tuple[tuple[_Branch[K, V], ...], int]:
        """The root of what was made, and how many rows there are; then this is at its end."""
        whole, flat = self._whole, self._flat
        if flat:
            self._length = sum(map(len, flat))
            root = tuple(tuple(flat[place::_FAN]) for place in range(_FAN))
        elif whole is not None:
            self._length = len(whole)
            root = ((whole,) * _FAN,) * _FAN
        else:
            root = tuple(
                (node,) * _FAN if isinstance(node, dict) else tuple(node) for node in self._nodes
            )
        self._nodes, self._flat, self._own = [], [], set()
        return (root, self._length) if self._length else (_EMPTY, 0)

    def made(self) -> Shards[K, V]:
        """What was made; then this is at its end."""
        rows: Shards[K, V] = Shards()
        rows.root, rows.length = self.taken()
        return rows

    @staticmethod
    def _add_whole(whole: _Leaf[K, V], keys: Iterable[K], values: Iterable[V | None]) -> None:
        for key, value in zip(keys, values, strict=True):
            if value is None:
                whole.pop(key, None)
            else:
                whole[key] = value

    def _add_flat(self, keys: Iterable[K], values: Iterable[V | None]) -> None:
        flat = self._flat
        for key, value in zip(keys, values, strict=True):
            if value is None:
                flat[hash(key) & 4095].pop(key, None)
            else:
                flat[hash(key) & 4095][key] = value

    def _add_nodes(self, keys: Iterable[K], values: Iterable[V | None]) -> None:
        nodes, own, length = self._nodes, self._own, self._length
        for key, value in zip(keys, values, strict=True):
            hashed = hash(key)
            node = nodes[hashed & _MASK]
            if isinstance(node, tuple):
                node = node[0].copy() if node[0] is node[1] else list(node)
                nodes[hashed & _MASK] = node
            if isinstance(node, dict):
                leaf = node
            else:
                place = hashed >> _SHIFT & _MASK
                leaf = node[place]
                if id(leaf) not in own:
                    leaf = node[place] = leaf.copy()
                    own.add(id(leaf))
            length -= len(leaf)
            if value is None:
                leaf.pop(key, None)
            else:
                leaf[key] = value
            length += len(leaf)
            if leaf is node and len(leaf) > _MOST:
                parts = _divided(leaf, _SHIFT)
                own.update(map(id, parts))
                nodes[hashed & _MASK] = parts
        self._length = length

    def _flatten(self) -> None:
        """Make every leaf our own."""
        nodes: list[_Node[K, V]] = self._nodes
        if self._whole is not None:
            nodes, self._whole = list(_divided(self._whole, 0)), None
        branches: list[list[_Leaf[K, V]]] = []
        for node in nodes:
            if isinstance(node, dict):
                branches.append(_divided(node, _SHIFT))
            elif node[0] is node[1]:
                branches.append(_divided(node[0], _SHIFT))
            else:
                own = self._own
                branches.append([leaf if id(leaf) in own else leaf.copy() for leaf in node])
        self._flat = [branches[at & _MASK][at >> _SHIFT] for at in range(_LEAVES)]
        self._nodes, self._own = [], set()


def _divided(leaf: _Leaf[K, V], shift: int) -> list[_Leaf[K, V]]:
    """The rows by six bits of the hash of their keys."""
    parts: list[_Leaf[K, V]] = [{} for _ in range(_FAN)]
    for key, value in leaf.items():
        parts[hash(key) >> shift & _MASK][key] = value
    return parts


def _built(rows: Mapping[K, V]) -> Shards[K, V]:
    builder: Builder[K, V] = Builder()
    builder.add(rows.keys(), rows.values())
    return builder.made()


_EMPTY: tuple[_Branch, ...] = (({},) * _FAN,) * _FAN  # type: ignore[type-arg]
