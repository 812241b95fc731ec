"""Decisions on an MTA that asks at every step: what it must have fixed, and what it is answered.

Such an MTA has fixed actions, one for each place that mail may be queued for: a relay map, a table
keyed by the recipient's domain, a relay URL, the MX records, a refusal; each with the options that
a connection takes from the action. Which action takes an envelope is asked when it comes in; which
relay gets it, at each delivery attempt.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from app.routing.credential import may_log_in
from app.routing.envelope import Envelope
from app.routing.names import IPAddress, keys_of
from app.routing.next_hop import MX, EntryHop, ViaMap, ViaMx, ViaTable
from app.routing.policies import first
from app.routing.relay_map import HashKey, Relay, RelayMap
from app.routing.relay_url import RelayURL
from app.routing.resolve import DrawFor, hashed_text, usable_relays, walk
from app.routing.route import Draw
from app.routing.routing_table import RoutingTable, StateKey
from app.routing.rule import Action, MailFrom, Reject, RelayAction
from app.routing.table import TableKey, look_up_domain

HASHED_AT_ACCEPTANCE = frozenset({HashKey.SENDER, HashKey.SENDER_DOMAIN, HashKey.RECIPIENT})
"""What no MTA says any more when it asks for a relay: the relay is chosen when mail comes in."""

SPARE_SLOTS = 2
"""Actions kept ready for relays that such a map does not have yet."""

_LONGEST_NAME = 36
"""Of a map or a table, to stand in an action's name of 64 characters with all that follows it."""

_PLAIN = RelayAction(MX)

Slots = Mapping[str, Mapping[str, int]]
"""By map that hashes at acceptance, then by relay: the number of the action that leads to it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an action fixes about its connections; see `app.routing.rule.RelayAction`.

    Attributes:
        mandatory: whether all its relays want TLS before anything else is said.
    """

    mandatory: bool = False
    tls_verify: bool = True
    ca: str | None = None
    certificate: str | None = None
    sources: tuple[IPAddress, ...] = ()
    helo: str | None = None
    mail_from: MailFrom | None = None
    ttl_s: int | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """One action that an MTA must have.

    Attributes:
        name: at most 64 characters, and alike for alike actions.
        to: where mail goes from it; a `ViaMap` or `ViaTable` is asked about at each attempt.
        slot: of a map that hashes at acceptance: which of its relays.
    """

    name: str
    to: ViaMx | RelayURL | ViaMap | ViaTable | Reject
    options: Options = Options()
    slot: int | None = None


def decide(
    table: RoutingTable, slots: Slots, envelope: Envelope, down: frozenset[StateKey]
) -> Fixed | None:
    """The action that takes an envelope; None where no rule does."""
    walked = walk(table, envelope)
    if walked is None:
        return None
    rule, hop = walked
    action = rule.action
    if isinstance(action, Reject):
        return refusal(action)
    if hop is None:
        raise AssertionError("a rule that relays has a next hop once it matched")
    if isinstance(hop, ViaMap):
        relay_map = table.maps[hop.name]
        if relay_map.hash_key in HASHED_AT_ACCEPTANCE:
            relay = _belongs_to(table, relay_map, envelope, down)
            slot = slots.get(relay_map.name, {}).get(relay.name)
            return _in_slot(relay_map, action, slot)
    return _fixed(table, action, hop)


def _belongs_to(
    table: RoutingTable, relay_map: RelayMap, envelope: Envelope, down: frozenset[StateKey]
) -> Relay:
    # Mail comes in even where no relay is in service: it waits for the one it belongs to.
    usable = usable_relays(table, relay_map, down) or relay_map.relays
    return first(relay_map, usable, Draw(key=hashed_text(relay_map.hash_key, envelope)))


def needed(table: RoutingTable, slots: Slots) -> dict[str, Fixed]:
    """Every action that a routing may decide for, by name, in the order of its rules."""
    found: dict[str, Fixed] = {}
    for rule in table.ordered:
        for one in _of_action(table, slots, rule.action):
            found.setdefault(one.name, one)
    return found


def with_spares(slots: Slots) -> Slots:
    """The slots, and some for relays that may come."""
    return {
        name: {**taken, **{f"+{n}": max(taken.values()) + n for n in range(1, 1 + SPARE_SLOTS)}}
        for name, taken in slots.items()
    }


