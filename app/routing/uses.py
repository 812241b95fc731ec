"""Who uses what: where next hops are written, what they lead to, and who names a map or label."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.routing.change import Kind, Subject
from app.routing.entries import TableEntries
from app.routing.next_hop import EntryHop, NextHop, ViaMap, ViaMx, ViaTable
from app.routing.relay_map import RelayMap
from app.routing.relay_url import RelayURL
from app.routing.remembered import remembered
from app.routing.routing_table import RoutingTable
from app.routing.rule import RelayAction, Rule
from app.routing.table import Table


@dataclass(frozen=True, slots=True)
class Place:
    """One place where a next hop is written.

    Attributes:
        owner: the map, rule or table whose document holds it, or the table of those entries.
        pointer: where in that document, or in that of an entry.
        entries: of which some have it; None: they are not what holds it.
    """

    owner: Subject
    pointer: str
    hop: NextHop
    entries: TableEntries | None = None

    @property
    def subject(self) -> Subject:
        """Whose document holds it; of entries the first, by name, and that takes looking."""
        if self.entries is None:
            return self.owner
        key = self.entries.first_key(self.hop)  # type: ignore[arg-type]
        return Subject(Kind.ENTRY, self.owner.name, key)


def places(table: RoutingTable) -> Iterator[Place]:
    """Every place where a next hop is written, but for entries whose next hop is plain.

    Of a table's equal entries there is one place.
    """
    yield from in_maps(table.maps)
    yield from in_tables(table.tables)
    yield from in_entries(table)
    yield from in_rules(table.rules)


@remembered
def in_maps(maps: Mapping[str, RelayMap]) -> tuple[Place, ...]:
    """The places in maps."""
    subjects = ((Subject(Kind.RELAY_MAP, name), found) for name, found in maps.items())
    return tuple(
        Place(subject, f"/relays/{position}/url", relay.url)
        for subject, found in subjects
        for position, relay in enumerate(found.relays)
    )


@remembered
def in_tables(tables: Mapping[str, Table]) -> tuple[Place, ...]:
    """The places in tables, but for their entries."""
    return tuple(
        Place(Subject(Kind.TABLE, name), "/default", found.default)
        for name, found in tables.items()
        if found.default is not None
    )


def in_entries(table: RoutingTable) -> tuple[Place, ...]:
    """The places in entries, as `places` has them."""
    return tuple(
        Place(Subject(Kind.TABLE, name), "/via", hop, table.entries_of(name))
        for name in table.tables
        for hop in table.entries_of(name).noted
    )


@remembered
def in_rules(rules: Mapping[str, Rule]) -> tuple[Place, ...]:
    """The places in rules."""
    return tuple(
        Place(Subject(Kind.RULE, rule.name), "/action/via", rule.action.via)
        for rule in rules.values()
        if isinstance(rule.action, RelayAction)
    )


def ends_of(table: RoutingTable, via: NextHop) -> tuple[RelayURL | ViaMx, ...]:
    """Every relay URL that a next hop may lead to, and `mx` if it may lead there."""
    if isinstance(via, ViaMap):
        relay_map = table.maps.get(via.name)
        return () if relay_map is None else tuple(relay.url for relay in relay_map.relays)
    if isinstance(via, ViaTable):
        found = table.tables.get(via.name)
        hops: dict[EntryHop, None] = dict.fromkeys(table.entries_of(via.name).hops)
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
    labels = {label for hop in hops for label in _labels_of(table, hop)}
    return frozenset(labels)


def _labels_of(table: RoutingTable, via: NextHop) -> Iterator[str]:
    """The labels in the relay URLs that a next hop may lead to."""
    hops: Iterable[NextHop] = (via,)
    if isinstance(via, ViaTable):
        found = table.tables.get(via.name)
        default = () if found is None or found.default is None else (found.default,)
        hops = (*default, *table.entries_of(via.name).noted)
    for hop in hops:
        for url in relays_of(table, hop):
            if url.credential is not None:
                yield url.credential


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
