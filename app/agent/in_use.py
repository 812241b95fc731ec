"""The relays that an MTA may hand mail to through its maps, and how each one's rules check it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from app.agent.health import InUse
from app.routing.decision import HopsOf
from app.routing.live_file import Structure
from app.routing.next_hop import EntryHop, ViaMap, ViaTable
from app.routing.relay_map import RelayMap
from app.routing.rule import RelayAction
from app.routing.table import TableKey


@dataclass(frozen=True, slots=True)
class _Check:
    """How certificates are checked for mail of one rule."""

    verify: bool
    ca_file: Path | None


def relays_in_use(structure: Structure, hops: HopsOf, cas: Mapping[str, str]) -> list[InUse]:
    """Every relay of a map, once, as the strictest rule that may use it checks it.

    Args:
        structure: of the live file.
        hops: the different next hops of tables whose entries decide when mail comes in.
        cas: the file of each CA that the operator declares.
    """
    found: dict[tuple[str, str], InUse] = {}
    for rule in structure.rules.values():
        if isinstance(rule.action, RelayAction):
            check = _Check(rule.action.tls_verify, _file(rule.action, cas))
            for relay_map in _maps(structure, rule.action, hops):
                for each in _relays(structure, relay_map, check):
                    found[each.name] = _stricter(found.get(each.name), each)
    for relay_map in structure.maps.values():  # mail of retired rules may wait for any of them
        for each in _relays(structure, relay_map, _Check(verify=True, ca_file=None)):
            found.setdefault(each.name, each)
    return list(found.values())


def _file(action: RelayAction, cas: Mapping[str, str]) -> Path | None:
    path = None if action.ca is None else cas.get(action.ca)
    return None if path is None else Path(path)


def _maps(structure: Structure, action: RelayAction, hops: HopsOf) -> Iterator[RelayMap]:
    via = action.via
    if isinstance(via, ViaTable):
        table = structure.tables[via.name]
        if table.key is TableKey.RECIPIENT_DOMAIN:
            # Its entries are not looked through: it may lead to any map.
            yield from structure.maps.values()
            return
        named: tuple[EntryHop | None, ...] = (*hops(via.name), table.default)
        yield from (structure.maps[hop.name] for hop in named if isinstance(hop, ViaMap))
    elif isinstance(via, ViaMap):
        yield structure.maps[via.name]


def _relays(structure: Structure, relay_map: RelayMap, check: _Check) -> Iterator[InUse]:
    for relay in relay_map.relays:
        secure = relay.url.tls.mandatory
        yield InUse(
            relay_map.name,
            relay.name,
            relay.url,
            verify=check.verify if secure else None,
            ca_file=check.ca_file if secure else None,
            active=(relay_map.name, relay.name) not in structure.states,
        )


def _stricter(one: InUse | None, other: InUse) -> InUse:
    if one is None:
        return other
    strict = other if other.verify and not one.verify else one
    return replace(strict, ca_file=strict.ca_file or one.ca_file or other.ca_file)
