"""Who uses what: where next hops are written, what they lead to, and who names a map or label."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from app.routing.change import Kind, Subject
from app.routing.entries import TableEntries
from app.routing.hop_kinds import HopKind, RelayKind, hop_of, kind_of, labels_in, named_in
from app.routing.next_hop import NextHop, ViaMap, ViaMx, ViaTable
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


def doubtful_in_entries(table: RoutingTable) -> Iterator[Place]:
    """The places in entries where something may be wrong; of a table's equal entries there is one.

    It costs as much as there are of them, and kinds of next hops.
    """
    for name in table.tables:
        entries, subject = table.entries_of(name), Subject(Kind.TABLE, name)
        maps = (kind for kind in entries.kinds if isinstance(kind, ViaMap))
        for hop in (*maps, *map(hop_of, entries.doubtful(table.credentials))):
            yield Place(subject, "/via", hop, entries)


@remembered
def in_rules(rules: Mapping[str, Rule]) -> tuple[Place, ...]:
    """The places in rules."""
    return tuple(
        Place(Subject(Kind.RULE, rule.name), "/action/via", rule.action.via)
        for rule in rules.values()
        if isinstance(rule.action, RelayAction)
    )


Named = ViaMap | ViaTable | str
"""A map, a table, or the label of a credential."""


def named_by(written: Iterable[Place]) -> set[Named]:
    """What is named in some places."""
    hops = {place.hop for place in written}
    labels = {hop.credential for hop in hops if isinstance(hop, RelayURL) and hop.credential}
    return {hop for hop in hops if isinstance(hop, ViaMap | ViaTable)} | labels


def named_by_entries(table: RoutingTable) -> set[Named]:
    """What is named by entries."""
    return {named for name in table.tables for named in named_in(table.entries_of(name).kinds)}


def kinds_to(table: RoutingTable, via: NextHop) -> frozenset[RelayKind | ViaMx]:
    """The kinds of all relays that a next hop may lead to, and `mx` if it may lead there."""
    found: set[RelayKind | ViaMx] = set()
    for kind in kinds_of(table, via):
        if isinstance(kind, ViaMap):
            relay_map = table.maps.get(kind.name)
            found |= frozenset() if relay_map is None else _kinds_in(relay_map)
        else:
            found.add(kind)
    return frozenset(found)


def kinds_of(table: RoutingTable, via: NextHop) -> frozenset[HopKind]:
    """The kind of a next hop; of a table, those of its entries and of its default."""
    if not isinstance(via, ViaTable):
        return frozenset({kind_of(via)})
    found = table.tables.get(via.name)
    default = None if found is None else found.default
    return frozenset(
        (*table.entries_of(via.name).kinds, *(() if default is None else (kind_of(default),)))
    )


def urls_to_ask(table: RoutingTable, via: NextHop) -> Iterator[RelayURL]:
    """The relay URLs that a next hop may lead to, less entries whose kind tells all of them.

    Of those that are left out each credential is there, and for their host.
    """
    if isinstance(via, RelayURL):
        yield via
    elif isinstance(via, ViaMap):
        relay_map = table.maps.get(via.name)
        yield from () if relay_map is None else (relay.url for relay in relay_map.relays)
    elif isinstance(via, ViaTable):
        entries, found = table.entries_of(via.name), table.tables.get(via.name)
        default = () if found is None or found.default is None else (found.default,)
        maps = (kind for kind in entries.kinds if isinstance(kind, ViaMap))
        for hop in (*default, *maps, *map(hop_of, entries.doubtful(table.credentials))):
            yield from urls_to_ask(table, hop)


@lru_cache(maxsize=4096)
def _kinds_in(relay_map: RelayMap) -> frozenset[RelayKind | ViaMx]:
    return frozenset(kind_of(relay.url) for relay in relay_map.relays)  # type: ignore[misc]


def labels_in_use(table: RoutingTable) -> frozenset[str]:
    """The credential labels that the enabled rules may use."""
    hops = {r.action.via for r in table.ordered if isinstance(r.action, RelayAction)}
    return frozenset(label for hop in hops for label in labels_in(kinds_to(table, hop)))


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
