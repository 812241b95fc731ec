"""MX look-ups: bounded in time, in number, and in how far they follow what the DNS says.

What records mean is decided by `app.routing.mx`; here they are found. RFC 5321 5.1, RFC 2308.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver
from dns.nameserver import Do53Nameserver

from app.routing.errors import Refused
from app.routing.mx import (
    CNAME_LOOP,
    DNS_FAILURE,
    DNS_TIMEOUT,
    MAX_HOSTS,
    NXDOMAIN,
    Record,
    answer,
)
from app.routing.names import parse_domain
from app.routing.route import MxAnswer, MxFailure

MAX_CNAMES = 8
MIN_TTL_S = 5.0
MAX_TTL_S = 3600.0
_ONE_QUERY_S = 1.4
"""Less than half of the whole: a name server that is silent leaves time for a second one."""
_UDP_PAYLOAD = 1232  # fits into one packet on every path of today (DNS flag day 2020)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a resolver may do.

    Attributes:
        whole_s: for one look-up with everything that it needs.
        in_flight: look-ups at the same time; further ones wait within their own time.
        remembered: domains in the cache.
    """

    whole_s: float = 3.0
    in_flight: int = 64
    remembered: int = 10_000


@dataclass(frozen=True, slots=True)
class _Found:
    """What the DNS says of a domain, before chance orders it.

    Attributes:
        domain: where the CNAMEs ended.
        unreachable: those hosts without any address.
        doubt: answers in place of "no address" where addresses could not be asked for.
    """

    domain: str
    records: tuple[Record, ...]
    unreachable: frozenset[str]
    doubt: MxFailure | None = None

    def ordered(self, uniform: float) -> MxAnswer:
        """The exchangers in the order that this chance gives."""
        ordered = answer(self.domain, self.records, self.unreachable, uniform)
        if self.doubt is not None and isinstance(ordered, MxFailure) and not ordered.permanent:
            return self.doubt
        return ordered


class MxResolver:
    """Finds mail exchangers, and remembers them as long as the DNS says, 5 s to 1 h."""

    def __init__(
        self,
        servers: Sequence[tuple[str, int]] = (),
        bounds: Bounds | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Ask these name servers, (address, port), or the system's where none is given."""
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._resolver = _resolver(servers)
        self._room = asyncio.Semaphore(self._bounds.in_flight)
        self._known: OrderedDict[str, tuple[_Found | MxFailure, float]] = OrderedDict()
        self._asked: dict[str, asyncio.Task[_Found | MxFailure]] = {}

    async def look_up(self, domain: str, uniform: float) -> MxAnswer:
        """The exchangers of a domain in the order in which they are tried, or why there is none.

        Args:
            domain: canonical, as A-labels.
            uniform: a number in [0, 1), which shuffles exchangers of equal preference.
        """
        found = self._remembered(domain)
        if found is None:
            task = self._asked.get(domain)
            if task is None:
                task = asyncio.ensure_future(self._ask(domain))
                self._asked[domain] = task
                task.add_done_callback(lambda _: self._asked.pop(domain, None))
            found = await asyncio.shield(task)  # others may wait for it when this caller goes
        return found if isinstance(found, MxFailure) else found.ordered(uniform)

    def _remembered(self, domain: str) -> _Found | MxFailure | None:
        found, until = self._known.get(domain, (None, 0.0))
        if found is None or self._clock() >= until:
            return None
        self._known.move_to_end(domain)
        return found

    async def _ask(self, domain: str) -> _Found | MxFailure:
        look = _LookUp(self._resolver)
        try:
            async with asyncio.timeout(self._bounds.whole_s), self._room:
                found = await look.find(domain)
        except TimeoutError:
            found = look.so_far or DNS_TIMEOUT
        ttl = MIN_TTL_S if _is_passing(found) else min(max(look.ttl_s, MIN_TTL_S), MAX_TTL_S)
        self._known[domain] = (found, self._clock() + ttl)
        self._known.move_to_end(domain)
        while len(self._known) > self._bounds.remembered:
            self._known.popitem(last=False)
        return found


def _is_passing(found: _Found | MxFailure) -> bool:
    """Whether an answer is one that the next look may well correct."""
    return not found.permanent if isinstance(found, MxFailure) else found.doubt is not None


def _resolver(servers: Sequence[tuple[str, int]]) -> dns.asyncresolver.Resolver:
    try:
        resolver = dns.asyncresolver.Resolver(configure=not servers)
    except dns.resolver.NoResolverConfiguration:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]  # what resolv.conf(5) says of an absent file
    if servers:
        resolver.nameservers = [Do53Nameserver(address, port) for address, port in servers]
    resolver.timeout = _ONE_QUERY_S / 2
    resolver.use_edns(0, 0, _UDP_PAYLOAD)
    return resolver


