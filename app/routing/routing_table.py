"""One revision of routing as a whole: maps, states, tables, rules, and which credentials exist."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.routing.credential import Credential
from app.routing.entries import TableEntries
from app.routing.policies import Pool
from app.routing.relay_map import OutOfService, RelayMap
from app.routing.rule import Rule
from app.routing.rule_index import RuleBook, RuleIndex
from app.routing.table import Entries, Table

StateKey = tuple[str, str]
"""(relay map, relay)."""


class Pools:
    """The relays in service of each map, found when that is first asked for, and kept."""

    __slots__ = ("_known", "_maps", "_states")

    def __init__(
        self, maps: Mapping[str, RelayMap], states: Mapping[StateKey, OutOfService]
    ) -> None:
        self._maps = maps
        self._states = states
        self._known: dict[str, Pool] = {}

    def are_of(self, maps: Mapping[str, RelayMap], states: Mapping[StateKey, OutOfService]) -> bool:
        """Whether they are those of these very maps and states."""
        return self._maps is maps and self._states is states

    def active(self, relay_map: RelayMap) -> Pool:
        """The relays of a map that are in service, in its order."""
        name = relay_map.name
        known = self._known.get(name)
        if known is not None and known.relay_map is relay_map:
            return known
        active = Pool.of(
            relay_map, (r for r in relay_map.relays if (name, r.name) not in self._states)
        )
        if self._maps.get(name) is relay_map:
            self._known[name] = active
        return active


_NO_RULES = RuleBook({})
_NO_MAPS = Pools({}, {})


@dataclass(frozen=True, slots=True, weakref_slot=True)
class RoutingTable:
    """A whole routing, as one value: an edit makes a new one that shares what it did not touch.

    Attributes:
        revision: the number of this state of routing; 0 is the empty one.
        maps: by name.
        states: the relays that are out; one that is missing here is active.
        tables: by name, without their entries.
        entries: by table, then by canonical key; every table has its own, empty or not. However
            they are given, they are kept as `TableEntries`.
        rules: by name.
        credentials: by label.
        book: what was worked out of these rules; a successor with the same ones keeps it.
        pools: the same of these maps and states.
    """

    revision: int = 0
    maps: Mapping[str, RelayMap] = field(default_factory=dict)
    states: Mapping[StateKey, OutOfService] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    entries: Mapping[str, Entries] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    book: RuleBook = field(default=_NO_RULES, compare=False, repr=False)
    pools: Pools = field(default=_NO_MAPS, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Keep the entries as what is edited cheaply, and what is known while it holds."""
        if not all(isinstance(entries, TableEntries) for entries in self.entries.values()):
            kept = {name: TableEntries.of(entries) for name, entries in self.entries.items()}
            object.__setattr__(self, "entries", kept)
        if self.book.rules is not self.rules:
            object.__setattr__(self, "book", RuleBook(self.rules))
        if not self.pools.are_of(self.maps, self.states):
            object.__setattr__(self, "pools", Pools(self.maps, self.states))

    @property
    def ordered(self) -> tuple[Rule, ...]:
        """The enabled rules in the order in which they are tried."""
        return self.book.ordered

    @property
    def index(self) -> RuleIndex:
        """The same, filed by what they ask for."""
        return self.book.index

    def prepare(self) -> None:
        """Work out what questions will ask for; whoever makes a table in a thread does it there."""
        self.book.prepare()

    def has_relay(self, relay_map: str, relay: str) -> bool:
        """Whether there is such a map, with such a relay in it."""
        found = self.maps.get(relay_map)
        return found is not None and found.relay(relay) is not None

    def entries_of(self, name: str) -> TableEntries:
        """The entries of a table; none where there is no such table."""
        return TableEntries.of(self.entries.get(name, {}))

    def is_out(self, relay_map: str, relay: str) -> bool:
        """Whether that relay is out of service."""
        return (relay_map, relay) in self.states

    def active_relays(self, relay_map: RelayMap) -> Pool:
        """The relays of a map that are in service, in its order."""
        return self.pools.active(relay_map)


EMPTY = RoutingTable()
