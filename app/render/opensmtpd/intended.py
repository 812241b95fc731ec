"""The meaning of a model: what its rules, maps and tables ask of an MTA, straight from them."""

from collections.abc import Callable, Iterable

from app.render.generation import Target
from app.render.opensmtpd.actions import hop_digest, message_of
from app.render.opensmtpd.key_map import KeyMap
from app.render.opensmtpd.meaning import (
    BOTH,
    ENDS,
    EVERYWHERE,
    IS_KEY,
    ClientSet,
    Handed,
    KeyMaps,
    Keys,
    Meaning,
    Outcome,
    Reached,
    Refused550,
    RuleMeaning,
    TagSet,
    Value,
    clients_of,
    gaps,
    local_parts,
    rule_meaning,
)
from app.routing.conditions import AuthUsers, Clients, Helos, Recipients, Senders, Tags
from app.routing.names import IPAddress
from app.routing.next_hop import EntryHop, ViaMap, ViaTable
from app.routing.patterns import (
    AddressPattern,
    DomainPattern,
    MailPattern,
    parse_recipient_pattern,
)
from app.routing.relay_url import RelayURL
from app.routing.routing_table import RoutingTable
from app.routing.rule import Match, Reject, RelayAction, Rule
from app.routing.table import TableKey


def meaning_of(table: RoutingTable, target: Target) -> Meaning:
    """What a routing asks of an MTA. Priorities and names are in the order of the rules alone."""
    found = (_rule(table, rule, target) for rule in table.ordered)
    return tuple(meaning for meaning in found if meaning is not None)


def _rule(table: RoutingTable, rule: Rule, target: Target) -> RuleMeaning | None:
    maps: KeyMaps = {name: _condition(rule.match, name) for name in IS_KEY}
    outcome: Outcome | None = None
    action = rule.action
    if isinstance(action, Reject):
        outcome = Refused550(message_of(action))
    elif isinstance(action.via, ViaTable):
        name = KEYED_BY[table.tables[action.via.name].key]
        decided = _look_ups(table, rule, action, action.via.name)
        maps[name] = decided.joined(maps[name], BOTH)
    else:
        outcome = _handed(table, rule, action, action.via, f"rm-{rule.id}")
    clients = _clients(rule.match, target.addresses)
    return rule_meaning(rule.id, clients, _tags(rule.match), maps, outcome)


# --- next hops --------------------------------------------------------------------------------

KEYED_BY: dict[TableKey, str] = {
    TableKey.RECIPIENT_DOMAIN: "recipients",
    TableKey.RECIPIENT: "recipients",
    TableKey.SENDER_DOMAIN: "senders",
    TableKey.SENDER: "senders",
    TableKey.AUTH_USER: "auth_users",
}


def _look_ups(table: RoutingTable, rule: Rule, action: RelayAction, name: str) -> Keys:
    """The outcome of a table for every key: the default, painted over by ever closer keys."""
    found = table.tables[name]

    def outcome(hop: EntryHop) -> Outcome:
        return _handed(table, rule, action, hop, f"rm-{rule.id}-{hop_digest(hop)}")

    keys: Keys = KeyMap(None if found.default is None else outcome(found.default))
    outcomes = {hop: outcome(hop) for hop in table.entries.get(name, {}).values()}
    for key in sorted(table.entries.get(name, {}), key=_closeness):
        value = outcomes[table.entries[name][key]]
        if found.key is TableKey.AUTH_USER:
            keys.paint_one(key, value)
        else:
            _paint_mail(keys, parse_recipient_pattern(key), value)
    return keys


def _closeness(key: str) -> tuple[bool, bool, int]:
    return "@" in key, not key.startswith("*."), key.count(".")