class _Failed(Exception):
    """A query came to no answer that can be used."""

    def __init__(self, failure: MxFailure) -> None:
        super().__init__(failure.code)
        self.failure = failure


class _LookUp:
    """One look-up: the MX records, then the addresses of the best hosts, all at once.

    Attributes:
        ttl_s: the least of all answers.
        so_far: what would be said if time ended now; None before the MX records are known.
    """

    def __init__(self, resolver: dns.asyncresolver.Resolver) -> None:
        self._resolver = resolver
        self._cnames = 0
        self._unknown: dict[str, MxFailure | None] = {}
        self._without: set[str] = set()
        self._found: tuple[str, tuple[Record, ...]] | None = None
        self.ttl_s = MAX_TTL_S

    @property
    def so_far(self) -> _Found | None:
        """See the class."""
        if self._found is None:
            return None
        doubts = [failure or DNS_TIMEOUT for failure in self._unknown.values()]
        unreachable = frozenset(self._without | self._unknown.keys())
        return _Found(*self._found, unreachable, doubts[0] if doubts else None)

    async def find(self, domain: str) -> _Found | MxFailure:
        """What the DNS says of a domain, or why it says nothing."""
        try:
            end, records = await self._mx(domain)
        except _Failed as failed:
            return failed.failure
        hosts = [host for _, host in records] if records else [end]
        names = {host for host in hosts if _is_name(host)}
        self._without = {host for host in hosts if host not in names}
        self._unknown = dict.fromkeys(sorted(names))
        self._found = (end, records)
        await asyncio.gather(*(self._address(name) for name in names))
        return self.so_far or DNS_TIMEOUT

    async def _mx(self, domain: str) -> tuple[str, tuple[Record, ...]]:
        """Where the CNAMEs end, and the best MX records there."""
        name = domain
        while True:
            found = await self._query(name, dns.rdatatype.MX)
            end = _text(found.canonical_name)
            self._cnames += len(found.chaining_result.cnames)
            if self._cnames > MAX_CNAMES:
                raise _Failed(CNAME_LOOP)
            if found.rrset is not None:
                pairs = ((record.preference, _text(record.exchange)) for record in found.rrset)
                return end, tuple(sorted(pairs)[:MAX_HOSTS])
            if end == name:
                return end, ()
            name = end  # a server that names the alias, and not what is there

    async def _address(self, host: str) -> None:
        """Settle whether a host has an address: one of either family is enough."""
        doubt: MxFailure | None = None
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                found = await self._query(host, kind)
            except _Failed as failed:
                if failed.failure is NXDOMAIN:
                    break
                doubt = failed.failure
                continue
            if found.rrset is not None:
                del self._unknown[host]
                return
        if doubt is None:
            self._without.add(host)
            del self._unknown[host]
        else:
            self._unknown[host] = doubt

    async def _query(self, name: str, kind: dns.rdatatype.RdataType) -> dns.resolver.Answer:
        try:
            found = await self._resolver.resolve(
                dns.name.from_text(name),
                kind,
                raise_on_no_answer=False,
                search=False,
                lifetime=_ONE_QUERY_S,
            )
        except dns.resolver.NXDOMAIN as error:
            self._note_ttl(_negative_ttl(error))
            raise _Failed(NXDOMAIN) from error
        except dns.resolver.LifetimeTimeout as error:
            raise _Failed(DNS_TIMEOUT) from error
        except dns.resolver.NoNameservers as error:
            loops = any(
                isinstance(cause, dns.message.ChainTooLong) for *_, cause, _ in _causes(error)
            )
            raise _Failed(CNAME_LOOP if loops else DNS_FAILURE) from error
        except (dns.exception.DNSException, OSError) as error:
            raise _Failed(DNS_FAILURE) from error
        self._note_ttl(found.chaining_result.minimum_ttl)
        return found

    def _note_ttl(self, ttl_s: float) -> None:
        self.ttl_s = min(self.ttl_s, ttl_s)


def _causes(error: dns.resolver.NoNameservers) -> Sequence[tuple[object, ...]]:
    causes: Sequence[tuple[object, ...]] = error.kwargs.get("errors", ())
    return causes


def _negative_ttl(error: dns.resolver.NXDOMAIN) -> float:
    """How long a name is known not to exist (RFC 2308 5); short where its zone does not say."""
    seen = error.responses()  # type: ignore[no-untyped-call]
    return min((each.resolve_chaining().minimum_ttl for each in seen.values()), default=MIN_TTL_S)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _is_name(host: str) -> bool:
    """Whether a host of an MX record is one that could have an address: no literal, no blank."""
    try:
        return parse_domain(host) == host
    except Refused:
        return False
