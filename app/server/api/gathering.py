"""Entries gathered from a file: canonical keys, next hops, what is wrong by line, bounded memory.

Pure but for its own state. It is worked in a thread, a few thousand lines at a time, and none of
its steps keeps other threads from going on.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app import garbage
from app.routing.entries import TableEntries
from app.routing.errors import Fault, LimitReached, Refused
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.routing.shards import Builder
from app.routing.table import TableKey, parse_key
from app.server.api.entry_forms import MAX_LINE, PLAIN_KEY, LineForm, Split
from app.server.api.parameters import LONGEST
from app.server.proposal import MAX_ENTRIES

MAX_ERRORS = 100
"""That are kept; the others are counted."""

_KEPT_HOPS = 50_000
_LEAVES = 4096
_MANY = 10_000
"""Entries that no collection should look through."""

Judge = Callable[[EntryHop], Fault | None]
"""What is wrong with a next hop in this routing, however it is spelt; None for nothing."""


@dataclass(frozen=True, slots=True)
class LineError:
    """What is wrong with one line.

    Attributes:
        line: its number from 1 on; in JSON, of the item.
        member: "key", "via", or "" for the line as such.
    """

    line: int
    code: str
    detail: str
    member: str = ""


@dataclass(slots=True)
class Gathering:
    """What came of a file so far.

    Attributes:
        kind: of the table's keys.
        judge: of its next hops; asked once for each text, or a little more often.
        lines: how many there were; in JSON, items.
        errors: the first of them, by line.
        error_count: of all.
        spared: keys that a line names whose next hop cannot be taken.
    """

    kind: TableKey
    judge: Judge = lambda _: None
    lines: int = 0
    errors: list[LineError] = field(default_factory=list)
    error_count: int = 0
    spared: set[str] = field(default_factory=set)
    _hops: dict[str, EntryHop] = field(default_factory=dict)
    _leaves: Sequence[dict[str, EntryHop]] = field(
        # Many small dicts: a large one stands still for long whenever it grows.
        default_factory=lambda: [{} for _ in range(_LEAVES)]
    )

    def __len__(self) -> int:
        """How many entries there are."""
        return sum(map(len, self._leaves))

    def take_lines(self, lines: Sequence[str], form: LineForm) -> None:
        """Take the next lines of a file.

        Raises:
            LimitReached: there are more entries than all tables may hold.
        """
        plain, hops, leaves = form.plain.fullmatch, self._hops, self._leaves
        for number, line in enumerate(lines, self.lines + 1):
            match = plain(line)
            if match is not None:
                key, via = match.groups()
                hop = hops.get(via)
                if hop is not None and len(key) <= PLAIN_KEY:
                    leaf = leaves[hash(key) & 4095]
                    if key not in leaf:
                        leaf[key] = hop
                        continue
            self._take(number, line, form.split)
        self.lines += len(lines)
        self.check_count()

    def check_count(self) -> None:
        """See that there are not too many. Raises LimitReached."""
        if len(self) > MAX_ENTRIES:
            raise LimitReached("entries", MAX_ENTRIES)

    def take_plain(self, match: re.Match[str]) -> bool:
        """Take an entry that was found as `LineForm.plain` finds it; False where it is not plain.

        Then it is to be taken as a text.
        """
        key, via = match[1], match[2]
        hop = self._hops.get(via)
        leaf = self._leaves[hash(key) & 4095]
        if hop is None or len(key) > PLAIN_KEY or key in leaf:
            return False
        leaf[key] = hop
        self.lines += 1
        return True

    def take_text(self, text: str, split: Split) -> None:
        """Take one line or item."""
        self.lines += 1
        self._take(self.lines, text, split)

    def refuse(self, code: str, detail: str) -> None:
        """Note that the next line cannot be read at all."""
        self.lines += 1
        self._add(LineError(self.lines, code, detail))

    def entries(self) -> TableEntries:
        """The entries; then this is at its end."""
        leaves, self._leaves = self._leaves, ()
        if sum(map(len, leaves)) >= _MANY:
            garbage.spare()
        return TableEntries(Builder.of_leaves(leaves).made())

    def _take(self, number: int, text: str, split: Split) -> None:
        member, key = "", ""
        try:
            pair = split(_bounded(text, MAX_LINE))
            if pair is None:
                return
            member = "key"
            key = self._new_key(_bounded(pair[0]))
            member = "via"
            self._leaves[hash(key) & 4095][key] = self._hop(_bounded(pair[1]))
        except Refused as refused:
            if member == "via":
                self.spared.add(key)
            self._add(LineError(number, refused.fault.code, refused.fault.detail, member))

    def _new_key(self, text: str) -> str:
        key = parse_key(self.kind, text)
        if key in self._leaves[hash(key) & 4095]:
            raise Refused("duplicate-key", "the key stands before this line already")
        return key

    def _hop(self, text: str) -> EntryHop:
        hop = self._hops.get(text)
        if hop is None:
            hop = parse_entry_hop(text)
            fault = self.judge(hop)
            if fault is not None:
                raise Refused(fault.code, fault.detail)
            if len(self._hops) >= _KEPT_HOPS:
                self._hops.clear()
            self._hops[text] = hop
        return hop

    def _add(self, error: LineError) -> None:
        self.error_count += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(error)


def _bounded(text: str, most: int = LONGEST) -> str:
    if len(text) > most:
        raise Refused("too-long", f"this is longer than {most} characters")
    return text
