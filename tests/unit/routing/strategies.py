"""Random relay URLs, maps, tables, rules and envelopes, over a world small enough to collide.

What is large is drawn from pools that are made once, of a fixed seed: hypothesis then chooses among
hundreds of values by one draw each, instead of building every value from dozens.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from hypothesis import strategies as st

from app.routing.change import Kind, Subject
from app.routing.conditions import CONDITIONS
from app.routing.credential import Credential
from app.routing.envelope import Envelope, parse_client, parse_helo, parse_mail_address
from app.routing.next_hop import MX, EntryHop, NextHop, ViaMap, ViaTable
from app.routing.relay_map import HashKey, OutOfService, Policy, Relay, RelayMap
from app.routing.relay_url import SCHEMAS, RelayURL
from app.routing.route import Draw
from app.routing.routing_table import RoutingTable
from app.routing.rule import Action, MailFrom, Match, Reject, RelayAction, Rule, faults_of
from app.routing.table import Entries, Table, TableKey, parse_key
from app.routing.writes import Delete, Put, Write

T = TypeVar("T")

HOSTS = ("mx1.example", "mx2.example", "xn--bcher-kva.example", "192.0.2.7", "[2001:db8::7]")
DOMAINS = ("a.test", "b.a.test", "c.b.a.test", "xa.test", "z.test")
LOCALS = ("joe", "joe+x", "ann")
USERS = ("alice", "bob", "bob@a.test")
HELOS = ("mx.test", "h.mx.test", "[192.0.2.1]")
TAGS = ("in", "sub")
CLIENTS = ("local", "127.0.0.1", "::1", "127.0.0.2", "192.0.2.5", "192.0.2.200", "2001:db8::5")
NAMES = ("a", "b", "c-1", "d2", "e", "f", "zz")
LINES = ("", "x", "ä 'b' \"#\" \\")
MAPS = ("pool", "spare")
TABLES = ("bydom", "bysend")

_DOMAIN_PATTERNS = (*DOMAINS, "*.a.test", "*.b.a.test", "*.test")
_ADDRESSES = tuple(f"{local}@{domain}" for local in LOCALS for domain in DOMAINS)
PATTERNS: dict[str, Sequence[str]] = {
    "clients": (
        *("local", "local", "any", "any", "any", "::1", "127.0.0.0/8", "0.0.0.0/0", "::/0"),
        *("192.0.2.0/24", "192.0.2.128/25", "192.0.2.0/25", "2001:db8::/32"),
    ),
    "auth_users": ("*", *USERS),
    "senders": (*_DOMAIN_PATTERNS, *_ADDRESSES, "<>"),
    "recipients": (*_DOMAIN_PATTERNS, *_ADDRESSES),
    "helos": ("mx.test", "*.mx.test", "*.test"),
    "tags": TAGS,
}
"""Patterns of each condition, nested, apart and adjacent."""


def any_relay_url(chance: Random) -> RelayURL:
    schema = chance.choice(sorted(SCHEMAS))
    row = SCHEMAS[schema]
    host = chance.choice(HOSTS)
    label: str | None = chance.choice(["acct", "x.y_z", "9-"])
    wanted = row.auth and host.startswith("[")
    if not row.tls.mandatory or not (wanted or chance.random() < 0.4):
        label = None
    ports = [1, 24, 25, 465, 587, 65535]
    port = chance.choice(ports if row.port is None else [None, *ports])
    return RelayURL(schema, label, host, port)


def any_relay_map(chance: Random, name: str) -> RelayMap:
    policy = chance.choice(list(Policy))
    urls = {any_relay_url(chance) for _ in range(chance.randint(1, 6))}
    relays = tuple(
        Relay(
            f"relay{n}",
            url,
            chance.randint(1, 20),
            chance.choice([0, 0, 0, 1, 2]),
            chance.choice(LINES),
        )
        for n, url in enumerate(sorted(urls, key=str))
    )
    key = chance.choice(list(HashKey)) if policy is Policy.HASH else None
    return RelayMap(name, policy, relays, key, chance.choice(LINES))


def any_conditions(chance: Random, most: int) -> dict[str, list[str]]:
    """Some conditions as a rule's document writes them."""
    names = chance.sample(sorted(PATTERNS), chance.randint(0, most))
    return {name: chance.choices(PATTERNS[name], k=chance.randint(1, 3)) for name in names}


def match_of(asked: dict[str, list[str]], refused: dict[str, list[str]]) -> Match:
    """The match of two documents of conditions."""
    sides = [
        tuple(
            parse(tuple(dict.fromkeys(side[name])))
            for name, parse in CONDITIONS.items()
            if name in side
        )
        for side in (asked, refused)
    ]
    return Match(*sides)


def any_match(chance: Random) -> Match:
    return match_of(any_conditions(chance, 2), any_conditions(chance, 2))


def any_action(chance: Random) -> Action:
    if chance.random() < 0.2:
        return Reject(chance.choice([None, "Not here"]))
    hops: list[NextHop] = [MX, any_relay_url(chance)]
    hops.extend(map(ViaMap, MAPS))
    hops.extend(map(ViaTable, (*TABLES, *TABLES)))
    senders = [None, MailFrom(None, "b.test"), MailFrom("bounce", "b.test")]
    return RelayAction(
        chance.choice(hops),
        chance.choice(senders),
        chance.choice([None, "out.test"]),
        ttl_s=chance.choice([None, 60, 2_592_000]),
    )


