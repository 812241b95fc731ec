"""Actions: what a `match` line leads to, named by rule id so that queued mail finds them again."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from app.render.opensmtpd import spelling
from app.render.opensmtpd.criteria import table_name
from app.routing.decision import Options
from app.routing.names import IPAddress
from app.routing.next_hop import EntryHop, ViaMap
from app.routing.relay_url import RelayURL
from app.routing.routing_table import RoutingTable
from app.routing.rule import Reject, RelayAction, Rule

CREDENTIALS = "credentials"
DEFAULT_MESSAGE = "Refused by routing rule"


@dataclass(frozen=True, slots=True)
class ActionLine:
    """One action.

    Attributes:
        name: at most 64 characters.
        text: what stands after the name.
        relay_map: the map whose list it reads; None where it reads none.
        labels: the credential labels that it may use.
    """

    name: str
    text: str
    relay_map: str | None = None
    labels: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """As it stands in relaymap.conf."""
        return f"action {spelling.action_name(self.name)} {self.text}"


def map_file(relay_map: str) -> str:
    """The list file of a map: one for all actions over it, since the turn belongs to the list."""
    return f"m-{spelling.map_name(relay_map)}"


def relays(table: RoutingTable, hop: EntryHop) -> tuple[RelayURL, ...]:
    """Every relay that a next hop may lead to, in service or not; none for `mx`."""
    if isinstance(hop, ViaMap):
        return tuple(relay.url for relay in table.maps[hop.name].relays)
    return (hop,) if isinstance(hop, RelayURL) else ()


def message_of(action: Reject) -> str:
    """The text that a refused client sees."""
    return DEFAULT_MESSAGE if action.message is None else action.message


def reject_line(rule: Rule, action: Reject) -> ActionLine:
    """The action of a rule that refuses.

    `match … reject` answers 451 once any look-up in smtpd has failed for a time; an address that
    expands to an error is always refused with 550.
    """
    message = spelling.reject_message(message_of(action))
    name = f"rm-{spelling.rule_id(rule.id)}-reject"
    return ActionLine(name, f'expand-only virtual {{ "@" = "error:550 5.7.1 {message}" }}')


def relay_line(
    table: RoutingTable, rule: Rule, action: RelayAction, hop: EntryHop, *, over_table: bool
) -> ActionLine:
    """The action that hands mail of a rule to one next hop.

    Args:
        table: the routing that the rule is of.
        rule: a rule that relays.
        action: its action.
        hop: the next hop, or one of those that its table may lead to.
        over_table: whether the rule has several next hops; each then has its own action.
    """
    urls = relays(table, hop)
    labels = frozenset(url.credential for url in urls if url.credential is not None)
    relay_map = hop.name if isinstance(hop, ViaMap) else None
    words = ["relay", *_host(hop), *_auth(labels), *_tls(action, urls), *identity(action)]
    if action.ttl_s is not None:
        words.append(f"ttl {int(action.ttl_s)}s")  # last: smtpd.conf(5) takes nothing after it
    suffix = f"-{hop_digest(hop)}" if over_table else ""
    name = f"rm-{spelling.rule_id(rule.id)}{suffix}"
    return ActionLine(name, " ".join(words), relay_map, labels)


def hop_digest(hop: EntryHop) -> str:
    """12 hexadecimal digits that stand for what a next hop means, however it is spelt."""
    meaning = spelling.relay_url(hop) if isinstance(hop, RelayURL) else str(hop)
    return hashlib.sha256(meaning.encode()).hexdigest()[:12]


def _host(hop: EntryHop) -> Iterator[str]:
    if isinstance(hop, RelayURL):
        yield f"host {spelling.quoted(spelling.relay_url(hop), 'relay URL')}"
    elif isinstance(hop, ViaMap):
        yield f"host <{table_name(map_file(hop.name))}>"


def _auth(labels: frozenset[str]) -> Iterator[str]:
    if labels:
        yield f"auth <{table_name(CREDENTIALS)}>"


def _tls(action: RelayAction, urls: tuple[RelayURL, ...]) -> Iterator[str]:
    # `tls` would make TLS mandatory on opportunistic relays; without it 7.3 and later take what
    # one mandatory relay needed for all relays of the action.
    if urls and all(url.tls.mandatory for url in urls):
        yield "tls" if action.tls_verify else "tls no-verify"
        if action.ca is not None:
            yield f"ca {spelling.pki_name(action.ca)}"


def identity(action: RelayAction | Options) -> Iterator[str]:
    """The words of an action about who smtpd is to its relays; of a rule, or of a fixed action."""
    if action.certificate is not None:
        yield f"pki {spelling.pki_name(action.certificate)}"
    if action.sources:
        yield f"src {_sources(action.sources)}"
    if action.helo is not None:
        yield f"helo {spelling.quoted(spelling.domain(action.helo), 'helo')}"
    if action.mail_from is not None:
        yield f"mail-from {spelling.mail_from(str(action.mail_from))}"


def _sources(sources: tuple[IPAddress, ...]) -> str:
    texts = [spelling.quoted(str(source), "source") for source in sources]
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"
