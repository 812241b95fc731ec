"""What `resolve` says becomes of an envelope, in terms of what the bed can see."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from app.render.opensmtpd.rows import CAPABILITIES, Verdict, Version
from app.routing import mx
from app.routing.envelope import Envelope
from app.routing.names import host_address
from app.routing.relay_url import TLS
from app.routing.resolve import resolve
from app.routing.route import (
    Candidate,
    Draw,
    MxAnswer,
    MxNeeded,
    NeverDelivered,
    Rejected,
    Resolution,
    Route,
    TryAgain,
    Unrouted,
)
from app.routing.routing_table import RoutingTable, StateKey
from tests.mta.bed.sinks import Delivery, Sink
from tests.mta.parity import world

Down = frozenset[StateKey]
"""Relays that health says get nothing."""
ALL_UP: Down = frozenset()
UNIFORMS = (0.0, 0.3, 0.6, 0.9)
"""Enough chances for every order of the few equal exchangers in the zone."""
REJECTED = "5.7.1 Refused by routing rule"


class Fate(StrEnum):
    """What the bed sees of a message."""

    REFUSED = "refused"
    TAKEN = "taken"
    WAITING = "waiting"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened to a message: the reply where it was refused, the sink that took it."""

    fate: Fate
    code: int = 0
    text: str = ""
    delivery: Delivery | None = None

    def __str__(self) -> str:
        """One line for a report."""
        if self.delivery is not None:
            return f"{self.fate} by {self.delivery}"
        return f"{self.fate} {self.code or ''} {self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Expected:
    """What must happen.

    Attributes:
        code: of the reply, where it is refused; 0 for any of 5xx.
        reply: the reply's text after its code, and before the recipient.
        candidates: where it may arrive: any that has a share.
        mail_from: the envelope sender that the sink sees.
        relay_map: the map whose turn it was.
    """

    fate: Fate
    code: int = 0
    reply: str = ""
    candidates: tuple[Candidate, ...] = ()
    mail_from: str = ""
    relay_map: str | None = None

    def agrees(self, seen: Seen, recipient: str) -> bool:
        """Say whether what was seen is what must happen."""
        if self.fate is Fate.REFUSED:
            return seen.fate is Fate.REFUSED and self._is_reply(seen, recipient)
        if self.fate is Fate.TAKEN:
            return seen.delivery is not None and self._takes(seen.delivery, recipient)
        return seen.fate is self.fate

    def _is_reply(self, seen: Seen, recipient: str) -> bool:
        if not self.code:  # an address that no rule ever saw: the daemon's own words
            return 500 <= seen.code < 600
        wanted = f"{self.reply}: <{recipient}>"
        return (seen.code, seen.text.lower()) == (self.code, wanted.lower())

    def _takes(self, delivery: Delivery, recipient: str) -> bool:
        to_it = delivery.recipients == (recipient,) or same(delivery.recipients, (recipient,))
        by_it = delivery.sender.lower() == self.mail_from.lower()
        return to_it and by_it and any(_is_over(one, delivery) for one in self.candidates)

    def __str__(self) -> str:
        """One line for a report."""
        if self.fate is not Fate.TAKEN:
            return f"{self.fate} {self.code or ''} {self.reply}".rstrip()
        where = [str(one.url or one.mx.host) for one in self.candidates]
        return (
            f"taken from <{self.mail_from}> by one of {where} over {self.candidates[0].transport}"
        )


def same(some: Iterable[str], others: Iterable[str]) -> bool:
    """Say whether addresses are the same but for case."""
    return [one.lower() for one in some] == [one.lower() for one in others]


def sinks_of(candidate: Candidate) -> list[Sink]:
    """Answer the sinks that a candidate's host and port lead to."""
    address = host_address(candidate.mx.host)
    addresses = [str(address)] if address is not None else _addresses(candidate.mx.host)
    places = [(address, candidate.mx.port) for address in addresses]
    return [world.SINK_AT[place] for place in places]


def _addresses(host: str) -> list[str]:
    return _records(host, "A") + _records(host, "AAAA")


def _records(name: str, kind: str) -> list[str]:
    found = world.ZONE.get(name, {}).get(kind, ())
    return [] if isinstance(found, str | int) else list(found)


