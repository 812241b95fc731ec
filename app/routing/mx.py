"""The mail exchangers of a domain, given what the DNS answered (RFC 5321 5.1, RFC 7505)."""

from collections.abc import Collection, Sequence
from itertools import groupby

from app.routing.route import MxAnswer, MxFailure, MxHosts

MAX_HOSTS = 16
MX_PORT = 25

NULL_MX = MxFailure(
    permanent=True, code="null-mx", because="the domain says that it takes no mail (RFC 7505)"
)
NXDOMAIN = MxFailure(permanent=True, code="nxdomain", because="the domain does not exist")
DNS_FAILURE = MxFailure(
    permanent=False, code="dns-failure", because="the DNS cannot answer for the domain now"
)
DNS_TIMEOUT = MxFailure(
    permanent=False, code="dns-timeout", because="the DNS did not answer for the domain in time"
)
CNAME_LOOP = MxFailure(
    permanent=False, code="cname-loop", because="the domain is an alias of more than 8 aliases"
)
NO_ADDRESS = MxFailure(
    permanent=False,
    code="no-address",
    because="neither the domain nor a mail exchanger of it has an address",
)

Record = tuple[int, str]
"""Preference and host name of one MX record; the root is "." or ""."""


def answer(
    domain: str, records: Sequence[Record], unreachable: Collection[str], uniform: float
) -> MxAnswer:
    """The hosts that a domain's mail is offered to, in order.

    Args:
        domain: where the MX records were found, after its CNAMEs.
        records: its MX records; none: the domain is its own exchanger (implicit MX).
        unreachable: names, lower case, of those hosts that have neither A nor AAAA.
        uniform: a number in [0, 1), which shuffles hosts of equal preference.
    """
    if records and all(_is_root(host) for _, host in records):
        return NULL_MX
    usable = [(number, host) for number, host in records if _name(host) not in unreachable]
    hosts = order(usable, uniform) if records else _implicit(domain, unreachable)
    return MxHosts(hosts, implicit=not records) if hosts else NO_ADDRESS


def order(records: Sequence[Record], uniform: float) -> tuple[str, ...]:
    """The first 16 hosts by preference, lowest first, equal ones shuffled (RFC 5321 5.1).

    A record that names the root among others names no host (RFC 7505 3 forbids the mixture). A
    host that stands twice is tried once, at its better preference. 53 bits of chance suffice for
    the order of 16 hosts.

    Args:
        records: preference and host; an empty answer for none, or for the root alone.
        uniform: a number in [0, 1): which of the possible orders.
    """
    best: dict[str, int] = {}
    for number, host in records:
        if not _is_root(host):
            best[_name(host)] = min(number, best.get(_name(host), number))
    hosts: list[str] = []
    by_preference = sorted(best.items(), key=lambda pair: (pair[1], pair[0]))
    for _, group in groupby(by_preference, key=lambda pair: pair[1]):
        equals = [host for host, _ in group]
        while equals:
            scaled = uniform * len(equals)
            hosts.append(equals.pop(int(scaled)))
            uniform = scaled - int(scaled)
    return tuple(hosts[:MAX_HOSTS])


def _implicit(domain: str, unreachable: Collection[str]) -> tuple[str, ...]:
    name = _name(domain)
    return () if name in unreachable else (name,)


def _is_root(host: str) -> bool:
    return host in {"", "."}


def _name(host: str) -> str:
    return host.rstrip(".").lower()
