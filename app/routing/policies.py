"""Policies: in which order the usable relays of a map are tried, and what share each one gets.

A policy is a pure function of relays and a draw: the same relays and the same draw give the same
order, on every machine and in every process. What is costly is prepared once for some relays; a
pick is an array look-up, or for `hash` one short pass.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import groupby
from math import gcd, log
from typing import NamedTuple

from app.routing.relay_map import Policy, Relay, RelayMap
from app.routing.route import Draw


class Ranked(NamedTuple):
    """A relay in its place in the order, with the part of such mail that it gets now (0 to 1)."""

    relay: Relay
    share: float


Relays = Sequence[Relay]
"""The usable relays of one priority, in the order of their map; never empty."""
Pick = Callable[[int, float, str], int]
"""The place of the first of some relays, by the turn, the chance and the key of a draw: to make a
`Draw` takes longer than to pick."""


class Prepared(NamedTuple):
    """A policy over some relays.

    Attributes:
        pick: the place of the first.
        rank: all of them in the order in which they are tried, by a draw; the first is `pick`'s.
    """

    pick: Pick
    rank: Callable[[Draw], Sequence[Ranked]]

    def place(self, draw: Draw) -> int:
        """The place of the first, by a draw."""
        return self.pick(draw.turn, draw.uniform, draw.key)


def round_robin(relays: Relays) -> Prepared:
    """Each in turn; then the ones after it, around."""
    count = len(relays)
    return _around(relays, _equal(relays), lambda turn, _chance, _key: turn % count)


def random(relays: Relays) -> Prepared:
    """Each with equal chance, whatever its weight; then the ones after it, around."""
    count = len(relays)
    return _around(relays, _equal(relays), lambda _turn, chance, _key: int(chance * count))


def ratio(relays: Relays) -> Prepared:
    """Each as often as its weight says, smoothly interleaved; then the ones after it, around."""
    turns = smooth_turns(tuple(relay.weight for relay in relays))
    total, count = sum(relay.weight for relay in relays), len(turns)
    shares = [relay.weight / total for relay in relays]
    return _around(relays, shares, lambda turn, _chance, _key: turns[turn % count])


def failover(relays: Relays) -> Prepared:
    """The first, always; then the others in the order of the map."""
    return _around(relays, [1.0, *[0.0] * (len(relays) - 1)], lambda _turn, _chance, _key: 0)


def hash_key(relays: Relays) -> Prepared:
    """The relay that the key belongs to; then the ones that it would belong to without that one.

    Weighted rendezvous hashing: each relay draws an exponential waiting time from the key and its
    own name, at the rate of its weight, and the shortest wins. A relay that goes, comes or changes
    its weight changes nobody else's time, so only keys to or from that relay move.
    """
    places = range(len(relays))
    drawing = [(_seed(relay.name), relay.weight) for relay in relays]

    def waiting(key: str) -> list[float]:
        hashed = _hash64(key)
        return [-log(_uniform(hashed ^ seed)) / weight for seed, weight in drawing]

    def pick(_turn: int, _chance: float, key: str) -> int:
        return min(places, key=waiting(key).__getitem__)

    def rank(draw: Draw) -> Sequence[Ranked]:
        order = sorted(places, key=waiting(draw.key).__getitem__)
        return [Ranked(relays[place], float(n == 0)) for n, place in enumerate(order)]

    return Prepared(pick, rank)


POLICIES: dict[Policy, Callable[[Relays], Prepared]] = {
    Policy.ROUND_ROBIN: round_robin,
    Policy.RANDOM: random,
    Policy.RATIO: ratio,
    Policy.FAILOVER: failover,
    Policy.HASH: hash_key,
}


class Pool(tuple[Relay, ...]):  # noqa: SLOT001  what is prepared is kept in its __dict__
    """The usable relays of a map, in its order: whoever keeps it picks without looking at all.

    Attributes:
        relay_map: theirs.
    """

    relay_map: RelayMap

    @classmethod
    def of(cls, relay_map: RelayMap, relays: Iterable[Relay]) -> "Pool":
        """These relays of a map."""
        pool = cls(relays)
        pool.relay_map = relay_map
        return pool

    @cached_property
    def groups(self) -> tuple[tuple[Relay, ...], ...]:
        """The relays of each priority, the lowest number first."""
        by_priority = sorted(self, key=lambda relay: relay.priority)
        return tuple(tuple(g) for _, g in groupby(by_priority, key=lambda relay: relay.priority))

    @cached_property
    def prepared(self) -> tuple[Prepared, ...]:
        """The policy over each of the groups.

        Which is the first of each is all that the order hangs on, but for policy `hash`.
        """
        policy = POLICIES[self.relay_map.policy]
        return tuple(policy(group) for group in self.groups)


def first(relay_map: RelayMap, usable: Sequence[Relay], draw: Draw) -> Relay:
    """The first of `rank`, without the others; `usable` is not empty, and if a pool of that map."""
    pool = usable if isinstance(usable, Pool) else Pool.of(relay_map, usable)
    return pool.groups[0][pool.prepared[0].place(draw)]


def rank(relay_map: RelayMap, usable: Sequence[Relay], draw: Draw) -> list[Ranked]:
    """The usable relays of a map in the order in which they are tried.

    The lowest priority number that has any gets all the mail. The others follow, each priority in
    the order that it would have if it were the lowest one left.
    """
    pool = usable if isinstance(usable, Pool) else Pool.of(relay_map, usable)
    ranked: list[Ranked] = []
    for prepared in pool.prepared:
        of_group = prepared.rank(draw)
        ranked.extend(of_group if not ranked else [r._replace(share=0.0) for r in of_group])
    return ranked


@lru_cache(maxsize=4096)
def smooth_turns(weights: tuple[int, ...]) -> "array[int]":
    """Whose turn it is, for each turn of one round: smooth weighted round robin.

    On each turn every relay earns its weight, and the one with most (the first of equals) is
    picked and pays the sum of all weights. 5, 1, 1 gives a a b a c a a, as published in nginx's
    commit of 2012-06-04. After t turns a relay has earned t times its weight less what its picks
    cost, so relays of one weight take turns among themselves, and only the next one of each
    weight is compared: a round of 10,000 turns over 1,000 relays has at most 140 weights.
    """
    divisor = gcd(*weights)
    total = sum(weights) // divisor
    waiting: dict[int, deque[tuple[int, int]]] = {}
    for place, weight in enumerate(weights):
        waiting.setdefault(weight // divisor, deque()).append((0, place))
    turns = array("H")
    for turn in range(1, total + 1):
        weight = min(waiting, key=lambda w: (total * waiting[w][0][0] - turn * w, waiting[w][0][1]))
        picks, place = waiting[weight].popleft()
        waiting[weight].append((picks + 1, place))
        turns.append(place)
    return turns


def _around(relays: Relays, shares: Sequence[float], pick: Pick) -> Prepared:
    """The relay that is picked, then the ones after it, around."""
    ranked = tuple(map(Ranked, relays, shares))

    def rank(draw: Draw) -> Sequence[Ranked]:
        place = pick(draw.turn, draw.uniform, draw.key)
        return ranked[place:] + ranked[:place]

    return Prepared(pick, rank)


def _equal(relays: Relays) -> list[float]:
    return [1 / len(relays)] * len(relays)


def _hash64(text: str) -> int:
    """64 bits of a text, alike in every process (hash() is salted in each)."""
    return int.from_bytes(blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")


@lru_cache(maxsize=16_384)
def _seed(relay: str) -> int:
    return _hash64(relay)


_MASK = (1 << 64) - 1


def _uniform(bits: int) -> float:
    """A number strictly between 0 and 1 from 64 bits, mixed as the last step of splitmix64."""
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return (((bits ^ (bits >> 31)) >> 11) + 0.5) * 2.0**-53
