"""Policies: in which order the usable relays of a map are tried, and what share each one gets.

A policy is a pure function of relays and a draw: the same relays and the same draw give the same
order, on every machine and in every process. What is costly is prepared once for each set of
weights; a pick is an array look-up, or for `hash` one short pass.
"""

from array import array
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
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


def round_robin(relays: Relays, draw: Draw) -> list[Ranked]:
    """Each in turn; then the ones after it, around."""
    return _from_place(relays, draw.turn % len(relays), _equal(relays))


def random(relays: Relays, draw: Draw) -> list[Ranked]:
    """Each with equal chance, whatever its weight; then the ones after it, around."""
    return _from_place(relays, int(draw.uniform * len(relays)), _equal(relays))


def ratio(relays: Relays, draw: Draw) -> list[Ranked]:
    """Each as often as its weight says, smoothly interleaved; then the ones after it, around."""
    weights = tuple(relay.weight for relay in relays)
    turns = smooth_turns(weights)
    total = sum(weights)
    return _from_place(
        relays, turns[draw.turn % len(turns)], [weight / total for weight in weights]
    )


def failover(relays: Relays, _draw: Draw) -> list[Ranked]:
    """The first, always; then the others in the order of the map."""
    return _from_place(relays, 0, _all_to(0, relays))


def hash_key(relays: Relays, draw: Draw) -> list[Ranked]:
    """The relay that the key belongs to; then the ones that it would belong to without that one.

    Weighted rendezvous hashing: each relay draws an exponential waiting time from the key and its
    own name, at the rate of its weight, and the shortest wins. A relay that goes, comes or changes
    its weight changes nobody else's time, so only keys to or from that relay move.
    """
    key = _hash64(draw.key)
    waiting = [-log(_uniform(key ^ _seed(relay.name))) / relay.weight for relay in relays]
    order = sorted(range(len(relays)), key=waiting.__getitem__)
    return [Ranked(relays[place], float(n == 0)) for n, place in enumerate(order)]


POLICIES: dict[Policy, Callable[[Relays, Draw], list[Ranked]]] = {
    Policy.ROUND_ROBIN: round_robin,
    Policy.RANDOM: random,
    Policy.RATIO: ratio,
    Policy.FAILOVER: failover,
    Policy.HASH: hash_key,
}


def rank(relay_map: RelayMap, usable: Sequence[Relay], draw: Draw) -> list[Ranked]:
    """The usable relays of a map in the order in which they are tried.

    The lowest priority number that has any gets all the mail. The others follow, each priority in
    the order that it would have if it were the lowest one left.
    """
    policy = POLICIES[relay_map.policy]
    ranked: list[Ranked] = []
    by_priority = sorted(usable, key=lambda relay: relay.priority)
    for _, group in groupby(by_priority, key=lambda relay: relay.priority):
        of_group = policy(list(group), draw)
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


def _from_place(relays: Relays, place: int, shares: Sequence[float]) -> list[Ranked]:
    order = (*range(place, len(relays)), *range(place))
    return [Ranked(relays[n], shares[n]) for n in order]


def _equal(relays: Relays) -> list[float]:
    return [1 / len(relays)] * len(relays)


def _all_to(place: int, relays: Relays) -> list[float]:
    return [float(n == place) for n in range(len(relays))]


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
