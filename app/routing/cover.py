"""Which conditions hold whatever others hold, and which can hold together.

Two patterns of our grammar are nested or apart, never half of each: so one condition covers
another when every pattern of the other has one of its own among its keys (`names.keys_of`).
Networks are the same under arithmetic: a network is covered by a union of others exactly when the
merged union holds one network around it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from itertools import chain

from app.routing.conditions import AnyCondition, Clients
from app.routing.envelope import LOOPBACK
from app.routing.names import IPNetwork, parse_network

_V4 = IPv4Network("0.0.0.0/0")
_V6 = IPv6Network("::/0")
_LOOPBACK = frozenset(parse_network(str(address)) for address in LOOPBACK)


NetworkKey = tuple[int, int, int]
"""Version, length of the prefix, and its bits."""


@dataclass(frozen=True, slots=True)
class Networks:
    """A union of networks, merged.

    Attributes:
        keys: of the networks.
        wider: of the networks, and of all that hold one of them.
    """

    merged: frozenset[IPNetwork]
    keys: frozenset[NetworkKey]
    wider: frozenset[NetworkKey]

    @classmethod
    def of(cls, networks: Iterable[IPNetwork]) -> "Networks":
        """The union of networks of both families."""
        both = tuple(networks)
        v4 = collapse_addresses([n for n in both if isinstance(n, IPv4Network)])
        v6 = collapse_addresses([n for n in both if isinstance(n, IPv6Network)])
        merged = frozenset(v4) | frozenset(v6)
        keys = frozenset(next(keys_around(network)) for network in merged)
        return cls(merged, keys, frozenset(chain.from_iterable(map(keys_around, merged))))

    def covers(self, network: IPNetwork) -> bool:
        """Whether the whole network is inside."""
        return not self.keys.isdisjoint(keys_around(network))


@lru_cache(maxsize=16_384)
def networks_of(clients: Clients) -> Networks:
    """The networks of a condition; for `local` those addresses that every host has."""
    return Networks.of((*clients.networks, *(_LOOPBACK if clients.local else ())))


def keys_around(network: IPNetwork) -> Iterator[NetworkKey]:
    """The keys of a network and of every network that holds it, smallest first."""
    bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
    for length in range(network.prefixlen, -1, -1):
        yield (network.version, length, bits)
        bits >>= 1


def covers(outer: AnyCondition, inner: AnyCondition) -> bool:
    """Whether `outer` holds for every envelope for which `inner`, of the same kind, holds."""
    if isinstance(outer, Clients) or isinstance(inner, Clients):
        return _clients_cover(_clients(outer), _clients(inner))
    return all(not outer.index.isdisjoint(keys) for keys in inner.places)


def meet(one: AnyCondition, other: AnyCondition) -> bool:
    """Whether an envelope can be in both conditions, of the same kind.

    Nothing is assumed of an MTA's own addresses but the loopback ones.
    """
    if isinstance(one, Clients) or isinstance(other, Clients):
        return _clients_meet(_clients(one), _clients(other))
    return not (one.index.isdisjoint(other.wider) and other.index.isdisjoint(one.wider))


def apart(one: AnyCondition, other: AnyCondition) -> bool:
    """Whether no envelope can be in both, whatever addresses an MTA's host has."""
    return not meet(one, other) and not _depends_on_host(one, other)


def _depends_on_host(one: AnyCondition, other: AnyCondition) -> bool:
    if not (isinstance(one, Clients) and isinstance(other, Clients)):
        return False
    return (one.local and bool(other.networks)) or (other.local and bool(one.networks))


def takes_every_client(clients: Clients) -> bool:
    """Whether the condition is `any`, in that word or in others."""
    networks = networks_of(clients)
    return clients.any or (clients.local and networks.covers(_V4) and networks.covers(_V6))


def takes_a_whole_family(clients: Clients) -> bool:
    """Whether every IPv4 or every IPv6 address is among the clients."""
    networks = networks_of(clients)
    return clients.any or networks.covers(_V4) or networks.covers(_V6)


def _clients(condition: AnyCondition) -> Clients:
    if not isinstance(condition, Clients):
        raise TypeError("conditions of two kinds do not compare")
    return condition


def _clients_cover(outer: Clients, inner: Clients) -> bool:
    if inner.any or takes_every_client(outer):
        return takes_every_client(outer)
    if inner.local and not outer.local:
        return False
    return all(map(networks_of(outer).covers, inner.networks))


def _clients_meet(one: Clients, other: Clients) -> bool:
    if one.any or other.any or (one.local and other.local):
        return True
    mine, theirs = networks_of(one), networks_of(other)
    return not (mine.keys.isdisjoint(theirs.wider) and theirs.keys.isdisjoint(mine.wider))
