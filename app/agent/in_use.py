"""The relays that an MTA may hand mail to through its maps, and how each one's rules check it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from app.agent.health import InUse
from app.routing.next_hop import EntryHop, ViaMap, ViaTable
from app.routing.relay_map import RelayMap
from app.routing.routing_table import RoutingTable
from app.routing.rule import RelayAction
from app.routing.table import TableKey


@dataclass(frozen=True, slots=True)
class _Check:
    """How certificates are checked for mail of one rule."""

    verify: bool
    ca_file: Path | None


def relays_in_use(
    table: RoutingTable, retired: RoutingTable, cas: Mapping[str, str]
) -> list[InUse]:
    """Every relay of a map, once, as the strictest rule that may use it checks it.

    Args:
        table: the routing.
        retired: the maps that it no longer has, and mail may still be queued for.
        cas: the file of each CA that the operator declares.
    """
    found: dict[tuple[str, str], InUse] = {}
    for rule in table.ordered:
        if isinstance(rule.action, RelayAction):
            check = _Check(rule.action.tls_verify, _file(rule.action, cas))
            for routing, relay_map in _maps(table, retired, rule.action):
                for each in _relays(routing, relay_map, check):
                    found[each.name] = _stricter(found.get(each.name), each)
    for routing in (table, retired):  # mail of retired rules may wait for any of them
        for relay_map in routing.maps.values():
            for each in _relays(routing, relay_map, _Check(verify=True, ca_file=None)):
                found.setdefault(each.name, each)
    return list(found.values())


def _file(action: RelayAction, cas: Mapping[str, str]) -> Path | None:
    path = None if action.ca is None else cas.get(action.ca)
    return None if path is None else Path(path)


def _maps(
    table: RoutingTable, retired: RoutingTable, action: RelayAction
) -> Iterator[tuple[RoutingTable, RelayMap]]:
    """The maps that mail of an action may go through, each with the routing that has it."""
    via = action.via
    if isinstance(via, ViaTable):
        found = table.tables[via.name]
        if found.key is TableKey.RECIPIENT_DOMAIN:
            # Its entries are not looked through: it may lead to any map, and may have led there.
            for routing in (table, retired):
                yield from ((routing, relay_map) for relay_map in routing.maps.values())
            return
        named: tuple[EntryHop | None, ...] = (
            *(kind for kind in table.entries_of(via.name).kinds if isinstance(kind, ViaMap)),
            found.default,
        )
        yield from ((table, table.maps[hop.name]) for hop in named if isinstance(hop, ViaMap))
    elif isinstance(via, ViaMap):
        yield table, table.maps[via.name]


def _relays(table: RoutingTable, relay_map: RelayMap, check: _Check) -> Iterator[InUse]:
    for relay in relay_map.relays:
        secure = relay.url.tls.mandatory
        yield InUse(
            relay_map.name,
            relay.name,
            relay.url,
            verify=check.verify if secure else None,
            ca_file=check.ca_file if secure else None,
            active=not table.is_out(relay_map.name, relay.name),
        )


def _stricter(one: InUse | None, other: InUse) -> InUse:
    if one is None:
        return other
    strict = other if other.verify and not one.verify else one
    return replace(strict, ca_file=strict.ca_file or one.ca_file or other.ca_file)