def reserve(table: RoutingTable, slots: Slots) -> dict[str, Fixed]:
    """Actions that a routing does not need yet, ready for rules over the maps that there are."""
    found = [refusal(Reject()), _fixed(table, _PLAIN, MX)]
    for name in sorted(table.maps):
        found.extend(_each(table, slots, _PLAIN, ViaMap(name)))
    for name, each in sorted(table.tables.items()):
        if each.key is TableKey.RECIPIENT_DOMAIN:
            found.extend(_of_table(table, slots, _PLAIN, ViaTable(name)))
    return {one.name: one for one in found}


def _of_action(table: RoutingTable, slots: Slots, action: Action) -> Iterator[Fixed]:
    if isinstance(action, Reject):
        yield refusal(action)
        return
    via = action.via
    if not isinstance(via, ViaTable):
        yield from _each(table, slots, action, via)
    elif table.tables[via.name].key is TableKey.RECIPIENT_DOMAIN:
        yield from _of_table(table, slots, action, via)
    else:
        default = table.tables[via.name].default
        hops = table.entries_of(via.name).hops
        for hop in dict.fromkeys((*hops, *(() if default is None else (default,)))):
            yield from _each(table, slots, action, hop)


def _of_table(
    table: RoutingTable, slots: Slots, action: RelayAction, via: ViaTable
) -> Iterator[Fixed]:
    """What a table by recipient domain may lead to, whatever its entries say today or tomorrow."""
    for mandatory in (False, True):
        yield _named(via, _options(action, mandatory=mandatory))
    yield _fixed(table, action, MX)
    for name, relay_map in table.maps.items():
        if relay_map.hash_key in HASHED_AT_ACCEPTANCE:
            yield from _each(table, slots, action, ViaMap(name))


def assign(before: Slots, table: RoutingTable) -> dict[str, dict[str, int]]:
    """The slots of every map that hashes at acceptance; a relay keeps the one that it had."""
    found: dict[str, dict[str, int]] = {}
    for name, relay_map in table.maps.items():
        if relay_map.hash_key not in HASHED_AT_ACCEPTANCE:
            continue
        names = [relay.name for relay in relay_map.relays]
        kept = {relay: n for relay, n in before.get(name, {}).items() if relay in names}
        free = iter(n for n in range(len(names) + len(kept)) if n not in kept.values())
        found[name] = kept | {relay: next(free) for relay in names if relay not in kept}
    return found


def refusal(action: Reject) -> Fixed:
    """The action that refuses with a message."""
    suffix = "" if action.message is None else f".{_digest(action.message)}"
    return Fixed(f"rm-reject{suffix}", action)


def _each(table: RoutingTable, slots: Slots, action: RelayAction, hop: EntryHop) -> Iterator[Fixed]:
    """The actions that a next hop of a rule may take: one, or one a relay."""
    if isinstance(hop, ViaMap):
        relay_map = table.maps[hop.name]
        if relay_map.hash_key in HASHED_AT_ACCEPTANCE:
            taken = slots.get(hop.name, {}).values()
            for slot in range(max(taken, default=-1) + 1):
                yield _in_slot(relay_map, action, slot)
            return
    yield _fixed(table, action, hop)


def _fixed(table: RoutingTable, action: RelayAction, hop: EntryHop) -> Fixed:
    if isinstance(hop, ViaMx):  # which no table can answer at an attempt
        return _named(hop, _options(action, mandatory=False))
    via = action.via
    keyed = isinstance(via, ViaTable) and table.tables[via.name].key is TableKey.RECIPIENT_DOMAIN
    mandatory = is_mandatory(table.maps[hop.name]) if isinstance(hop, ViaMap) else hop.tls.mandatory
    return _named(via if keyed else hop, _options(action, mandatory=mandatory))


def _in_slot(relay_map: RelayMap, action: RelayAction, slot: int | None) -> Fixed:
    options = _options(action, mandatory=is_mandatory(relay_map))
    return _named(ViaMap(relay_map.name), options, -1 if slot is None else slot)


@lru_cache(maxsize=4096)
def is_mandatory(relay_map: RelayMap) -> bool:
    """Whether every relay of a map wants TLS before anything else is said."""
    return all(relay.url.tls.mandatory for relay in relay_map.relays)


@lru_cache(maxsize=4096)
def _options(action: RelayAction, *, mandatory: bool) -> Options:
    return Options(
        mandatory,
        action.tls_verify,
        action.ca,
        action.certificate,
        action.sources,
        action.helo,
        action.mail_from,
        action.ttl_s,
    )


