"""Why a rule cannot be said to an OpenSMTPD, rule by rule: every reason at once."""

from collections.abc import Callable, Iterator

from app.render.generation import Target
from app.render.opensmtpd.actions import relays
from app.render.opensmtpd.limits import MAX_HOST, MAX_LIST_LINES_IN_ALL
from app.render.opensmtpd.rows import Version, refusal
from app.routing.credential import may_log_in
from app.routing.errors import Reason
from app.routing.names import IPAddress, host_address
from app.routing.next_hop import EntryHop, ViaMap, ViaTable
from app.routing.relay_map import Policy, RelayMap
from app.routing.routing_table import RoutingTable
from app.routing.rule import RelayAction, Rule

Found = Iterator[tuple[str, str]]
"""Codes of rows that a rule meets, each with what of it does; the rows know the versions."""


def hops_of(table: RoutingTable, action: RelayAction) -> tuple[EntryHop, ...]:
    """The next hops that an action may lead to, each once."""
    if not isinstance(action.via, ViaTable):
        return (action.via,)
    hops = dict.fromkeys(table.entries_of(action.via.name).hops)
    default = table.tables[action.via.name].default
    if default is not None:
        hops.setdefault(default)
    return tuple(hops)


def _to_check(table: RoutingTable, action: RelayAction) -> tuple[EntryHop, ...]:
    """The next hops against which something may be said, each once.

    Against a plain relay only what the action asks of its TLS or its address can be said: most of
    a million entries need not be looked at for every rule.
    """
    asks = not action.tls_verify or action.ca is not None or bool(action.sources)
    if asks or not isinstance(action.via, ViaTable):
        return hops_of(table, action)
    default = table.tables[action.via.name].default
    noted = table.entries_of(action.via.name).noted
    return tuple(dict.fromkeys((*noted, *(() if default is None else (default,)))))


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
        hops = _to_check(table, rule.action)
        for check in _CHECKS:
            found.extend(check(table, rule.action, hops))
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
            hops = _to_check(table, rule.action)
            found.extend(f for check in _CHECKS for f in check(table, rule.action, hops))
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
    for hop in _to_check(table, action):
        if isinstance(hop, ViaMap) and hop.name not in table.maps:
            yield "dangling", f"relay map {hop.name} does not exist"


def _maps(table: RoutingTable, action: RelayAction, hops: tuple[EntryHop, ...]) -> Found:
    del action
    for hop in hops:
        if isinstance(hop, ViaMap):
            yield from _map(table.maps[hop.name])


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


def _tls(table: RoutingTable, action: RelayAction, hops: tuple[EntryHop, ...]) -> Found:
    if action.tls_verify and action.ca is None:
        return
    if not action.tls_verify and action.ca is not None:
        yield "ca-unverified", ""
    for hop in hops:
        urls = relays(table, hop)
        if not urls or not all(url.tls.mandatory for url in urls):
            yield "verify-needs-tls", "a next hop is without mandatory TLS"


def _certificate(table: RoutingTable, action: RelayAction, hops: tuple[EntryHop, ...]) -> Found:
    del table, hops
    if action.certificate is not None:
        yield "certificate", ""


def _hosts(table: RoutingTable, action: RelayAction, hops: tuple[EntryHop, ...]) -> Found:
    versions = {source.version for source in action.sources}
    for url in (url for hop in hops for url in relays(table, hop)):
        if len(url.host) > MAX_HOST:
            yield "host-length", f"a relay's host name has {len(url.host)} characters"
        address = host_address(url.host)
        if address is not None and versions - {address.version}:
            yield "source-family", f"a relay is given by an IPv{address.version} address"


def _labels(table: RoutingTable, action: RelayAction, hops: tuple[EntryHop, ...]) -> Found:
    for url in (url for hop in hops for url in relays(table, hop)):
        if not may_log_in(table.credentials, url, verified=action.tls_verify):
            yield "credential", f"label {url.credential}"


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


_CHECKS: tuple[Callable[[RoutingTable, RelayAction, tuple[EntryHop, ...]], Found], ...] = (
    _maps,
    _tls,
    _certificate,
    _hosts,
    _labels,
)
"""In both modes: a row knows which it speaks of."""
