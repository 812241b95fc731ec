"""One revision of routing as a whole: maps, states, tables, rules, and which credentials exist."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.routing.credential import Credential
from app.routing.entries import TableEntries
from app.routing.relay_map import OutOfService, Relay, RelayMap
from app.routing.rule import Rule
from app.routing.table import Entries, Table

StateKey = tuple[str, str]
"""(relay map, relay)."""


@dataclass(frozen=True, slots=True)
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
        ordered: the enabled rules in the order in which they are tried.
    """

    revision: int = 0
    maps: Mapping[str, RelayMap] = field(default_factory=dict)
    states: Mapping[StateKey, OutOfService] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    entries: Mapping[str, Entries] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    ordered: tuple[Rule, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Put the enabled rules in order, and keep the entries as what is edited cheaply."""
        if not all(isinstance(entries, TableEntries) for entries in self.entries.values()):
            kept = {name: TableEntries.of(entries) for name, entries in self.entries.items()}
            object.__setattr__(self, "entries", kept)
        enabled = (rule for rule in self.rules.values() if rule.enabled)
        object.__setattr__(self, "ordered", tuple(sorted(enabled, key=lambda rule: rule.order)))

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

    def active_relays(self, relay_map: RelayMap) -> tuple[Relay, ...]:
        """The relays of a map that are in service, in its order."""
        return tuple(r for r in relay_map.relays if (relay_map.name, r.name) not in self.states)


EMPTY = RoutingTable()
