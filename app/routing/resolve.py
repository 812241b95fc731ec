"""Resolution: where an envelope goes, over which transport, and why.

Pure: the same routing, envelope, health, draws and MX answer give the same answer and trace. The
routing has no error findings (`app.routing.check`): every name that it uses is there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from app.routing.envelope import Envelope, MailAddress
from app.routing.mx import MX_PORT
from app.routing.next_hop import EntryHop, ViaMap, ViaTable
from app.routing.policies import Ranked, rank
from app.routing.relay_map import HashKey, Relay, RelayMap
from app.routing.relay_url import TLS, Protocol, RelayURL
from app.routing.route import (
    Candidate,
    Draw,
    Host,
    MxAnswer,
    MxFailure,
    MxNeeded,
    NeverDelivered,
    Rejected,
    Resolution,
    Route,
    Step,
    Transport,
    TryAgain,
    Unrouted,
)
from app.routing.routing_table import RoutingTable, StateKey
from app.routing.rule import MailFrom, Reject, RelayAction, Rule
from app.routing.table import look_up

DrawFor = Callable[[str], Draw]
"""The next draw of a relay map, by its name."""


def resolve(
    table: RoutingTable,
    envelope: Envelope,
    down: frozenset[StateKey],
    draw: DrawFor,
    mx: MxAnswer | None = None,
) -> Resolution | MxNeeded:
    """Where an envelope goes and why; or the domain whose MX records the answer hangs on.

    Args:
        table: the routing as it is now.
        envelope: one recipient of one message.
        down: relays that health says get nothing, as (relay map, relay).
        draw: asked once at most, for the map that is picked from.
        mx: what a look-up of the domain of an earlier `MxNeeded` found.
    """
    if not envelope.recipient.domain:
        return NeverDelivered("bad-address", "a recipient needs a local part and a domain")
    walked = walk(table, envelope)
    if walked.rule is None:
        return Unrouted(walked.trace)
    action = walked.rule.action
    if isinstance(action, Reject):
        return Rejected(walked.rule.name, action.message, walked.trace)
    question = _Question(envelope, action, walked.rule.name, _table_name(action), walked.trace)
    if isinstance(walked.hop, RelayURL):
        only = _candidate(action, walked.hop, relay=None, share=1.0)
        return question.route((only,))
    if isinstance(walked.hop, ViaMap):
        return _over_map(table, question, walked.hop, down, draw)
    return _over_mx(question, mx)


@dataclass(frozen=True, slots=True)
class Walked:
    """The rule that decides, the next hop that it leads to, and the rules tried on the way.

    Attributes:
        rule: None where none takes the envelope.
        hop: None where the rule refuses, or there is none.
    """

    rule: Rule | None
    hop: EntryHop | None
    trace: tuple[Step, ...]


def walk(table: RoutingTable, envelope: Envelope) -> Walked:
    """The rule that takes an envelope, and where it leads."""
    trace: list[Step] = []
    for rule in table.ordered:
        because = rule.match.first_failing(envelope)
        hop: EntryHop | None = None
        if because is None and isinstance(rule.action, RelayAction):
            hop = _next_hop(table, rule.action, envelope)
            because = "table" if hop is None else None
        if because is None:
            trace.append(Step(rule.name, matched=True))
            return Walked(rule, hop, tuple(trace))
        trace.append(_passed(rule.name, because))
    return Walked(None, None, tuple(trace))


@lru_cache(maxsize=65_536)
def _passed(rule: str, because: str) -> Step:
    """The step of a rule that did not match; nearly every step of every trace is one of few."""
    return Step(rule, matched=False, because=because)


def _next_hop(table: RoutingTable, action: RelayAction, envelope: Envelope) -> EntryHop | None:
    """None: a table has neither the envelope's key nor a default."""
    via = action.via
    if isinstance(via, ViaTable):
        return look_up(table.tables[via.name], table.entries[via.name], envelope)
    return via


def _table_name(action: RelayAction) -> str | None:
    return action.via.name if isinstance(action.via, ViaTable) else None