def _handed(
    table: RoutingTable, rule: Rule, action: RelayAction, hop: EntryHop, name: str
) -> Handed:
    del rule
    turn, urls = "", None
    if isinstance(hop, ViaMap):
        turn = hop.name
        active = table.active_relays(table.maps[hop.name])
        urls = [relay.url for relay in active]
    elif isinstance(hop, RelayURL):
        urls = [hop]
    reached = None if urls is None else frozenset(_reached(url, action) for url in urls)
    return Handed(
        action=name,
        turn=turn,
        relays=reached,
        certificate=action.certificate,
        sources=action.sources,
        helo=action.helo,
        mail_from=action.mail_from,
        ttl_s=action.ttl_s,
    )


def _reached(url: RelayURL, action: RelayAction) -> Reached:
    secure = url.tls.mandatory
    return Reached(
        url.protocol,
        url.tls,
        url.host,
        url.effective_port,
        url.credential,
        verify=action.tls_verify if secure else None,
        ca=action.ca if secure else None,
    )


# --- conditions -------------------------------------------------------------------------------


def _condition(match: Match, name: str) -> Keys:
    """True for the keys that the positive condition takes and the negated one leaves."""
    wanted, unwanted = match.positive(name), match.negative(name)
    keys: Keys = KeyMap(True if wanted is None else None)
    if wanted is not None:
        _paint(keys, wanted, value=True)
    if unwanted is not None:
        _paint(keys, unwanted, value=None)
    return keys


def _paint(keys: Keys, condition: object, *, value: Value) -> None:
    if isinstance(condition, Senders | Recipients):
        for mail_pattern in condition.patterns:
            _paint_mail(keys, mail_pattern, value)
    elif isinstance(condition, Helos):
        for pattern in condition.patterns:
            paint = keys.paint_ending if pattern.below else keys.paint_one
            paint(("." if pattern.below else "") + pattern.domain, value)
    elif isinstance(condition, AuthUsers):
        for user in condition.users:
            _user_paint(keys, user)(user.removeprefix("*"), value)


def _user_paint(keys: Keys, user: str) -> Callable[[str, Value], None]:
    # `*` is everybody with a name; the empty name is nobody, and no key.
    return keys.paint_longer if user == "*" else keys.paint_one


def _paint_mail(keys: Keys, pattern: MailPattern, value: Value) -> None:
    if isinstance(pattern, DomainPattern):
        keys.paint_ending(("." if pattern.below else "@") + pattern.domain, value)
    elif isinstance(pattern, AddressPattern):
        keys.paint_one(f"{pattern.local}@{pattern.domain}", value)
    else:
        keys.paint_one("@", value)


def _clients(match: Match, own: Iterable[IPAddress]) -> ClientSet:
    own = tuple(own)
    wanted = _client_set(match.clients(), own, negated=False)
    negative = match.negative("clients")
    if not isinstance(negative, Clients):
        return wanted
    return _both(wanted, _client_set(negative, own, negated=True))


def _client_set(clients: Clients, own: Iterable[IPAddress], *, negated: bool) -> ClientSet:
    parts: list[tuple[int, int, int]] = [
        (n.version, int(n.network_address), int(n.broadcast_address) + 1) for n in clients.networks
    ]
    if clients.local:
        parts.extend(local_parts(own))
    if clients.any:
        parts = EVERYWHERE
    return clients_of(parts, socket=clients.any or clients.local, negated=negated)


def _both(one: ClientSet, two: ClientSet) -> ClientSet:
    """The clients in both sets: those that neither leaves out."""
    outside = [
        (version, *gap)
        for version, found in ((4, (one.v4, two.v4)), (6, (one.v6, two.v6)))
        for ranges in found
        for gap in gaps(ranges, ENDS[version])
    ]
    return clients_of(outside, socket=not (one.socket and two.socket), negated=True)


def _tags(match: Match) -> TagSet:
    wanted, unwanted = match.positive("tags"), match.negative("tags")
    less = frozenset(unwanted.tags) if isinstance(unwanted, Tags) else frozenset()
    if isinstance(wanted, Tags):
        return TagSet(frozenset(wanted.tags) - less, others=False)
    return TagSet(less, others=True)
