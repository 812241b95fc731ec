"""Rules that never get their turn, and rules whose order is decided by their names alone.

Not every pair is compared: each rule is filed under the patterns of one of its conditions, the one
whose place is least crowded, and is compared with the first few earlier rules filed where its own
patterns would be found. So the cost grows with the number of patterns and not with its square,
nothing that is found is wrong, and a pair is missed only where more than `MOST_COMPARED` earlier
rules are filed in the same places and none of those is the one.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, groupby, islice

from app.routing.conditions import AnyCondition, Clients
from app.routing.cover import (
    apart,
    covers,
    keys_around,
    meet,
    networks_of,
    takes_every_client,
)
from app.routing.next_hop import ViaTable
from app.routing.rule import Match, RelayAction, Rule
from app.routing.table import Table

MOST_COMPARED = 32


def shadowed(ordered: Iterable[Rule], tables: Mapping[str, Table]) -> Iterator[tuple[Rule, Rule]]:
    """Of enabled rules in order: each that an earlier one always takes the mail of, and that."""
    filed = _Filed()
    for rule in ordered:
        earlier = islice(filed.around(rule), MOST_COMPARED)
        above = next((one for one in earlier if takes_all_of(one.match, rule.match)), None)
        if above is not None:
            yield rule, above
        elif _always_takes(tables, rule):
            filed.add(rule)


def overlapping(ordered: Iterable[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """Of enabled rules in order: each that shares mail with an earlier one of its priority."""
    for _, group in groupby(ordered, key=lambda rule: rule.priority):
        filed = _Filed()
        for rule in group:
            earlier = islice(filed.near(rule), MOST_COMPARED)
            other = next((one for one in earlier if share_mail(one.match, rule.match)), None)
            if other is not None:
                yield rule, other
            filed.add(rule)


def takes_all_of(outer: Match, inner: Match) -> bool:
    """Whether `outer` matches every envelope that `inner` matches."""
    asked = {condition.name: condition for condition in inner.required}
    excluded = {condition.name: condition for condition in inner.none_of}
    return all(
        condition.name in asked and covers(condition, asked[condition.name])
        for condition in outer.required
    ) and all(
        _is_excluded(condition, asked.get(condition.name), excluded.get(condition.name))
        for condition in outer.none_of
    )


def _is_excluded(
    refused: AnyCondition, asked: AnyCondition | None, excluded: AnyCondition | None
) -> bool:
    if asked is not None and apart(asked, refused):
        return True
    return excluded is not None and covers(excluded, refused)


def share_mail(one: Match, other: Match) -> bool:
    """Whether both can match one envelope; true too where only several `not` tell them apart."""
    asked = {condition.name: condition for condition in other.required}
    together = all(
        condition.name not in asked or meet(condition, asked[condition.name])
        for condition in one.required
    )
    return together and not _excludes(one, other) and not _excludes(other, one)


def _excludes(one: Match, other: Match) -> bool:
    asked = {condition.name: condition for condition in other.required}
    return any(
        refused.name in asked and covers(refused, asked[refused.name]) for refused in one.none_of
    )


def _always_takes(tables: Mapping[str, Table], rule: Rule) -> bool:
    """Whether a rule that matches decides: its table, if any, has a default."""
    via = rule.action.via if isinstance(rule.action, RelayAction) else None
    if not isinstance(via, ViaTable):
        return True
    found = tables.get(via.name)
    return found is not None and found.default is not None


class _Filed:
    """Rules filed under the patterns of one of their conditions."""

    def __init__(self) -> None:
        self._of_kind: dict[str, list[Rule]] = defaultdict(list)
        self._at: dict[Hashable, list[Rule]] = defaultdict(list)
        self._below: dict[Hashable, list[Rule]] = defaultdict(list)

    def add(self, rule: Rule) -> None:
        """File a rule; it comes after those filed before."""
        asked = rule.match.required
        condition = min(reversed(asked), key=self._crowd) if len(asked) > 1 else asked[0]
        self._of_kind[condition.name].append(rule)
        for key, *above in _places(condition):
            self._at[condition.name, key].append(rule)
            for wider in above:
                self._below[condition.name, wider].append(rule)

    def _crowd(self, condition: AnyCondition) -> int:
        first = next(iter(_places(condition)))
        return len(self._at.get((condition.name, first[0]), ()))

    def around(self, rule: Rule) -> Iterator[Rule]:
        """Filed rules that may match all that a rule matches: one holds its first pattern."""
        found = (
            self._at[condition.name, key]
            for condition in rule.match.required
            for key in next(iter(_places(condition)), ())
            if (condition.name, key) in self._at
        )
        return _once(chain.from_iterable(found))

    def near(self, rule: Rule) -> Iterator[Rule]:
        """Filed rules that may match something that a rule matches."""
        asked = {condition.name: condition for condition in rule.match.required}
        found = (
            self._nested(asked[name]) if name in asked else self._of_kind[name]
            for name in self._of_kind
        )
        return _once(chain.from_iterable(found))

    def _nested(self, condition: AnyCondition) -> Iterator[Rule]:
        if isinstance(condition, Clients) and takes_every_client(condition):
            yield from self._of_kind[condition.name]
            return
        for place in _places(condition):
            for key in place:
                yield from self._at.get((condition.name, key), ())
            yield from self._below.get((condition.name, place[0]), ())


def _places(condition: AnyCondition) -> Iterable[tuple[Hashable, ...]]:
    """Of each pattern: its own key, then those of every pattern that holds it."""
    if isinstance(condition, Clients):
        return _places_of_clients(condition)
    return condition.places


@lru_cache(maxsize=4096)
def _places_of_clients(clients: Clients) -> tuple[tuple[Hashable, ...], ...]:
    if takes_every_client(clients):
        return (("any",),)
    local = (("local", "any"),) if clients.local else ()
    networks = sorted(networks_of(clients).merged, key=str)
    return (*local, *((*keys_around(network), "any") for network in networks))


def _once(rules: Iterable[Rule]) -> Iterator[Rule]:
    seen: set[str] = set()
    for rule in rules:
        if rule.name not in seen:
            seen.add(rule.name)
            yield rule
