"""The `match` lines of a rule put together again as what the rule means."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import prod

from app.render.opensmtpd.key_map import Join, KeyMap
from app.render.opensmtpd.meaning import (
    EITHER,
    IS_KEY,
    KeyMaps,
    Keys,
    Meaning,
    Outcome,
    RuleMeaning,
    Value,
    rule_meaning,
)
from app.render.opensmtpd.read_criteria import Sets
from app.render.opensmtpd.regexes import Unreadable


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what it asks for, and what becomes of such mail."""

    rule_id: str
    outcome: Outcome
    sets: Sets


def read_rules(lines: Iterable[Line]) -> Meaning:
    """The meaning of `match` lines in order; the lines of a rule stand together.

    Raises:
        Unreadable: the lines of a rule are not such as one rule becomes.
    """
    found = []
    seen: set[str] = set()
    for rule_id, group in groupby(lines, key=lambda line: line.rule_id):
        if rule_id in seen:
            raise Unreadable(f"rule {rule_id}")
        seen.add(rule_id)
        blocks = [_block(list(block)) for _, block in groupby(group, key=lambda line: line.outcome)]
        found.append(_rule(blocks))
    return tuple(meaning for meaning in found if meaning is not None)


def _normals(sets: Sets) -> tuple[object, ...]:
    return tuple(sets.keys[name].normal(IS_KEY[name]) for name in IS_KEY)


def _block(lines: list[Line]) -> Line:
    """Lines with one outcome as one line: conditions may be split over several lines.

    The lines must be the product of the parts of each condition; then they take what a single
    line with the union of each condition's parts would take.
    """
    first = lines[0]
    if len(lines) == 1:
        return first
    if any(
        (line.sets.clients, line.sets.tags) != (first.sets.clients, first.sets.tags)
        for line in lines
    ):
        raise Unreadable(f"rule {first.rule_id}")
    parts = [_normals(line.sets) for line in lines]
    sizes = prod(len(set(column)) for column in zip(*parts, strict=True))
    if len(set(parts)) != sizes:
        raise Unreadable(f"rule {first.rule_id}")
    keys: KeyMaps = {}
    for name in IS_KEY:
        union = first.sets.keys[name]
        for line in lines[1:]:
            union = union.joined(line.sets.keys[name], EITHER)
        keys[name] = union
    return Line(first.rule_id, first.outcome, Sets(first.sets.clients, first.sets.tags, keys))


def _rule(blocks: list[Line]) -> RuleMeaning | None:
    """Blocks with different outcomes differ in one condition; the first that holds decides."""
    first = blocks[0]
    normals = [_normals(block.sets) for block in blocks]
    differing = [
        name
        for name, column in zip(IS_KEY, zip(*normals, strict=True), strict=True)
        if len(set(column)) > 1
    ]
    same = all(
        (block.sets.clients, block.sets.tags) == (first.sets.clients, first.sets.tags)
        for block in blocks
    )
    if len(differing) > 1 or not same:
        raise Unreadable(f"rule {first.rule_id}")
    keys = dict(first.sets.keys)
    outcome: Outcome | None = first.outcome
    for name in differing:
        keys[name] = _decided(blocks, name)
        outcome = None
    return rule_meaning(first.rule_id, first.sets.clients, first.sets.tags, keys, outcome)


def _first(outcome: Outcome, earlier: Value, taken: Value) -> Value:
    return earlier or (outcome if taken else None)


def _decided(blocks: list[Line], name: str) -> Keys:
    """The outcome of the first block that takes a key."""
    decided: Keys = KeyMap(None)
    for block in blocks:
        first = Join(partial(_first, block.outcome), keeps_first=frozenset({None}))
        decided = decided.joined(block.sets.keys[name], first)
    return decided
