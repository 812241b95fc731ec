"""Findings: what is wrong with a whole routing, or looks as if it were not meant.

An error refuses the write that makes it; a warning does not. A finding names our own objects and
repeats no other text that somebody sent.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import StrEnum

from app.routing.change import Kind, Subject
from app.routing.errors import Fault
from app.routing.names import host_address
from app.routing.next_hop import LONGEST_HOST, OLD_SSL, NextHop, ViaMap, ViaMx, ViaTable
from app.routing.overlaps import overlapping, shadowed
from app.routing.relay_map import RelayMap
from app.routing.relay_url import RelayURL
from app.routing.routing_table import RoutingTable, StateKey
from app.routing.rule import RelayAction, Rule, faults_of
from app.routing.uses import Place, ends_of, places

ALL_DOWN = "all-down"
_STARTTLS_PORTS = frozenset({25, 587})


class Severity(StrEnum):
    """Whether a finding refuses the write that makes it."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        code: stable, kebab-case, for programs.
        subject: what it is about, such as "rules/shop-out".
        pointer: RFC 6901 pointer into the subject's document.
        detail: one sentence for people.
        mta: the MTA that it concerns; None: it concerns the routing as such.
    """

    code: str
    severity: Severity
    subject: str
    pointer: str
    detail: str
    mta: str | None = None


def findings(table: RoutingTable, down: frozenset[StateKey] = frozenset()) -> tuple[Finding, ...]:
    """Everything found in a routing: errors first, each kind by subject.

    Args:
        table: the routing.
        down: relays that health says get nothing, as (relay map, relay).
    """
    written = tuple(places(table))
    found = [
        *_dangling(table, written),
        *_credentials(table, written),
        *_rules_alone(table),
        *_rules_and_relays(table),
        *_order_of_rules(table),
        *_relay_urls(written),
        *_unused(table, written),
        *_maps_at_rest(table, down),
    ]
    return tuple(sorted(found, key=lambda f: (f.severity is not Severity.ERROR, f.subject, f.code)))


def errors(table: RoutingTable) -> tuple[Finding, ...]:
    """The findings that refuse a write."""
    return tuple(f for f in findings(table) if f.severity is Severity.ERROR)


def missing_credentials(table: RoutingTable) -> tuple[Fault, ...]:
    """The labels that a routing uses and may not: gone, or not for that host or that rule."""
    return tuple(
        Fault(f.code, f"{f.subject}: {f.detail}", f.pointer)
        for f in (*_credentials(table, tuple(places(table))), *_rules_and_relays(table))
        if f.code in _ABOUT_CREDENTIALS
    )


_ABOUT_CREDENTIALS = frozenset(
    {"dangling-credential", "credential-not-for-host", "credential-needs-verify"}
)


def _error(code: str, subject: Subject, pointer: str, detail: str) -> Finding:
    return Finding(code, Severity.ERROR, str(subject), pointer, detail)


def _warning(code: str, subject: Subject, pointer: str, detail: str) -> Finding:
    return Finding(code, Severity.WARNING, str(subject), pointer, detail)


def _dangling(table: RoutingTable, written: tuple[Place, ...]) -> Iterator[Finding]:
    for place in written:
        hop = place.hop
        if isinstance(hop, ViaMap) and hop.name not in table.maps:
            detail = f"there is no relay map {hop.name}: make it first, or name another"
            yield _error("dangling-map", place.subject, place.pointer, detail)
        if isinstance(hop, ViaTable) and hop.name not in table.tables:
            detail = f"there is no table {hop.name}: make it first, or name another"
            yield _error("dangling-table", place.subject, place.pointer, detail)


def _credentials(table: RoutingTable, written: tuple[Place, ...]) -> Iterator[Finding]:
    for place in written:
        url = place.hop
        if not isinstance(url, RelayURL) or url.credential is None:
            continue
        credential = table.credentials.get(url.credential)
        if credential is None:
            detail = f"there is no credential {url.credential}: store it first"
            yield _error("dangling-credential", place.subject, place.pointer, detail)
        elif not credential.allows(url.host):
            detail = (
                f"the credential {url.credential} may not be sent to this host: whoever may write"
                " credentials can add the host to it"
            )
            yield _error("credential-not-for-host", place.subject, place.pointer, detail)


def _unused(table: RoutingTable, written: tuple[Place, ...]) -> Iterator[Finding]:
    named: set[NextHop] = {p.hop for p in written if isinstance(p.hop, ViaMap | ViaTable)}
    labels = {p.hop.credential for p in written if isinstance(p.hop, RelayURL)}
    detail = "nothing uses it"
    for name in table.maps:
        if ViaMap(name) not in named:
            yield _warning("unused-map", Subject(Kind.RELAY_MAP, name), "", detail)
    for name in table.tables:
        if ViaTable(name) not in named:
            yield _warning("unused-table", Subject(Kind.TABLE, name), "", detail)
    for label in table.credentials:
        if label not in labels:
            yield _warning("unused-credential", Subject(Kind.CREDENTIAL, label), "", detail)


def _rules_alone(table: RoutingTable) -> Iterator[Finding]:
    for rule in table.rules.values():
        for fault in faults_of(rule):
            yield _error(fault.code, _subject(rule), fault.pointer, fault.detail)


def _rules_and_relays(table: RoutingTable) -> Iterator[Finding]:
    known: dict[NextHop, tuple[RelayURL | ViaMx, ...]] = {}
    for rule in table.rules.values():
        if isinstance(rule.action, RelayAction) and _asks_of_relays(rule.action):
            via = rule.action.via
            if via not in known:
                known[via] = ends_of(table, via)
            yield from _rule_and_relays(table, _subject(rule), rule.action, known[via])


def _asks_of_relays(action: RelayAction) -> bool:
    return not action.tls_verify or action.ca is not None or bool(action.sources)


def _rule_and_relays(
    table: RoutingTable,
    subject: Subject,
    action: RelayAction,
    ends: tuple[RelayURL | ViaMx, ...],
) -> Iterator[Finding]:
    urls = [end for end in ends if isinstance(end, RelayURL)]
    if len(urls) < len(ends) or not all(url.tls.mandatory for url in urls):
        detail = "it speaks of relays whose TLS is mandatory, and a relay of this rule has none"
        if not action.tls_verify:
            yield _error("verify-needs-tls", subject, "/action/tls_verify", detail)
        if action.ca is not None:
            yield _error("verify-needs-tls", subject, "/action/ca", detail)
    if not action.tls_verify:
        yield from _unverified_labels(table, subject, urls)
    yield from _source_families(subject, action, urls)


def _unverified_labels(
    table: RoutingTable, subject: Subject, urls: list[RelayURL]
) -> Iterator[Finding]:
    for label in sorted({url.credential for url in urls if url.credential is not None}):
        credential = table.credentials.get(label)
        if credential is not None and not credential.allow_unverified:
            detail = (
                f"the credential {label} goes only to relays whose certificate is checked: whoever"
                " may write credentials can allow it"
            )
            yield _error("credential-needs-verify", subject, "/action/tls_verify", detail)


def _source_families(
    subject: Subject, action: RelayAction, urls: list[RelayURL]
) -> Iterator[Finding]:
    addresses = (host_address(url.host) for url in urls)
    families = {address.version for address in addresses if address is not None}
    for position, source in enumerate(action.sources):
        if families - {source.version}:
            detail = (
                f"an IPv{source.version} address cannot reach a relay of this rule that is given by"
                " an address of the other family"
            )
            yield _error("source-family", subject, f"/action/sources/{position}", detail)


def _order_of_rules(table: RoutingTable) -> Iterator[Finding]:
    for rule, above in shadowed(table):
        detail = f"{_subject(above)} comes first and takes all that this rule asks for"
        yield _warning("shadowed-rule", _subject(rule), "/match", detail)
    for rule, other in overlapping(table):
        detail = f"it shares mail with {_subject(other)} of the same priority: the names decide"
        yield _warning("overlapping-rules", _subject(rule), "/priority", detail)


def _subject(rule: Rule) -> Subject:
    return Subject(Kind.RULE, rule.name)


def _relay_urls(written: tuple[Place, ...]) -> Iterator[Finding]:
    for place in written:
        url = place.hop
        if not isinstance(url, RelayURL):
            continue
        if len(url.host) > LONGEST_HOST:
            detail = f"OpenSMTPD takes no host of more than {LONGEST_HOST} octets"
            yield _warning("long-host", place.subject, place.pointer, detail)
        if url.schema.startswith(OLD_SSL) and url.effective_port in _STARTTLS_PORTS:
            detail = (
                "this means TLS from the first byte, which port 25 and 587 do not speak: tls:// is"
                " probably meant"
            )
            yield _warning("ssl-on-starttls-port", place.subject, place.pointer, detail)


def _maps_at_rest(table: RoutingTable, down: frozenset[StateKey]) -> Iterator[Finding]:
    for relay_map in table.maps.values():
        subject = Subject(Kind.RELAY_MAP, relay_map.name)
        active = table.active_relays(relay_map)
        if not active:
            detail = "every relay is out of service: mail for this map waits"
            yield _warning("all-out", subject, "/relays", detail)
        elif is_all_down(table, relay_map, down):
            detail = "every relay in service is down: health is ignored for this map"
            yield _warning(ALL_DOWN, subject, "/relays", detail)


def is_all_down(table: RoutingTable, relay_map: RelayMap, down: Container[StateKey]) -> bool:
    """Whether a map has relays in service, and health says that none of them gets anything."""
    active = table.active_relays(relay_map)
    return bool(active) and all((relay_map.name, relay.name) in down for relay in active)
