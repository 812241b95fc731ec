"""Arithmetic of client networks: what `from src` lists once the negated networks are taken out."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from app.routing.conditions import Clients
from app.routing.envelope import LOOPBACK
from app.routing.names import IPAddress, IPNetwork

_EVERYWHERE = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


@dataclass(frozen=True, slots=True)
class ClientList:
    """The lines of a `from src` list: `local` alone is the control socket there."""

    socket: bool
    networks: tuple[IPNetwork, ...]

    def lines(self) -> list[str]:
        """The lines, in a stable order."""
        return ["local"] * self.socket + [network_line(network) for network in self.networks]


def network_line(network: IPNetwork) -> str:
    """An address or a network in CIDR form."""
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network)


def client_list(clients: Clients, own: Iterable[IPAddress]) -> ClientList:
    """The clients of a condition, with `local` spelt out as the host's own addresses."""
    if clients.any:
        return ClientList(socket=True, networks=_EVERYWHERE)
    networks = list(clients.networks)
    if clients.local:
        networks.extend(ip_network(address) for address in {*LOOPBACK, *own})
    return ClientList(clients.local, tuple(_collapse(networks)))


def less(positive: ClientList, negative: ClientList) -> ClientList:
    """The clients of one list that are not in the other."""
    return ClientList(
        positive.socket and not negative.socket,
        tuple(_collapse(_less(positive.networks, negative.networks))),
    )


def _less(networks: Iterable[IPNetwork], holes: tuple[IPNetwork, ...]) -> Iterator[IPNetwork]:
    ordered = {version: [h for h in holes if h.version == version] for version in (4, 6)}
    starts = {v: [int(h.network_address) for h in found] for v, found in ordered.items()}
    for network in networks:
        found, begin = ordered[network.version], starts[network.version]
        # Collapsed networks are disjoint and in order: the first that may overlap begins at or
        # just before this one, the last before its end.
        first = max(0, bisect_left(begin, int(network.network_address)) - 1)
        last = bisect_left(begin, int(network.broadcast_address) + 1)
        yield from _around(network, [h for h in found[first:last] if h.overlaps(network)])


def _around(network: IPNetwork, holes: list[IPNetwork]) -> Iterator[IPNetwork]:
    parts = [network]
    for hole in holes:
        if _holds(hole, network):
            return
        rest: list[IPNetwork] = []
        for part in parts:
            rest.extend(_exclude(part, hole) if _holds(part, hole) else [part])
        parts = rest
    yield from parts


def _holds(outer: IPNetwork, inner: IPNetwork) -> bool:
    return inner.subnet_of(outer)  # type: ignore[arg-type]


def _exclude(outer: IPNetwork, inner: IPNetwork) -> Iterator[IPNetwork]:
    return outer.address_exclude(inner)  # type: ignore[arg-type]


def _collapse(networks: Iterable[IPNetwork]) -> Iterator[IPNetwork]:
    """The fewest networks that are the same addresses: IPv4 first, each kind in order."""
    given = set(networks)
    yield from collapse_addresses(n for n in given if isinstance(n, IPv4Network))
    yield from collapse_addresses(n for n in given if isinstance(n, IPv6Network))
