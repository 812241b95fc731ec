"""Who uses what: where next hops are written, what they lead to, and who names a map or label."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.routing.change import Kind, Subject
from app.routing.next_hop import EntryHop, NextHop, ViaMap, ViaMx, ViaTable
from app.routing.relay_url import RelayURL
from app.routing.routing_table import RoutingTable
from app.routing.rule import RelayAction


@dataclass(frozen=True, slots=True)
class Place:
    """One place where a next hop is written.

    Attributes:
        subject: whose document holds it.
        pointer: where in that document.
    """

    subject: Subject
    pointer: str
    hop: NextHop


def places(table: RoutingTable) -> Iterator[Place]:
    """Every place where a next hop is written; of a table's equal entries the first alone."""
    for relay_map in table.maps.values():
        subject = Subject(Kind.RELAY_MAP, relay_map.name)
        for position, relay in enumerate(relay_map.relays):
            yield Place(subject, f"/relays/{position}/url", relay.url)
    for name, found in table.tables.items():
        if found.default is not None:
            yield Place(Subject(Kind.TABLE, name), "/default", found.default)
        for hop, key in distinct_hops(table, name).items():
            yield Place(Subject(Kind.ENTRY, name, key), "/via", hop)
    for rule in table.rules.values():
        if isinstance(rule.action, RelayAction):
            yield Place(Subject(Kind.RULE, rule.name), "/action/via", rule.action.via)


def distinct_hops(table: RoutingTable, name: str) -> dict[EntryHop, str]:
    """The next hops of a table's entries, each with the first key that has it, by name."""
    first: dict[EntryHop, str] = {}
    for key, hop in table.entries.get(name, {}).items():
        if key < first.setdefault(hop, key):
            first[hop] = key
    return first


def ends_of(table: RoutingTable, via: NextHop) -> tuple[RelayURL | ViaMx, ...]:
    """Every relay URL that a next hop may lead to, and `mx` if it may lead there."""
    if isinstance(via, ViaMap):
        relay_map = table.maps.get(via.name)
        return () if relay_map is None else tuple(relay.url for relay in relay_map.relays)
    if isinstance(via, ViaTable):
        found = table.tables.get(via.name)
        hops = dict.fromkeys(distinct_hops(table, via.name))
        if found is not None and found.default is not None:
            hops.setdefault(found.default)
        ends = dict.fromkeys(end for hop in hops for end in ends_of(table, hop))
        return tuple(ends)
    return (via,)


def relays_of(table: RoutingTable, via: NextHop) -> tuple[RelayURL, ...]:
    """Every relay URL that a next hop may lead to; empty for `mx`."""
    return tuple(end for end in ends_of(table, via) if isinstance(end, RelayURL))


def labels_in_use(table: RoutingTable) -> frozenset[str]:
    """The credential labels that the enabled rules may use."""
    hops = {r.action.via for r in table.ordered if isinstance(r.action, RelayAction)}
    urls = {url for hop in hops for url in relays_of(table, hop)}
    return frozenset(url.credential for url in urls if url.credential is not None)


def users_of(table: RoutingTable, subject: Subject) -> Iterator[Subject]:
    """Everything that names a map, a table or a credential, disabled rules too.

    Maps first, then rules, tables (for their default) and entries, each by name. Every entry is
    walked and each that names it is answered: a caller takes as many as it needs.
    """
    names = _naming(subject)
    last: Subject | None = None
    for where, hop in _hops(table):
        if where != last and names(hop):
            last = where
            yield where


def _naming(subject: Subject) -> Callable[[NextHop], bool]:
    if subject.kind is Kind.RELAY_MAP:
        return lambda hop: isinstance(hop, ViaMap) and hop.name == subject.name
    if subject.kind is Kind.TABLE:
        return lambda hop: isinstance(hop, ViaTable) and hop.name == subject.name
    return lambda hop: isinstance(hop, RelayURL) and hop.credential == subject.name


def _hops(table: RoutingTable) -> Iterator[tuple[Subject, NextHop]]:
    for name in sorted(table.maps):
        subject = Subject(Kind.RELAY_MAP, name)
        yield from ((subject, relay.url) for relay in table.maps[name].relays)
    for name in sorted(table.rules):
        action = table.rules[name].action
        if isinstance(action, RelayAction):
            yield Subject(Kind.RULE, name), action.via
    for name in sorted(table.tables):
        default = table.tables[name].default
        if default is not None:
            yield Subject(Kind.TABLE, name), default
    for name in sorted(table.entries):
        for key, hop in table.entries[name].items():
            yield Subject(Kind.ENTRY, name, key), hop