def any_rule(chance: Random, name: str) -> Rule:
    """A rule without faults of its own: its `not` goes where it would never match."""
    match = any_match(chance)
    rule = Rule(
        id=f"id-{name}",
        name=name,
        action=any_action(chance),
        match=match,
        priority=chance.randint(0, 2),
        enabled=chance.random() < 0.9,
        open_relay=True,
        description=chance.choice(LINES),
    )
    if not faults_of(rule):
        return rule
    return Rule(rule.id, name, rule.action, Match(match.all_of), rule.priority, open_relay=True)


def any_table(chance: Random, name: str) -> tuple[Table, Entries]:
    kind = chance.choice(list(TableKey))
    texts: Sequence[str] = _DOMAIN_PATTERNS
    if kind is TableKey.AUTH_USER:
        texts = USERS
    elif kind in {TableKey.RECIPIENT, TableKey.SENDER}:
        texts = (*_DOMAIN_PATTERNS, *_ADDRESSES)
    hops: list[EntryHop] = [MX, *map(ViaMap, MAPS), *(any_relay_url(chance) for _ in range(3))]
    keys = {parse_key(kind, text) for text in chance.choices(texts, k=chance.randint(0, 5))}
    table = Table(name, kind, chance.choice([None, *hops]), chance.choice(LINES))
    return table, {key: chance.choice(hops) for key in sorted(keys)}


def any_envelope(chance: Random) -> Envelope:
    literals = ("joe@[192.0.2.9]", "joe@[IPv6:2001:db8::9]")
    return Envelope(
        parse_mail_address(chance.choice([*_ADDRESSES, "", "", ""])),
        parse_mail_address(chance.choice([*_ADDRESSES, *literals])),
        parse_client(chance.choice(CLIENTS)),
        chance.choice([None, *USERS]),
        chance.choice([None, *map(parse_helo, HELOS)]),
        chance.choice(["", *TAGS]),
    )


_CHANCE = Random(2012)
_URLS = [any_relay_url(_CHANCE) for _ in range(200)]
_MATCHES = [any_match(_CHANCE) for _ in range(400)]
_MAPS = {name: [any_relay_map(_CHANCE, name) for _ in range(60)] for name in MAPS}
_TABLES = {name: [any_table(_CHANCE, name) for _ in range(60)] for name in TABLES}
_RULES = {name: [any_rule(_CHANCE, name) for _ in range(100)] for name in NAMES}
_ENVELOPES = [any_envelope(_CHANCE) for _ in range(400)]

relay_urls = st.sampled_from(_URLS)
relay_maps = st.sampled_from(_MAPS[MAPS[0]])
matches = st.sampled_from(_MATCHES)
envelopes = st.sampled_from(_ENVELOPES)
draws = st.builds(
    Draw,
    st.integers(0, 10**9),
    st.floats(0, 1, exclude_max=True),
    st.text(max_size=8),
)


@st.composite
def routings(draw: st.DrawFn) -> RoutingTable:
    """A whole routing whose maps and tables are all there."""
    maps = {name: draw(st.sampled_from(_MAPS[name])) for name in MAPS}
    tables = {name: draw(st.sampled_from(_TABLES[name])) for name in TABLES}
    members = [(m.name, relay.name) for m in maps.values() for relay in m.relays]
    out = draw(st.sampled_from([[], members[:1], members[2:], members[:-1], members]))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=3))
    labels = draw(st.lists(st.sampled_from(["acct", "x.y_z", "spare"]), unique=True))
    return RoutingTable(
        revision=draw(st.integers(0, 9)),
        maps=maps,
        states={member: OutOfService(draw(st.sampled_from(LINES))) for member in out},
        tables={name: table for name, (table, _) in tables.items()},
        entries={name: entries for name, (_, entries) in tables.items()},
        rules={name: draw(st.sampled_from(_RULES[name])) for name in names},
        credentials={label: Credential(label, 1, HOSTS) for label in labels},
    )


@st.composite
def edits(draw: st.DrawFn, table: RoutingTable) -> tuple[Write, ...]:
    """Some writes that a table can take, in an order in which each finds what it needs."""
    possible: list[list[Write]] = []
    for name, maps in _MAPS.items():
        subject = Subject(Kind.RELAY_MAP, name)
        possible.append([Put(subject, relay_map) for relay_map in maps])
    for name in sorted(table.rules):
        rule = Subject(Kind.RULE, name)
        possible.append([Delete(rule), *(Put(rule, other) for other in _RULES[name])])
    for name, keys in table.entries.items():
        for key in keys:
            entry = Subject(Kind.ENTRY, name, key)
            possible.append([Delete(entry), Put(entry, MX)])
    possible.extend([Delete(Subject(Kind.RELAY_MAP, name))] for name in MAPS)
    possible.append([Delete(Subject(Kind.TABLE, TABLES[0]))])
    return tuple(draw(st.sampled_from(some)) for some in possible if draw(st.booleans()))
