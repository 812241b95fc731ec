"""Arithmetic of patterns: unions, intersections and differences of sets of keys.

A key is what smtpd compares: `user@domain` (`@` for the null sender), a HELO name, a user name.
Every pattern of ours means either one key or all keys that end in some text, so two patterns are
either nested or disjoint. An intersection is the inner one of each nested pair. A difference is
found by walking the negated texts backwards, character by character: what leaves them is kept.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from app.render.opensmtpd import spelling
from app.routing.patterns import AddressPattern, DomainPattern, MailPattern


@dataclass(frozen=True, slots=True, order=True)
class Tail:
    """All keys that end in `text` and have something before it; with `whole`, `text` alone."""

    text: str
    whole: bool = False


EVERY_USER = Tail("")


def mail_tail(pattern: MailPattern) -> Tail:
    """The addresses that a pattern of senders or recipients means."""
    if isinstance(pattern, DomainPattern):
        return Tail(("." if pattern.below else "@") + spelling.domain(pattern.domain))
    if isinstance(pattern, AddressPattern):
        local = spelling.local_part(pattern.local)
        return Tail(f"{local}@{spelling.domain(pattern.domain)}", whole=True)
    return Tail("@", whole=True)


def helo_tail(pattern: DomainPattern) -> Tail:
    """The HELO names that a pattern means."""
    name = spelling.domain(pattern.domain)
    return Tail(f".{name}") if pattern.below else Tail(name, whole=True)


def user_tail(user: str) -> Tail:
    """The user names that a pattern means; `*` is anyone who logged in."""
    return EVERY_USER if user == "*" else Tail(spelling.user(user), whole=True)


def is_mail_key(text: str) -> bool:
    """Whether smtpd can be asked about this address at all."""
    local, at, domain = text.partition("@")
    if not local:
        return text == "@"
    return bool(at and domain) and "@" not in domain and domain[0] != "."


def is_helo_key(text: str) -> bool:
    """Whether a client can have said this name."""
    return bool(text) and text[0] != "."


ANY = ""
WHOLE = "^"
LONGER = "."


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a difference: keys that end in `text`, after what `lead` says.

    Attributes:
        lead: `ANY`: something; `WHOLE`: nothing; `LONGER`: any one character and then anything;
            `[^…]`: a character that is none of these, and then anything. As in regex(7).
    """

    text: str
    lead: str = ANY


@dataclass(slots=True)
class _Node:
    """A character of the negated texts, read backwards."""

    children: dict[str, "_Node"] = field(default_factory=dict)
    whole: bool = False
    ends: bool = False


class TailSet:
    """A union of tails, with none inside another."""

    def __init__(self, tails: Iterable[Tail]) -> None:
        """Keep the outermost of `tails`."""
        given = frozenset(tails)
        self._ends = {tail.text for tail in given if not tail.whole}
        self.tails = tuple(sorted(tail for tail in given if self._around(tail) is None))
        self._all = frozenset(self.tails)

    def _around(self, tail: Tail) -> Tail | None:
        """The outermost tail of the set that `tail` is strictly inside of."""
        for start in range(len(tail.text), 0, -1):
            if tail.text[start:] in self._ends:
                return Tail(tail.text[start:])
        return None

    def holder(self, tail: Tail) -> Tail | None:
        """The tail of the set that all keys of `tail` are in, if there is one."""
        return tail if tail in self._all else self._around(tail)

    def meet(self, other: "TailSet") -> "TailSet":
        """The keys that are in both."""
        inner = [tail for tail in self.tails if other.holder(tail) is not None]
        outer = [tail for tail in other.tails if self.holder(tail) is not None]
        return TailSet(inner + outer)

    def less(self, other: "TailSet", is_key: Callable[[str], bool]) -> list[Piece]:
        """The keys of this set that are not in the other.

        Args:
            other: what is taken away.
            is_key: whether a text can be a key; what cannot needs no piece.
        """
        holes: dict[Tail, list[Tail]] = {}
        for tail in other.tails:
            holder = self.holder(tail)
            if holder is not None:
                holes.setdefault(holder, []).append(tail)
        pieces: list[Piece] = []
        for tail in self.tails:
            if other.holder(tail) is not None:
                continue
            if tail in holes:
                pieces.extend(_walk(tail, holes[tail], is_key))
            else:
                pieces.append(Piece(tail.text, WHOLE if tail.whole else ANY))
        return pieces

    def pieces(self) -> list[Piece]:
        """The whole set."""
        return [Piece(tail.text, WHOLE if tail.whole else ANY) for tail in self.tails]


def _walk(outer: Tail, holes: list[Tail], is_key: Callable[[str], bool]) -> Iterator[Piece]:
    root = _Node()
    for hole in holes:
        node = root
        for character in reversed(hole.text.removesuffix(outer.text)):
            node = node.children.setdefault(character, _Node())
        node.whole, node.ends = node.whole or hole.whole, node.ends or not hole.whole
    nodes = [(outer.text, root)]
    while nodes:
        text, node = nodes.pop()
        yield Piece(text, other_than(node.children) if node.children else LONGER)
        for character, child in node.children.items():
            longer = character + text
            if child.ends:
                continue
            if not child.whole and is_key(longer):
                yield Piece(longer, WHOLE)
            nodes.append((longer, child))


def other_than(characters: Iterable[str]) -> str:
    """A bracket expression for any other character; `]` first, `[` and `-` last (regex(7))."""
    ranks = {"]": 0, "[": 2, "-": 3}
    return "[^" + "".join(sorted(characters, key=lambda c: (ranks.get(c, 1), c))) + "]"
