"""Why a rule cannot be said to an OpenSMTPD, rule by rule: every reason at once."""

from collections.abc import Callable, Iterator

from app.render.generation import Target
from app.render.opensmtpd.limits import MAX_LIST_LINES_IN_ALL
from app.render.opensmtpd.rows import Version, refusal
from app.routing.credential import may_log_in
from app.routing.errors import Reason
from app.routing.hop_kinds import HopKind, RelayKind, labels_in
from app.routing.names import IPAddress
from app.routing.next_hop import ViaMap, ViaTable
from app.routing.relay_map import Policy, RelayMap
from app.routing.routing_table import RoutingTable
from app.routing.rule import RelayAction, Rule
from app.routing.uses import kinds_of, kinds_to, urls_to_ask

Found = Iterator[tuple[str, str]]
"""Codes of rows that a rule meets, each with what of it does; the rows know the versions."""
Kinds = frozenset[HopKind]
"""The kinds of next hops that a rule may lead to."""


def rule_reasons(
    table: RoutingTable, rule: Rule, version: Version, target: Target | None
) -> tuple[Reason, ...]:
    """Why one rule cannot be said, sizes apart.

    Args:
        table: the routing that the rule is of.
        rule: a rule of it.
        version: of OpenSMTPD.
        target: the MTA; None: only what holds for every MTA of that version.
    """
    if not isinstance(rule.action, RelayAction):
        return ()
    subject = f"rules/{rule.name}"
    found = [*_too_big(table, rule.action)]
    found = found or [*_dangling(table, rule.action)]
    if not found:
        kinds = kinds_of(table, rule.action.via)
        for check in _CHECKS:
            found.extend(check(table, rule.action, kinds))
        if target is not None:
            found.extend(_unknown_to(target, rule.action))
    reasons = (refusal(code, version, subject, detail) for code, detail in dict.fromkeys(found))
    return tuple(reason for reason in reasons if reason is not None)


def live_reasons(
    table: RoutingTable, version: Version, target: Target | None
) -> tuple[Reason, ...]:
    """Why a routing cannot be said to an OpenSMTPD that asks the table program, sizes apart.

    Args:
        table: the routing.
        version: of OpenSMTPD.
        target: the MTA; None: only what holds for every MTA of that version.
    """
    old = refusal("too-old", version, "version", live=True)
    if old is not None:
        return (old,)
    reasons: list[Reason | None] = []
    for rule in table.ordered:
        if not isinstance(rule.action, RelayAction):
            continue
        found = [*_dangling(table, rule.action)]
        if not found:
            kinds = kinds_of(table, rule.action.via)
            found.extend(f for check in _CHECKS for f in check(table, rule.action, kinds))
            found.extend(() if target is None else _unknown_to(target, rule.action))
        reasons.extend(
            refusal(code, version, f"rules/{rule.name}", detail, live=True)
            for code, detail in dict.fromkeys(found)
        )
    return tuple(reason for reason in reasons if reason is not None)


def _too_big(table: RoutingTable, action: RelayAction) -> Found:
    """Tables of millions of entries are no business of static files: not even looked through."""
    if isinstance(action.via, ViaTable):
        size = len(table.entries.get(action.via.name, {}))
        if size > MAX_LIST_LINES_IN_ALL:
            yield "list-lines", f"table {action.via.name} has {size} entries"


def _dangling(table: RoutingTable, action: RelayAction) -> Found:
    if isinstance(action.via, ViaTable) and action.via.name not in table.tables:
        yield "dangling", f"table {action.via.name} does not exist"
        return
    for hop in kinds_of(table, action.via):
        if isinstance(hop, ViaMap) and hop.name not in table.maps:
            yield "dangling", f"relay map {hop.name} does not exist"


def _maps(table: RoutingTable, action: RelayAction, kinds: Kinds) -> Found:
    del action
    for kind in kinds:
        if isinstance(kind, ViaMap):
            yield from _map(table.maps[kind.name])


def _map(relay_map: RelayMap) -> Found:
    # What counts are the relays of the map, in service or not: taking one out and back must
    # never make a routing inexpressible.
    if len(relay_map.relays) < 2:
        return
    name = f"relay map {relay_map.name}"
    if relay_map.policy is not Policy.ROUND_ROBIN:
        yield "policy", f"{name} has policy {relay_map.policy.value}"
    if len({relay.priority for relay in relay_map.relays}) > 1:
        yield "priority", f"{name} has relays of different priority"
    if len({relay.url.tls.mandatory for relay in relay_map.relays}) > 1:
        yield "mixed-tls", f"{name} mixes relays with mandatory TLS and others"


def _tls(table: RoutingTable, action: RelayAction, kinds: Kinds) -> Found:
    del kinds
    if action.tls_verify and action.ca is None:
        return
    if not action.tls_verify and action.ca is not None:
        yield "ca-unverified", ""
    if not all(
        isinstance(each, RelayKind) and each.mandatory for each in kinds_to(table, action.via)
    ):
        yield "verify-needs-tls", "a next hop is without mandatory TLS"


def _certificate(table: RoutingTable, action: RelayAction, kinds: Kinds) -> Found:
    del table, kinds
    if action.certificate is not None:
        yield "certificate", ""


def _hosts(table: RoutingTable, action: RelayAction, kinds: Kinds) -> Found:
    del kinds
    versions = {source.version for source in action.sources}
    for relay in kinds_to(table, action.via):
        if not isinstance(relay, RelayKind):
            continue
        if relay.too_long:
            yield "host-length", f"a relay's host name has {relay.too_long} characters"
        if relay.family is not None and versions - {relay.family}:
            yield "source-family", f"a relay is given by an IPv{relay.family} address"


def _labels(table: RoutingTable, action: RelayAction, kinds: Kinds) -> Found:
    del kinds
    barred = [
        url.credential
        for url in urls_to_ask(table, action.via)
        if not may_log_in(table.credentials, url, verified=action.tls_verify)
    ]
    if not action.tls_verify:
        labels = labels_in(kinds_to(table, action.via))
        given = {label: table.credentials.get(label) for label in labels}
        barred += [lb for lb, each in given.items() if each is None or not each.allow_unverified]
    for label in barred:
        yield "credential", f"label {label}"


def _unknown_to(target: Target, action: RelayAction) -> Found:
    if action.certificate is not None and action.certificate not in target.certificates:
        yield "certificate-unknown", f"certificate {action.certificate}"
    if action.ca is not None and action.ca not in target.cas:
        yield "ca-unknown", f"CA {action.ca}"
    own = set(target.addresses if target.present is None else target.present)
    for source in action.sources:
        if not _is_own(source, own):
            yield "source-unknown", f"source {source}"


def _is_own(address: IPAddress, own: set[IPAddress]) -> bool:
    # All of 127.0.0.0/8 can be bound, though only addresses of an interface count as `local`.
    return address.is_loopback or address in own


_CHECKS: tuple[Callable[[RoutingTable, RelayAction, Kinds], Found], ...] = (
    _maps,
    _tls,
    _certificate,
    _hosts,
    _labels,
)
"""In both modes: a row knows which it speaks of."""