@lru_cache(maxsize=16_384)
def _named(to: EntryHop | ViaTable, options: Options, slot: int | None = None) -> Fixed:
    return Fixed(f"{_base(to, slot)}{_suffix(options)}", to, options, slot)


def _base(to: EntryHop | ViaTable, slot: int | None) -> str:
    if isinstance(to, ViaMap):
        return f"rm-map{_short(to.name)}" + ("" if slot is None else f".s{slot}")
    if isinstance(to, ViaTable):
        return f"rm-table{_short(to.name)}"
    if isinstance(to, RelayURL):
        meaning = (to.protocol.value, to.tls.value, to.credential, to.host, to.effective_port)
        return f"rm-url.{_digest(repr(meaning))}"
    return "rm-mx"


def _short(name: str) -> str:
    return f"-{name}" if len(name) <= _LONGEST_NAME else f".{_digest(name)}"


def _suffix(options: Options) -> str:
    if options == Options():
        return ""
    return ".tls" if options == Options(mandatory=True) else f".{_digest(repr(options))}"


def _digest(text: str) -> str:
    """12 hexadecimal digits, alike on every machine."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Asking:
    """What is known of an action whose relay is asked for.

    Attributes:
        relay: of its map, the one that its mail belongs to; None: the policy picks.
        verified: whether certificates are checked: not every password may go where none is.
    """

    to: ViaMap | ViaTable
    relay: str | None = None
    verified: bool = True


LeftOf = Callable[[str, str], tuple[int, EntryHop] | None]
"""By table and key, "" being its default: where that led before it went, and a number that is the
greater the later it did."""


def _nothing_left(_table: str, _key: str) -> None:
    return None


def relay_for(
    table: RoutingTable,
    asking: Asking,
    domain: str,
    down: frozenset[StateKey],
    draw: DrawFor,
    left: LeftOf = _nothing_left,
) -> RelayURL | None:
    """The relay that an envelope is handed to now; None where there is none to be handed to.

    Mail that was queued for an entry which is there no more, or is `mx` now, which no table can
    answer, goes where the table leads without that; and where it leads nowhere, as it led last.

    Args:
        table: the routing as it is now, or as it was for what is no more part of it.
        asking: the action that the envelope is queued under.
        domain: of its recipient, canonical.
        down: relays that health says get nothing.
        draw: asked once at most, for the map that is picked from.
        left: where keys led.
    """
    to = asking.to
    hop: EntryHop | None = to if isinstance(to, ViaMap) else _led_to(table, to.name, domain, left)
    if isinstance(hop, RelayURL):
        return hop if may_log_in(table.credentials, hop, verified=asking.verified) else None
    if not isinstance(hop, ViaMap) or hop.name not in table.maps:
        return None
    relay_map = table.maps[hop.name]
    usable = usable_relays(table, relay_map, down)
    allowed = tuple(
        relay
        for relay in usable
        if may_log_in(table.credentials, relay.url, verified=asking.verified)
    )
    if not allowed:
        return None
    if asking.relay is None:
        return first(relay_map, allowed, replace(draw(relay_map.name), key=domain)).url
    own = (relay for relay in allowed if relay.name == asking.relay)
    return next(own, first(relay_map, allowed, Draw(key=asking.relay))).url


def _led_to(table: RoutingTable, name: str, domain: str, left: LeftOf) -> EntryHop | None:
    """Where mail goes that was queued for a table; what is answered is what was read last."""
    found = table.tables.get(name)
    # Made anew on another key, it says nothing about mail that was queued before.
    if found is None or found.key is not TableKey.RECIPIENT_DOMAIN:
        return None
    hop = look_up_domain(found, table.entries[name], domain)
    if hop is not None and not isinstance(hop, ViaMx):
        return hop
    keys = keys_of(domain)
    for key in keys:
        hop = table.entries[name].get(key)
        if hop is not None and not isinstance(hop, ViaMx):
            return hop
    if found.default is not None and not isinstance(found.default, ViaMx):
        return found.default
    were = {key: was[0] for key in (*keys, "") if (was := left(name, key)) is not None}
    if not were:
        return None
    last = left(name, max(were, key=were.__getitem__))  # of several the first, the most specific
    return None if last is None else last[1]
