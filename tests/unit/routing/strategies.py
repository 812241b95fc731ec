"""Random relay URLs, maps, tables, rules and envelopes, over a world small enough to collide."""

from hypothesis import strategies as st

from app.routing.change import Delete, Kind, Put, Subject, Write
from app.routing.conditions import CONDITIONS
from app.routing.credential import Credential
from app.routing.envelope import Envelope, parse_client, parse_helo, parse_mail_address
from app.routing.next_hop import MX, NextHop, ViaMap, ViaTable
from app.routing.relay_map import HashKey, OutOfService, Policy, Relay, RelayMap
from app.routing.relay_url import SCHEMAS, RelayURL
from app.routing.route import Draw
from app.routing.routing_table import RoutingTable
from app.routing.rule import MailFrom, Match, Reject, RelayAction, Rule, faults_of
from app.routing.table import Table, TableKey, parse_key

HOSTS = ("mx1.example", "mx2.example", "xn--bcher-kva.example", "192.0.2.7", "[2001:db8::7]")
DOMAINS = ("a.test", "b.a.test", "c.b.a.test", "xa.test", "z.test")
LOCALS = ("joe", "joe+x", "ann")
USERS = ("alice", "bob", "bob@a.test")
HELOS = ("mx.test", "h.mx.test", "[192.0.2.1]")
TAGS = ("in", "sub")
CLIENTS = ("local", "127.0.0.1", "::1", "127.0.0.2", "192.0.2.5", "192.0.2.200", "2001:db8::5")

_NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,4}[a-z0-9])?", fullmatch=True)
_LABELS = st.from_regex(r"[a-z0-9_][a-z0-9._-]{0,4}", fullmatch=True)
_LINES = st.text("aä b'\"#\\", max_size=5)


@st.composite
def relay_urls(draw: st.DrawFn) -> RelayURL:
    schema = draw(st.sampled_from(sorted(SCHEMAS)))
    row = SCHEMAS[schema]
    host = draw(st.sampled_from(HOSTS))
    needs_label = row.auth and host.startswith("[")
    label = draw(_LABELS if needs_label else st.none() | _LABELS) if row.tls.mandatory else None
    ports = st.integers(1, 65535)
    port = draw(ports if row.port is None else st.none() | ports)
    return RelayURL(schema, label, host, port)


@st.composite
def relays(draw: st.DrawFn, most: int = 6) -> tuple[Relay, ...]:
    urls = draw(st.lists(relay_urls(), min_size=1, max_size=most, unique=True))
    return tuple(
        Relay(
            f"relay{n}",
            url,
            draw(st.integers(1, 20)),
            draw(st.integers(0, 2)),
            draw(_LINES),
        )
        for n, url in enumerate(urls)
    )


@st.composite
def relay_maps(draw: st.DrawFn, name: str | None = None) -> RelayMap:
    policy = draw(st.sampled_from(Policy))
    key = draw(st.sampled_from(HashKey)) if policy is Policy.HASH else None
    return RelayMap(name or draw(_NAMES), policy, draw(relays()), key, draw(_LINES))


draws = st.builds(
    Draw,
    st.integers(0, 10**9),
    st.floats(0, 1, exclude_max=True),
    st.text(max_size=8),
)

_domain_patterns = st.sampled_from([*DOMAINS, "*.a.test", "*.b.a.test", "*.test"])
_address_patterns = st.builds("{}@{}".format, st.sampled_from(LOCALS), st.sampled_from(DOMAINS))
PATTERNS: dict[str, st.SearchStrategy[str]] = {
    "clients": st.sampled_from(
        ["local", "any", "127.0.0.0/8", "192.0.2.0/24", "192.0.2.128/25", "::1", "2001:db8::/32"]
    ),
    "auth_users": st.sampled_from(["*", *USERS]),
    "senders": _domain_patterns | _address_patterns | st.just("<>"),
    "recipients": _domain_patterns | _address_patterns,
    "helos": st.sampled_from(["mx.test", "*.mx.test", "*.test"]),
    "tags": st.sampled_from(TAGS),
}


@st.composite
def conditions(draw: st.DrawFn, most: int) -> dict[str, list[str]]:
    """Some conditions as a rule's document writes them."""
    names = draw(st.lists(st.sampled_from(sorted(PATTERNS)), max_size=most, unique=True))
    return {name: draw(st.lists(PATTERNS[name], min_size=1, max_size=3)) for name in names}


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


