"""Other routings over the actions that a daemon has, and what health says of their relays."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from app.render.generation import Target
from app.render.opensmtpd.expressible import live_reasons
from app.routing.check import errors
from app.routing.decision import HASHED_AT_ACCEPTANCE
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.routing.relay_map import OutOfService, RelayMap
from app.routing.routing_table import RoutingTable
from app.routing.rule import Rule
from app.routing.table import Entries, Table, TableKey, parse_key
from tests.mta.parity.expectation import Down
from tests.mta.parity.tables import POLICIES, entry_hop, keys, picking_otherwise, some_relays


def some_down(random: Random, table: RoutingTable) -> Down:
    """Answer a few relays, now and then all of a map."""
    down = ((name, some_relays(random, each)) for name, each in table.maps.items())
    return frozenset((name, relay) for name, relays in down for relay in relays)


def variation(
    random: Random, table: RoutingTable, target: Target, hits: Mapping[str, int]
) -> RoutingTable:
    """Answer a routing that means something else, and needs no action that the one given does not.

    Its rules do for other envelopes, in another order, what they did; maps pick otherwise; tables
    have other entries.
    """
    while True:
        maps = {name: _map(random, each, hits) for name, each in table.maps.items()}
        out = [(name, r) for name, each in maps.items() for r in some_relays(random, each)]
        varied = replace(
            table,
            revision=table.revision + 1,
            maps=maps,
            states=dict.fromkeys(out, OutOfService()),
            entries={
                name: _entries(random, table.tables[name], entries)
                for name, entries in table.entries.items()
            },
            rules=_rules(random, table.rules),
        )
        if not errors(varied) and not live_reasons(varied, target.version, target):
            return varied


def _map(random: Random, relay_map: RelayMap, hits: Mapping[str, int]) -> RelayMap:
    """Mail of a map that hashes when it comes in is queued by relay, and any other is not."""
    slots = relay_map.hash_key in HASHED_AT_ACCEPTANCE
    alike = [each for each in POLICIES if (each[1] in HASHED_AT_ACCEPTANCE) == slots]
    return picking_otherwise(random, relay_map, alike, hits)


def _entries(random: Random, table: Table, entries: Entries) -> dict[str, EntryHop]:
    found = {parse_key(table.key, text) for text in keys(random, table.key)}
    if table.key is TableKey.RECIPIENT_DOMAIN:  # whose entries are all reached by one action
        return {key: parse_entry_hop(entry_hop(random)) for key in sorted(found)}
    hops = list(dict.fromkeys(entries.values()))
    return {key: random.choice(hops) for key in sorted(found)}


def _rules(random: Random, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    matches = [rule.match for rule in rules.values()]
    random.shuffle(matches)
    return {
        name: replace(rule, match=match, priority=random.randrange(10, 40, 10))
        for (name, rule), match in zip(rules.items(), matches, strict=True)
    }