@dataclass(frozen=True, slots=True)
class _Question:
    """What every answer about one envelope shares, once its rule is found."""

    envelope: Envelope
    action: RelayAction
    rule: str
    table: str | None
    trace: tuple[Step, ...]

    def route(self, candidates: tuple[Candidate, ...], relay_map: str | None = None) -> Route:
        sender = rewritten(self.envelope.sender, self.action.mail_from)
        return Route(self.rule, candidates, sender, self.table, relay_map, self.trace)


def _over_map(
    table: RoutingTable,
    question: _Question,
    via: ViaMap,
    down: frozenset[StateKey],
    draw: DrawFor,
) -> Route | TryAgain:
    relay_map = table.maps[via.name]
    usable = usable_relays(table, relay_map, down)
    if not usable:
        return TryAgain(
            question.rule,
            "no-usable-relay",
            "every relay of the map is out of service",
            table=question.table,
            relay_map=relay_map.name,
            trace=question.trace,
        )
    drawn = replace(draw(relay_map.name), key=hashed_text(relay_map.hash_key, question.envelope))
    candidates = (_of_ranked(question.action, ranked) for ranked in rank(relay_map, usable, drawn))
    return question.route(tuple(candidates), relay_map.name)


def usable_relays(
    table: RoutingTable, relay_map: RelayMap, down: frozenset[StateKey]
) -> tuple[Relay, ...]:
    """The relays of a map that are in service and not down.

    Where health alone would leave none, health is ignored: a relay that is probably broken is
    better than no try at all.
    """
    active = table.active_relays(relay_map)
    return tuple(r for r in active if (relay_map.name, r.name) not in down) or active


def hashed_text(key: HashKey | None, envelope: Envelope) -> str:
    """What policy `hash` hashes of an envelope; "" for the null sender and other policies."""
    match key:
        case HashKey.SENDER:
            return str(envelope.sender)
        case HashKey.SENDER_DOMAIN:
            return envelope.sender.domain
        case HashKey.RECIPIENT:
            return str(envelope.recipient)
        case HashKey.RECIPIENT_DOMAIN:
            return envelope.recipient.domain
        case None:
            return ""


def _over_mx(
    question: _Question, mx: MxAnswer | None
) -> Route | NeverDelivered | TryAgain | MxNeeded:
    recipient = question.envelope.recipient
    if recipient.literal is not None:
        host = str(recipient.literal)
        return _to_hosts(question, (f"[{host}]" if recipient.literal.version == 6 else host,))
    if mx is None:
        return MxNeeded(recipient.domain)
    if not isinstance(mx, MxFailure):
        return _to_hosts(question, mx.hosts)
    if mx.permanent:
        return NeverDelivered(mx.code, mx.because, question.rule, question.trace)
    return TryAgain(
        question.rule,
        mx.code,
        mx.because,
        mx.retry_after_s,
        table=question.table,
        trace=question.trace,
    )


def _to_hosts(question: _Question, hosts: tuple[str, ...]) -> Route:
    transport = _transport(question.action, Protocol.SMTP, TLS.OPPORTUNISTIC)
    return question.route(tuple(Candidate(Host(host, MX_PORT), transport) for host in hosts))


def _of_ranked(action: RelayAction, ranked: Ranked) -> Candidate:
    return _candidate(action, ranked.relay.url, ranked.relay.name, ranked.share)


def _candidate(action: RelayAction, url: RelayURL, relay: str | None, share: float) -> Candidate:
    transport = _transport(action, url.protocol, url.tls, url.credential)
    return Candidate(Host(url.host, url.effective_port), transport, relay, share, url)


def _transport(
    action: RelayAction, protocol: Protocol, tls: TLS, credential: str | None = None
) -> Transport:
    return Transport(
        protocol,
        tls,
        verify=action.tls_verify if tls.mandatory else None,
        credential=credential,
        certificate=action.certificate,
        ca=action.ca,
        sources=action.sources,
        helo=action.helo,
    )


def rewritten(sender: MailAddress, mail_from: MailFrom | None) -> str:
    """The envelope sender that the next hop sees; "" for the null sender, which stays as it is."""
    if mail_from is None or not sender.domain:
        return sender.spelling
    return f"{mail_from.user or sender.written_local or sender.local}@{mail_from.domain}"
