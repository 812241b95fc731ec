"""Findings: what is wrong with a whole routing, or looks as if it were not meant.

An error refuses the write that makes it; a warning does not. A finding names our own objects and
repeats no other text that somebody sent.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.routing.change import Kind, Subject
from app.routing.credential import Credential
from app.routing.errors import Fault
from app.routing.hop_kinds import RelayKind, labels_in
from app.routing.next_hop import (
    LONGEST_HOST,
    NextHop,
    ViaMap,
    ViaMx,
    ViaTable,
    is_long,
    is_old_ssl_on_starttls,
    is_plain,
)
from app.routing.overlaps import overlapping, shadowed
from app.routing.relay_map import RelayMap
from app.routing.relay_url import RelayURL
from app.routing.remembered import remembered
from app.routing.routing_table import Pools, RoutingTable, StateKey
from app.routing.rule import RelayAction, Rule, faults_of
from app.routing.rule_index import RuleBook
from app.routing.table import Table
from app.routing.uses import (
    Named,
    Place,
    doubtful_in_entries,
    in_maps,
    in_rules,
    in_tables,
    kinds_to,
    named_by,
    named_by_entries,
)

ALL_DOWN = "all-down"


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
    found = [
        *_written(table),
        *_rules_alone(table.rules),
        *_rules_and_relays(table),
        *_order_of_rules(table.book, table.tables),
        *_unused(table),
        *_all_out(table.maps, table.pools),
        *_all_down(table, down),
    ]
    return tuple(sorted(found, key=lambda f: (f.severity is not Severity.ERROR, f.subject, f.code)))


def errors(table: RoutingTable) -> tuple[Finding, ...]:
    """The findings that refuse a write."""
    return tuple(f for f in findings(table) if f.severity is Severity.ERROR)


def missing_credentials(table: RoutingTable) -> tuple[Fault, ...]:
    """The labels that a routing uses and may not: gone, or not for that host or that rule."""
    return tuple(
        Fault(f.code, f"{f.subject}: {f.detail}", f.pointer)
        for f in (*_written(table), *_rules_and_relays(table))
        if f.code in _ABOUT_CREDENTIALS
    )


_ABOUT_CREDENTIALS = frozenset(
    {"dangling-credential", "credential-not-for-host", "credential-needs-verify"}
)


def _error(code: str, subject: Subject, pointer: str, detail: str) -> Finding:
    return Finding(code, Severity.ERROR, str(subject), pointer, detail)


def _warning(code: str, subject: Subject, pointer: str, detail: str) -> Finding:
    return Finding(code, Severity.WARNING, str(subject), pointer, detail)


Maps = Mapping[str, RelayMap]
Tables = Mapping[str, Table]
Credentials = Mapping[str, Credential]


def _written(table: RoutingTable) -> Iterator[Finding]:
    """What is wrong with next hops where they are written; of entries few are looked at."""
    there = (table.maps, table.tables, table.credentials)
    yield from _of_places(in_maps(table.maps), *there)
    yield from _of_places(in_tables(table.tables), *there)
    yield from _of_places(in_rules(table.rules), *there)
    for place in doubtful_in_entries(table):
        yield from _of_place(place, *there)


@remembered
def _of_places(
    written: tuple[Place, ...], maps: Maps, tables: Tables, credentials: Credentials
) -> tuple[Finding, ...]:
    return tuple(f for place in written for f in _of_place(place, maps, tables, credentials))


def _of_place(
    place: Place, maps: Maps, tables: Tables, credentials: Credentials
) -> Iterator[Finding]:
    hop = place.hop
    if isinstance(hop, RelayURL):
        if not is_plain(hop):
            yield from _credential(place, hop, credentials)
            yield from _relay_url(place, hop)
    elif isinstance(hop, ViaMap) and hop.name not in maps:
        detail = f"there is no relay map {hop.name}: make it first, or name another"
        yield _error("dangling-map", place.subject, place.pointer, detail)
    elif isinstance(hop, ViaTable) and hop.name not in tables:
        detail = f"there is no table {hop.name}: make it first, or name another"
        yield _error("dangling-table", place.subject, place.pointer, detail)


def _credential(place: Place, url: RelayURL, credentials: Credentials) -> Iterator[Finding]:
    if url.credential is None:
        return
    credential = credentials.get(url.credential)
    if credential is None:
        detail = f"there is no credential {url.credential}: store it first"
        yield _error("dangling-credential", place.subject, place.pointer, detail)
    elif not credential.allows(url.host):
        detail = (
            f"the credential {url.credential} may not be sent to this host: whoever may write"
            " credentials can add the host to it"
        )
        yield _error("credential-not-for-host", place.subject, place.pointer, detail)


def _relay_url(place: Place, url: RelayURL) -> Iterator[Finding]:
    if is_long(url):
        detail = f"OpenSMTPD takes no host of more than {LONGEST_HOST} octets"
        yield _warning("long-host", place.subject, place.pointer, detail)
    if is_old_ssl_on_starttls(url):
        detail = (
            "this means TLS from the first byte, which port 25 and 587 do not speak: tls:// is"
            " probably meant"
        )
        yield _warning("ssl-on-starttls-port", place.subject, place.pointer, detail)


def _unused(table: RoutingTable) -> Iterator[Finding]:
    idle = _idle_but_for_entries(table.maps, table.tables, table.credentials, table.rules)
    if not idle:
        return
    of_entries = named_by_entries(table)
    yield from (finding for named, finding in idle.items() if named not in of_entries)


@remembered
def _idle_but_for_entries(
    maps: Maps, tables: Tables, credentials: Credentials, rules: Mapping[str, Rule]
) -> Mapping[Named, Finding]:
    """What nothing names but an entry perhaps, with the finding that it is if none does."""
    named = named_by((*in_maps(maps), *in_tables(tables), *in_rules(rules)))
    there: list[tuple[Named, str, Subject]] = [
        *((ViaMap(name), "unused-map", Subject(Kind.RELAY_MAP, name)) for name in maps),
        *((ViaTable(name), "unused-table", Subject(Kind.TABLE, name)) for name in tables),
        *((lb, "unused-credential", Subject(Kind.CREDENTIAL, lb)) for lb in credentials),
    ]
    return {
        each: _warning(code, subject, "", "nothing uses it")
        for each, code, subject in there
        if each not in named
    }


@remembered
def _rules_alone(rules: Mapping[str, Rule]) -> tuple[Finding, ...]:
    return tuple(
        _error(fault.code, _subject(rule), fault.pointer, fault.detail)
        for rule in rules.values()
        for fault in faults_of(rule)
    )


def _rules_and_relays(table: RoutingTable) -> Iterator[Finding]:
    known: dict[NextHop, frozenset[RelayKind | ViaMx]] = {}
    for subject, action in _asking_of_relays(table.rules):
        if action.via not in known:
            known[action.via] = kinds_to(table, action.via)
        yield from _rule_and_relays(table, subject, action, known[action.via])


@remembered
def _asking_of_relays(rules: Mapping[str, Rule]) -> tuple[tuple[Subject, RelayAction], ...]:
    return tuple(
        (_subject(rule), rule.action)
        for rule in rules.values()
        if isinstance(rule.action, RelayAction) and _asks_of_relays(rule.action)
    )


def _asks_of_relays(action: RelayAction) -> bool:
    return not action.tls_verify or action.ca is not None or bool(action.sources)


def _rule_and_relays(
    table: RoutingTable,
    subject: Subject,
    action: RelayAction,
    ends: frozenset[RelayKind | ViaMx],
) -> Iterator[Finding]:
    relays = [end for end in ends if isinstance(end, RelayKind)]
    if len(relays) < len(ends) or not all(relay.mandatory for relay in relays):
        detail = "it speaks of relays whose TLS is mandatory, and a relay of this rule has none"
        if not action.tls_verify:
            yield _error("verify-needs-tls", subject, "/action/tls_verify", detail)
        if action.ca is not None:
            yield _error("verify-needs-tls", subject, "/action/ca", detail)
    if not action.tls_verify:
        yield from _unverified_labels(table, subject, relays)
    yield from _source_families(subject, action, relays)


def _unverified_labels(
    table: RoutingTable, subject: Subject, relays: list[RelayKind]
) -> Iterator[Finding]:
    for label in sorted(labels_in(relays)):
        credential = table.credentials.get(label)
        if credential is not None and not credential.allow_unverified:
            detail = (
                f"the credential {label} goes only to relays whose certificate is checked: whoever"
                " may write credentials can allow it"
            )
            yield _error("credential-needs-verify", subject, "/action/tls_verify", detail)


def _source_families(
    subject: Subject, action: RelayAction, relays: list[RelayKind]
) -> Iterator[Finding]:
    families = {relay.family for relay in relays if relay.family is not None}
    for position, source in enumerate(action.sources):
        if families - {source.version}:
            detail = (
                f"an IPv{source.version} address cannot reach a relay of this rule that is given by"
                " an address of the other family"
            )
            yield _error("source-family", subject, f"/action/sources/{position}", detail)


@remembered
def _order_of_rules(book: RuleBook, tables: Tables) -> tuple[Finding, ...]:
    found: list[Finding] = []
    for rule, above in shadowed(book.ordered, tables):
        detail = f"{_subject(above)} comes first and takes all that this rule asks for"
        found.append(_warning("shadowed-rule", _subject(rule), "/match", detail))
    for rule, other in overlapping(book.ordered):
        detail = f"it shares mail with {_subject(other)} of the same priority: the names decide"
        found.append(_warning("overlapping-rules", _subject(rule), "/priority", detail))
    return tuple(found)


def _subject(rule: Rule) -> Subject:
    return Subject(Kind.RULE, rule.name)


@remembered
def _all_out(maps: Maps, pools: Pools) -> tuple[Finding, ...]:
    detail = "every relay is out of service: mail for this map waits"
    return tuple(
        _warning("all-out", Subject(Kind.RELAY_MAP, name), "/relays", detail)
        for name, relay_map in maps.items()
        if not pools.active(relay_map)
    )


def _all_down(table: RoutingTable, down: frozenset[StateKey]) -> Iterator[Finding]:
    detail = "every relay in service is down: health is ignored for this map"
    for name in {name for name, _ in down} & table.maps.keys():
        if is_all_down(table, table.maps[name], down):
            yield _warning(ALL_DOWN, Subject(Kind.RELAY_MAP, name), "/relays", detail)


def is_all_down(table: RoutingTable, relay_map: RelayMap, down: Container[StateKey]) -> bool:
    """Whether a map has relays in service, and health says that none of them gets anything."""
    active = table.active_relays(relay_map)
    return bool(active) and all((relay_map.name, relay.name) in down for relay in active)
