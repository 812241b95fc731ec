"""Resolution: where an envelope goes, over which transport, and why.

Pure: the same routing, envelope, health, draws and MX answer give the same answer and trace. The
routing has no error findings (`app.routing.check`): every name that it uses is there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from app.routing.envelope import Envelope, MailAddress
from app.routing.mx import MX_PORT
from app.routing.next_hop import EntryHop, NextHop, ViaMap, ViaMx, ViaTable
from app.routing.policies import Ranked, first, rank
from app.routing.relay_map import HashKey, Relay, RelayMap
from app.routing.relay_url import TLS, Protocol, RelayURL
from app.routing.route import (
    Brief,
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
from app.routing.rule_index import Conditions
from app.routing.table import look_up

DrawFor = Callable[[str], Draw]
"""The next draw of a relay map, by its name."""


def resolve(
    table: RoutingTable,
    envelope: Envelope,
    down: frozenset[StateKey],
    draw: DrawFor,
    mx: MxAnswer | None = None,
    *,
    explain: bool = False,
) -> Resolution | MxNeeded:
    """Where an envelope goes and why; or the domain whose MX records the answer hangs on.

    Args:
        table: the routing as it is now.
        envelope: one recipient of one message.
        down: relays that health says get nothing, as (relay map, relay).
        draw: asked once at most, for the map that is picked from.
        mx: what a look-up of the domain of an earlier `MxNeeded` found.
        explain: with a trace, which looks at every rule up to the one that decides.
    """
    if not envelope.recipient.domain:
        return NeverDelivered("bad-address", _NO_RECIPIENT)
    trace: list[Step] = []
    walked = _traced(table, envelope, trace) if explain else walk(table, envelope)
    if walked is None:
        return Unrouted(tuple(trace))
    rule, hop = walked
    action = rule.action
    if isinstance(action, Reject):
        return Rejected(rule.name, action.message, tuple(trace))
    question = _Question(envelope, action, rule.name, _table_name(action), tuple(trace))
    if isinstance(hop, RelayURL):
        only = _candidate(action, hop, relay=None, share=1.0)
        return question.route((only,))
    if isinstance(hop, ViaMap):
        return _over_map(table, question, hop, down, draw)
    return _over_mx(question, mx)


def brief(
    table: RoutingTable, envelope: Envelope, down: frozenset[StateKey], draw: DrawFor
) -> Brief:
    """What `resolve` answers to the same question without `mx`, in short; at a part of its cost."""
    if not envelope.recipient.domain:
        return NeverDelivered, None, None
    return brief_of(table, walk(table, envelope), envelope, down, draw)


def brief_of(
    table: RoutingTable,
    walked: "Walked | None",
    envelope: Envelope,
    down: frozenset[StateKey],
    draw: DrawFor,
) -> Brief:
    """The same for an envelope with a recipient of which it is known what `walk` says."""
    if walked is None:
        return Unrouted, None, None
    rule, hop = walked
    if isinstance(hop, ViaMap):
        relay_map = table.maps[hop.name]
        usable = usable_relays(table, relay_map, down)
        if not usable:
            return TryAgain, rule.name, None
        return Route, rule.name, first(relay_map, usable, _drawn(relay_map, envelope, draw)).url
    if not isinstance(hop, ViaMx):
        return Rejected if hop is None else Route, rule.name, hop
    is_known = envelope.recipient.literal is not None
    return (Route, rule.name, None) if is_known else (MxNeeded, None, None)


_NO_RECIPIENT = "a recipient needs a local part and a domain"

Walked = tuple[Rule, EntryHop | None]
"""The rule that decides, and the next hop that it leads to; None where it refuses."""


def walk(table: RoutingTable, envelope: Envelope) -> Walked | None:
    """The rule that takes an envelope, and where it leads; None where none takes it."""
    walked: Walked | None = None
    least = -1
    is_local = envelope.client is None or envelope.is_local
    for bucket in table.book.index.met_by(envelope):
        for place, rule, to, asked, local, more in bucket:
            if walked is not None and place >= least:
                break
            if local and not is_local:
                continue
            if more is not None and not _is_met(envelope, *more):
                continue
            hop = to
            if asked is not None:
                hop = look_up(table.tables[asked], table.entries[asked], envelope)
                if hop is None:
                    continue
            walked, least = (rule, hop), place
            break
    return walked


def _is_met(envelope: Envelope, asked: Conditions, refused: Conditions) -> bool:
    for condition in asked:
        if not condition.holds(envelope):
            return False
    return not (refused and any(condition.holds(envelope) for condition in refused))


def _traced(table: RoutingTable, envelope: Envelope, trace: list[Step]) -> Walked | None:
    """The same, rule by rule, noting each that was tried."""
    for rule in table.ordered:
        because = rule.match.first_failing(envelope)
        hop: EntryHop | None = None
        if because is None:
            via = None if isinstance(rule.action, Reject) else rule.action.via
            hop = _leads_to(table, via, envelope)
            because = "table" if hop is None and via is not None else None
        if because is None:
            trace.append(Step(rule.name, matched=True))
            return rule, hop
        trace.append(_passed(rule.name, because))
    return None


@lru_cache(maxsize=65_536)
def _passed(rule: str, because: str) -> Step:
    """The step of a rule that did not match; nearly every step of every trace is one of few."""
    return Step(rule, matched=False, because=because)


def _leads_to(table: RoutingTable, via: NextHop | None, envelope: Envelope) -> EntryHop | None:
    """Where the next hop of a rule leads; None: to a table that has nothing for it, or nowhere."""
    if isinstance(via, ViaTable):
        return look_up(table.tables[via.name], table.entries[via.name], envelope)
    return via


def _table_name(action: RelayAction) -> str | None:
    return action.via.name if isinstance(action.via, ViaTable) else None


@dataclass(slots=True)
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
    drawn = _drawn(relay_map, question.envelope, draw)
    candidates = (_of_ranked(question.action, ranked) for ranked in rank(relay_map, usable, drawn))
    return question.route(tuple(candidates), relay_map.name)


def _drawn(relay_map: RelayMap, envelope: Envelope, draw: DrawFor) -> Draw:
    """What is drawn for a map, with the key that it hashes, if any."""
    drawn = draw(relay_map.name)
    if relay_map.hash_key is None:
        return drawn
    return Draw(drawn.turn, drawn.uniform, hashed_text(relay_map.hash_key, envelope))


def usable_relays(
    table: RoutingTable, relay_map: RelayMap, down: frozenset[StateKey]
) -> tuple[Relay, ...]:
    """The relays of a map that are in service and not down.

    Where health alone would leave none, health is ignored: a relay that is probably broken is
    better than no try at all.
    """
    active = table.pools.active(relay_map)
    if not down:
        return active
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