@st.composite
def actions(
    draw: st.DrawFn, maps: tuple[str, ...], tables: tuple[str, ...]
) -> Reject | RelayAction:
    if draw(st.integers(0, 4)) == 0:
        return Reject(draw(st.none() | st.just("Not here")))
    hops: list[st.SearchStrategy[NextHop]] = [st.just(MX), relay_urls()]
    hops.extend(st.just(ViaMap(name)) for name in maps)
    hops.extend(st.just(ViaTable(name)) for name in tables)
    domain = st.sampled_from(DOMAINS)
    return RelayAction(
        draw(st.one_of(hops)),
        draw(st.none() | st.builds(MailFrom, st.none() | st.just("bounce"), domain)),
        draw(st.none() | domain),
        ttl_s=draw(st.none() | st.integers(60, 2_592_000)),
    )


@st.composite
def rules(
    draw: st.DrawFn, name: str, maps: tuple[str, ...] = (), tables: tuple[str, ...] = ()
) -> Rule:
    """A rule without faults of its own; the `not` goes where it would never match."""
    asked = draw(conditions(3))
    action = draw(actions(maps, tables))
    fields = {
        "id": f"id-{name}",
        "name": name,
        "action": action,
        "priority": draw(st.integers(0, 2)),
        "enabled": draw(st.integers(0, 5)) > 0,
        "open_relay": True,
        "description": draw(_LINES),
    }
    rule = Rule(match=match_of(asked, draw(conditions(2))), **fields)  # type: ignore[arg-type]
    return rule if not faults_of(rule) else Rule(match=match_of(asked, {}), **fields)  # type: ignore[arg-type]


_MAPS = ("pool", "spare")
_TABLES = ("bydom", "bysend")
_entry_hops = st.just(MX) | relay_urls() | st.sampled_from([ViaMap(name) for name in _MAPS])


@st.composite
def entries(draw: st.DrawFn, key: TableKey) -> tuple[str, ...]:
    """Keys of a table, canonical."""
    if key is TableKey.AUTH_USER:
        texts = st.sampled_from(USERS)
    elif key in {TableKey.RECIPIENT, TableKey.SENDER}:
        texts = _domain_patterns | _address_patterns
    else:
        texts = _domain_patterns
    found = draw(st.lists(texts, max_size=5))
    return tuple(dict.fromkeys(parse_key(key, text) for text in found))


@st.composite
def routings(draw: st.DrawFn) -> RoutingTable:
    """A whole routing whose names all lead somewhere."""
    maps = {name: draw(relay_maps(name)) for name in _MAPS}
    tables = {
        name: Table(name, draw(st.sampled_from(TableKey)), draw(st.none() | _entry_hops))
        for name in _TABLES
    }
    of_tables = {
        name: {key: draw(_entry_hops) for key in draw(entries(table.key))}
        for name, table in tables.items()
    }
    members = [(m.name, relay.name) for m in maps.values() for relay in m.relays]
    out = draw(st.lists(st.sampled_from(members), max_size=3))
    names = draw(st.lists(_NAMES, max_size=6, unique=True))
    return RoutingTable(
        revision=draw(st.integers(0, 9)),
        maps=maps,
        states={member: OutOfService(draw(_LINES)) for member in out},
        tables=tables,
        entries=of_tables,
        rules={name: draw(rules(name, _MAPS, _TABLES)) for name in names},
        credentials={label: Credential(label, 1, HOSTS) for label in draw(st.lists(_LABELS))},
    )


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    address = st.builds("{}@{}".format, st.sampled_from(LOCALS), st.sampled_from(DOMAINS))
    literals = st.sampled_from(["joe@[192.0.2.9]", "joe@[IPv6:2001:db8::9]"])
    return Envelope(
        parse_mail_address(draw(address | st.just(""))),
        parse_mail_address(draw(address | literals)),
        parse_client(draw(st.sampled_from(CLIENTS))),
        draw(st.none() | st.sampled_from(USERS)),
        draw(st.none() | st.sampled_from([parse_helo(helo) for helo in HELOS])),
        draw(st.just("") | st.sampled_from(TAGS)),
    )


@st.composite
def edits(draw: st.DrawFn, table: RoutingTable) -> tuple[Write, ...]:
    """Some writes that a table can take, in an order in which each finds what it needs."""
    possible: list[st.SearchStrategy[Write]] = [
        st.builds(Put, st.just(Subject(Kind.RELAY_MAP, name)), relay_maps(name)) for name in _MAPS
    ]
    for name in sorted(table.rules):
        rule = Subject(Kind.RULE, name)
        put = st.builds(Put, st.just(rule), rules(name, _MAPS, _TABLES))
        possible.append(st.just(Delete(rule)) | put)
    for name, keys in table.entries.items():
        for key in keys:
            entry = Subject(Kind.ENTRY, name, key)
            possible.append(st.sampled_from([Delete(entry), Put(entry, MX)]))
    possible.extend(st.just(Delete(Subject(Kind.RELAY_MAP, name))) for name in _MAPS)
    possible.append(st.just(Delete(Subject(Kind.TABLE, _TABLES[0]))))
    return tuple(draw(write) for write in possible if draw(st.booleans()))
