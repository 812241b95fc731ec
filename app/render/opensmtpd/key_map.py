"""Functions from keys to values in one normal form, so that two can be compared for every key.

A function is kept as a tree of the keys read backwards. It is painted: whole sets of keys are
given a value, later paint over earlier. Two functions that agree on every key that smtpd can ask
about have the same normal form, however they were painted. This is what the model's conditions
and the lines of list files are both reduced to; it shares nothing with the arithmetic that wrote
those lines.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

V = TypeVar("V", bound=Hashable)

Normal = tuple[object, object, tuple[tuple[str, object], ...]]
"""The value of this key, that of all longer ones but those in the last part, and those.

Those are by the characters that come next, backwards, up to where something changes.
"""


@dataclass(frozen=True, slots=True)
class Join(Generic[V]):
    """What two values make together.

    Attributes:
        keeps_first: second values with which every first value stays as it is.
        keeps_second: first values with which every second value stays as it is.
    """

    of: Callable[[V, V], V]
    keeps_first: frozenset[V]
    keeps_second: frozenset[V] = frozenset()

    def __call__(self, first: V, second: V) -> V:
        """The value."""
        return self.of(first, second)


@dataclass(slots=True)
class _Node(Generic[V]):
    """The keys that end in the text on the way from the root.

    Attributes:
        point: the value of that text itself.
        rest: the value of all longer keys whose next character, backwards, is no child.
    """

    point: V
    rest: V
    children: "dict[str, _Node[V]]" = field(default_factory=dict)

    @property
    def is_leaf(self) -> bool:
        """Whether all these keys have one value."""
        return not self.children and self.point == self.rest


class KeyMap(Generic[V]):
    """A function from keys to values; at first the same for all."""

    def __init__(self, value: V) -> None:
        self.root = _Node(value, value)

    @classmethod
    def grown(cls, root: _Node[V]) -> "KeyMap[V]":
        """The function whose tree this is."""
        result = cls(root.rest)
        result.root = root
        return result

    def _at(self, text: str) -> _Node[V]:
        node = self.root
        for character in reversed(text):
            if character not in node.children:
                node.children[character] = _Node(node.rest, node.rest)
            node = node.children[character]
        return node

    def paint_one(self, text: str, value: V) -> None:
        """Give `value` to one key."""
        self._at(text).point = value

    def paint_ending(self, text: str, value: V) -> None:
        """Give `value` to all keys that end in `text`."""
        self.paint_one(text, value)
        self.paint_longer(text, value)

    def paint_longer(self, text: str, value: V) -> None:
        """Give `value` to all keys that end in `text` and are longer."""
        node = self._at(text)
        node.rest = value
        node.children.clear()

    def paint_other(self, text: str, characters: Iterable[str], value: V) -> None:
        """Give `value` to the longer keys that end in `text` after none of `characters`."""
        node = self._at(text)
        kept = {c: node.children.get(c, _Node(node.rest, node.rest)) for c in characters}
        node.children = kept
        node.rest = value

    def value(self, key: str) -> V:
        """The value of one key."""
        node = self.root
        for character in reversed(key):
            if character not in node.children:
                return node.rest
            node = node.children[character]
        return node.point

    def joined(self, other: "KeyMap[V]", join: Join[V]) -> "KeyMap[V]":
        """The function that gives each key what `join` makes of its two values.

        It shares parts with both: paint neither afterwards.
        """
        return KeyMap.grown(_joined(self.root, other.root, join))

    def normal(self, is_key: Callable[[str], bool]) -> Normal:
        """The normal form.

        Args:
            is_key: whether smtpd can ask about a text; the value of the others does not count.
        """
        return _normal(self.root, "", is_key)


def _joined(one: _Node[V], two: _Node[V], join: Join[V]) -> _Node[V]:
    if two.is_leaf and two.rest in join.keeps_first:
        return one
    if one.is_leaf and one.rest in join.keeps_second:
        return two
    node = _Node(join(one.point, two.point), join(one.rest, two.rest))
    for character in one.children.keys() | two.children.keys():
        first = one.children.get(character) or _Node(one.rest, one.rest)
        second = two.children.get(character) or _Node(two.rest, two.rest)
        node.children[character] = _joined(first, second, join)
    return node


def _normal(node: _Node[V], text: str, is_key: Callable[[str], bool]) -> Normal:
    children: list[tuple[str, object]] = []
    for character in sorted(node.children):
        longer = character + text
        child = _normal(node.children[character], longer, is_key)
        point, rest, below = child
        if rest != node.rest or point != (rest if is_key(longer) else None) or len(below) > 1:
            children.append((character, child))
        elif below:
            ((further, only),) = below  # nothing changes on the way to it
            children.append((character + further, only))
    return (node.point if is_key(text) else None, node.rest, tuple(children))


def values(normal: Normal) -> frozenset[object]:
    """The values that a function gives to some key; None is the value of what is no key, too."""
    found: set[object] = set()
    parts = [normal]
    while parts:
        point, rest, children = parts.pop()
        found.update((point, rest))
        parts.extend(child for _, child in children)  # type: ignore[misc]
    return frozenset(found)
