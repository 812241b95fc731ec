"""Reads JSON documents member by member: every fault with its pointer, no unknown member, no guess.

Types are strict: true is no number, 1.0 and "1" are not 1. What is null is absent.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import TypeVar

from app.routing.errors import Fault, Invalid, Refused

T = TypeVar("T")
D = TypeVar("D")
E = TypeVar("E", bound=Enum)


class Reader:
    """Reads the members of one JSON object, and keeps every fault met on the way."""

    def __init__(
        self, document: object, pointer: str = "", faults: list[Fault] | None = None
    ) -> None:
        """Start reading `document`, which stands at `pointer`; share `faults` with the parent."""
        self.pointer = pointer
        self.faults: list[Fault] = [] if faults is None else faults
        self.members: Mapping[str, object] = {}
        self._asked: set[str] = set()
        if isinstance(document, dict):
            self.members = document
        else:
            self.fault("bad-type", "a JSON object is wanted here")

    def fault(self, code: str, detail: str, member: str | None = None) -> None:
        """Note that something is wrong, with this object or with one of its members."""
        where = self.pointer if member is None else f"{self.pointer}/{_escape(member)}"
        self.faults.append(Fault(code, detail, where))

    def text(self, member: str, parse: Callable[[str], T], default: D) -> T | D:
        """The member as `parse` reads it; `default` where it is absent, null or wrong."""
        value = self._take(member)
        return default if value is None else self._parse(value, (member,), parse, default)

    def needed(self, member: str, parse: Callable[[str], T], default: D) -> T | D:
        """As `text`, and a fault where the member is absent or null."""
        if self.members.get(member) is None:
            self.fault("missing", "this member is needed", member)
        return self.text(member, parse, default)

    def texts(
        self, member: str, parse: Callable[[str], T], limit: int, low: int = 1
    ) -> tuple[T, ...]:
        """The members of a list of `low` to `limit` texts; () where it is absent."""
        value = self._take(member)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not low <= len(value) <= limit:
            self.fault("bad-list", f"a list of {low} to {limit} texts is wanted here", member)
            return ()
        parsed = [self._parse(t, (member, str(n)), parse, None) for n, t in enumerate(value)]
        return tuple(value for value in parsed if value is not None)

    def integer(self, member: str, low: int, high: int, default: D) -> int | D:
        """A whole number from `low` to `high`; `default` where it is absent, null or wrong."""
        value = self._take(member)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fault("out-of-range", f"a whole number from {low} to {high} is wanted", member)
            return default
        return value

    def flag(self, member: str, *, default: bool) -> bool:
        """True or false; `default` where the member is absent."""
        value = self._take(member)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fault("bad-type", "true or false is wanted", member)
            return default
        return value

    def choice(self, member: str, kind: type[E], default: E | None) -> E | None:
        """One of the values of an enumeration; `default` where the member is absent."""
        value = self._take(member)
        if value is None:
            return default
        known = {choice.value: choice for choice in kind}
        if not isinstance(value, str) or value not in known:
            self.fault("bad-choice", f"this is none of {', '.join(known)}", member)
            return default
        return known[value]

    def child(self, member: str) -> "Reader | None":
        """A reader of the object below `member`; None where it is absent."""
        value = self._take(member)
        if value is None:
            return None
        return Reader(value, f"{self.pointer}/{_escape(member)}", self.faults)

    def children(self, member: str) -> "list[Reader]":
        """Readers of the objects in the list below `member`."""
        value = self._take(member)
        if not isinstance(value, list | tuple):
            self.fault("bad-type", "a list of objects is wanted", member)
            return []
        base = f"{self.pointer}/{_escape(member)}"
        return [Reader(item, f"{base}/{n}", self.faults) for n, item in enumerate(value)]

    def pairs(self, member: str) -> Iterator[tuple[str, str]]:
        """The pairs of texts in the list below `member`, one at a time: there may be a million."""
        value = self._take(member)
        pairs = value if isinstance(value, list | tuple) else [None]
        texts = [p for p in pairs if isinstance(p, list | tuple) and len(p) == 2]
        if len(texts) != len(pairs) or not all(isinstance(t, str) for p in texts for t in p):
            self.fault("bad-type", "a list of pairs of texts is wanted", member)
            return iter(())
        return ((first, second) for first, second in texts)

    def close(self) -> None:
        """Note every member that nobody asked for."""
        unknown = len(set(self.members) - self._asked)
        if unknown:
            detail = f"{unknown} member(s) of this object are not known here"
            self.fault("unknown-member", detail)

    def refuse_if_faulty(self) -> None:
        """End reading.

        Raises:
            Invalid: with every fault met.
        """
        if self.faults:
            raise Invalid(tuple(self.faults))

    def _take(self, member: str) -> object:
        self._asked.add(member)
        return self.members.get(member)

    def _parse(
        self, value: object, path: tuple[str, ...], parse: Callable[[str], T], default: D
    ) -> T | D:
        where = "".join(f"/{_escape(part)}" for part in path)
        if not isinstance(value, str):
            self.faults.append(Fault("bad-type", "a text is wanted here", self.pointer + where))
            return default
        try:
            return parse(value)
        except Refused as refused:
            self.faults.append(refused.fault.under(self.pointer + where))
            return default


def _escape(member: str) -> str:
    return member.replace("~", "~0").replace("/", "~1")