def _is_over(candidate: Candidate, delivery: Delivery) -> bool:
    """Say whether a delivery is what a candidate's transport describes."""
    sink = next((s for s in sinks_of(candidate) if s.name == delivery.sink), None)
    if sink is None:
        return False
    transport = candidate.transport
    offered = transport.tls is TLS.OPPORTUNISTIC and sink.tls == "starttls"
    sources = [str(address) for address in transport.sources]
    return (
        delivery.protocol == transport.protocol.value
        and (delivery.tls is not None) == (transport.tls.mandatory or offered)
        and delivery.auth_user == (world.USERNAME if transport.credential else None)
        and delivery.helo == (transport.helo or world.HELO_OF_MTA)
        and (not sources or delivery.client in sources)
    )


def mx_answer(domain: str, uniform: float = 0.0) -> MxAnswer:
    """Answer what a look-up of a domain's exchangers finds in the zone."""
    end = next(iter(_records(domain, "CNAME")), domain).rstrip(".")
    if end not in world.ZONE:
        return mx.NXDOMAIN
    if "status" in world.ZONE[end]:
        return mx.DNS_FAILURE
    records = [(int(number), host) for number, host in map(str.split, _records(end, "MX"))]
    hosts = [host.rstrip(".") for _, host in records] or [end]
    return mx.answer(end, records, {host for host in hosts if not _addresses(host)}, uniform)


def resolution(
    table: RoutingTable, envelope: Envelope, down: Down = ALL_UP, uniform: float = 0.0
) -> Resolution:
    """Answer what `resolve` says, with the exchangers of the zone where it asks for them."""
    answer = resolve(table, envelope, down, lambda _: Draw(), explain=True)
    if isinstance(answer, MxNeeded):
        found = mx_answer(answer.domain, uniform)
        answer = resolve(table, envelope, down, lambda _: Draw(), found, explain=True)
    assert not isinstance(answer, MxNeeded)
    return answer


def expected(
    table: RoutingTable, envelope: Envelope, version: Version, down: Down = ALL_UP
) -> Expected:
    """Answer what must become of an envelope that reaches the rules of a daemon of a version."""
    answer = resolution(table, envelope, down)
    match answer:
        case Rejected():
            reply = REJECTED if answer.message is None else f"5.7.1 {answer.message}"
            return Expected(Fate.REFUSED, 550, reply)
        case Unrouted():
            return Expected(Fate.REFUSED, 550, "Invalid recipient")
        case TryAgain():
            return Expected(Fate.WAITING)
        case NeverDelivered():
            differs = answer.code == "null-mx" and known_to_differ("null-mx", version)
            return Expected(Fate.WAITING if differs else Fate.RETURNED)
        case Route():
            candidates = _candidates(table, envelope, answer)
            differs = known_to_differ("source-family-found", version)
            if differs and all(_is_out_of_reach(one) for one in candidates):
                return Expected(Fate.WAITING)
            return Expected(
                Fate.TAKEN,
                candidates=candidates,
                mail_from=answer.mail_from,
                relay_map=answer.relay_map,
            )


def known_to_differ(code: str, version: Version) -> bool:
    """Say whether the capability table has a row for what a daemon does otherwise."""
    rows = [row for row in CAPABILITIES if row.code == code and row.verdict is Verdict.DIFFERS]
    return any(row.covers(version) for row in rows)


def _is_out_of_reach(candidate: Candidate) -> bool:
    """Say whether no source has the family of any address of an exchanger."""
    families = {ip_address(sink.address).version for sink in sinks_of(candidate)}
    sources = {source.version for source in candidate.transport.sources}
    return candidate.url is None and bool(sources) and not families & sources


def _candidates(table: RoutingTable, envelope: Envelope, route: Route) -> tuple[Candidate, ...]:
    """Answer where mail of this route may go now: all with a share, or the first exchangers."""
    if route.chosen.share is not None:
        return tuple(one for one in route.candidates if one.share)
    routes = [resolution(table, envelope, uniform=uniform) for uniform in UNIFORMS]
    return tuple({one.chosen: None for one in routes if isinstance(one, Route)})
