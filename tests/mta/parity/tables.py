"""Random routing tables from a small vocabulary, so that rules and envelopes often meet."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from app.render.generation import Target
from app.render.opensmtpd.capabilities import reasons
from app.render.opensmtpd.expressible import live_reasons
from app.routing import document
from app.routing.change import Kind, Subject, apply
from app.routing.check import errors
from app.routing.document import Document
from app.routing.errors import Invalid
from app.routing.next_hop import parse_entry_hop
from app.routing.relay_map import HashKey, OutOfService, Policy, RelayMap
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.rule import Rule
from app.routing.table import ADDRESS_KEYS, TableKey, parse_key
from app.routing.writes import Put, changes_of
from tests.mta.parity import world

RULES = 6
"""Enabled rules of every table, so that each position is as often there as the others."""

RECIPIENT_DOMAINS = ("a.test", "x.a.test", "y.x.a.test", "b.test", "x.b.test", "null.test")
MX_ONLY = ("alias.test", "fail.test", "nothing.test", "dead.test", "nx.test", "x.nx.test")
SENDER_DOMAINS = ("s.test", "m.s.test", "d.m.s.test", "t.test")
LOCALS = ("joe", "bulk", "joe+x", "a.b")
HELOS = ("mx.h.test", "a.h.test", "b.a.h.test", "h.test", "localhost")
TAGS = ("SUB", "a", "AB")
NETWORKS = (
    "192.0.2.0/24",
    "192.0.2.128/25",
    "192.0.2.9",
    "198.51.100.0/24",
    "2001:db8:1::/48",
    "2001:db8:2::77",
    "127.0.0.0/8",
    "0.0.0.0/0",
    "::/0",
)

PLAIN_URLS = (
    *(sink.url("smtp+notls") for sink in world.PLAIN[:2]),
    *(sink.url("smtp") for sink in world.PLAIN[2:4]),
    f"{world.NAMED_HOST}:27025",
    "127.0.1.17",
    world.SIX.url("smtp"),
    *[world.LMTP.url("lmtp")] * 2,
    world.OPTIONAL.url("smtp"),
    world.UNUSED_OFFER.url("smtp+notls"),
)
TLS_URLS = (
    world.TRUSTED[0].url("tls"),
    world.TRUSTED[1].url("smtp+tls"),
    world.TRUSTED[2].url("smtps"),
    "ssl://127.0.1.24",
    world.WITH_LOGIN[0].url("smtp+tls", world.LABEL),
    world.WITH_LOGIN[1].url("ssl+auth", world.LABEL),
)
OTHER_URLS = (world.OTHERS[0].url("tls"), world.OTHERS[1].url("smtps"))
UNKNOWN_URLS = (world.UNKNOWN[0].url("tls"), world.UNKNOWN[1].url("secure"))
POOLS = {"mixed": PLAIN_URLS + TLS_URLS, "other": OTHER_URLS, "unknown": UNKNOWN_URLS}


def some(random: Random, values: tuple[str, ...], most: int) -> list[str]:
    """Answer one to `most` different values."""
    different = list(dict.fromkeys(values))
    return random.sample(different, random.randint(1, min(most, len(different))))


def routing_table(
    random: Random, target: Target, hits: Mapping[str, int], *, live: bool = False
) -> RoutingTable:
    """Answer a routing table that `check` has no error for, and that the target can be told.

    Its tables are of the kinds that were hit least. `live`: the target asks the table program.
    """
    inexpressible = live_reasons if live else reasons
    while True:
        different = random.sample(list(TableKey), len(TableKey))
        kinds = sorted(different, key=lambda kind: hits.get(f"table by {kind}", 0))[:3]
        table = apply(EMPTY, changes_of(EMPTY, _writes(random, kinds, hits, live=live)), 1)
        if not errors(table) and not inexpressible(table, target.version, target):
            return table


def _writes(
    random: Random, kinds: Sequence[TableKey], hits: Mapping[str, int], *, live: bool
) -> list[Put]:
    writes = [Put(Subject(Kind.CREDENTIAL, world.LABEL), world.CREDENTIAL)]
    for name, pool in (("one", "mixed"), ("two", "mixed"), ("other", "other"), ("lax", "unknown")):
        writes += _relay_map(random, name, POOLS[pool], hits, live=live)
    for name, kind in zip(("first", "second", "third"), kinds, strict=True):
        writes += _table(random, name, kind)
    names = random.sample([f"rule-{n}" for n in range(100)], RULES + 1)
    priorities = sorted(random.choices(range(10, 40, 10), k=RULES + 1))
    disabled = random.randrange(RULES + 1)  # one that must not be seen
    for place, (name, priority) in enumerate(zip(names, priorities, strict=True)):
        fixed: Document = {"name": name, "priority": priority, "id": f"r{place + 1}"}
        fixed["enabled"] = place != disabled
        writes.append(Put(Subject(Kind.RULE, name), _rule(random, fixed)))
    return writes


def _relay_map(
    random: Random, name: str, pool: tuple[str, ...], hits: Mapping[str, int], *, live: bool
) -> list[Put]:
    urls = some(random, pool, 4)
    priority = random.choice([0, 0, 7])  # the same for all: lists know none
    relays: list[Document] = [
        {"name": f"r{n}", "url": url, "weight": random.randint(1, 5), "priority": priority}
        for n, url in enumerate(urls)
    ]
    policies = ["round-robin"] if len(urls) > 1 else ["round-robin", "random", "ratio", "failover"]
    value: Document = {"name": name, "policy": random.choice(policies), "relays": relays}
    relay_map = document.read_relay_map(value)
    if live:
        relay_map = picking_otherwise(random, relay_map, POLICIES, hits)
    writes = [Put(Subject(Kind.RELAY_MAP, name), relay_map)]
    out = some_relays(random, relay_map)
    return writes + [Put(Subject(Kind.RELAY_STATE, name, relay), OutOfService()) for relay in out]


def some_relays(random: Random, relay_map: RelayMap) -> list[str]:
    """Answer the names of a few relays of a map; now and then, of all."""
    chance = 1.0 if random.random() < 0.15 else 0.2
    return [relay.name for relay in relay_map.relays if random.random() < chance]


Picking = tuple[Policy, HashKey | None]
POLICIES: tuple[Picking, ...] = (
    *((policy, None) for policy in Policy if policy is not Policy.HASH),
    *((Policy.HASH, key) for key in HashKey),
)
"""Every policy, with every text that it may hash."""


def name_of(policy: Policy, key: HashKey | None) -> str:
    """Answer the name of what a map is hit for."""
    return f"policy {policy}{f' by {key}' if key else ''}"


def picking_otherwise(
    random: Random, relay_map: RelayMap, policies: Sequence[Picking], hits: Mapping[str, int]
) -> RelayMap:
    """Answer a map with that of some policies which was hit least, and other weights."""
    tried = random.sample(policies, len(policies))
    policy, key = min(tried, key=lambda each: hits.get(name_of(*each), 0) + random.randrange(5))
    priorities = random.choice([(0,), (0, 7), (0, 0, 3, 7)])
    relays = tuple(
        replace(relay, weight=random.randint(1, 5), priority=random.choice(priorities))
        for relay in relay_map.relays
    )
    return replace(relay_map, policy=policy, hash_key=key, relays=relays)


def _table(random: Random, name: str, kind: TableKey) -> list[Put]:
    default = entry_hop(random) if random.random() < 0.4 else None
    table = document.read_table({"name": name, "key": kind.value, "default": default})
    writes = [Put(Subject(Kind.TABLE, name), table)]
    for text in dict.fromkeys(keys(random, kind)):
        hop = parse_entry_hop(entry_hop(random))
        writes.append(Put(Subject(Kind.ENTRY, name, parse_key(table.key, text)), hop))
    return writes


def keys(random: Random, kind: TableKey) -> list[str]:
    """Answer keys of a table; some may be the same."""
    if kind is TableKey.AUTH_USER:
        return some(random, tuple(world.USERS), 2)
    domains = SENDER_DOMAINS if kind.startswith("sender") else RECIPIENT_DOMAINS
    patterns = [_domain_pattern(random, domains) for _ in range(random.randint(2, 6))]
    if kind in ADDRESS_KEYS:
        patterns += [f"{random.choice(LOCALS)}@{random.choice(domains)}" for _ in range(2)]
    return patterns


def entry_hop(random: Random) -> str:
    """Answer where an entry may lead."""
    choice = random.random()
    if choice < 0.15:
        return "mx"
    return random.choice(["map:one", "map:two"]) if choice < 0.4 else _url(random)


def _url(random: Random) -> str:
    return random.choice(PLAIN_URLS if random.random() < 0.6 else TLS_URLS)


def _domain_pattern(random: Random, domains: tuple[str, ...]) -> str:
    return random.choice(["", "", "*."]) + random.choice(domains)


def _mail_pattern(random: Random, domains: tuple[str, ...]) -> str:
    if random.random() < 0.3:
        return f"{random.choice(LOCALS)}@{random.choice(domains)}"
    return _domain_pattern(random, domains)


CROWDS: dict[str, tuple[str, ...]] = {
    "clients": tuple(f"10.{n}.0.0/{16 + n % 9}" for n in range(200)),
    "auth_users": tuple(f"user{n}" for n in range(150)),
    "senders": tuple(f"s{n}.crowd.test" for n in range(250)),
    "recipients": tuple(f"r{n}.crowd.test" for n in range(250)),
    "helos": tuple(f"h{n}.crowd.test" for n in range(250)),
    "tags": tuple(f"tag{n}" for n in range(50)),
}
"""Patterns that nothing meets: with them, lists are long enough to be written in another way."""


def _condition(random: Random, name: str, *, negated: bool) -> list[str]:
    """Answer patterns; now and then they stand in a crowd."""
    patterns = _patterns(random, name, negated=negated)
    return [*patterns, *CROWDS[name]] if random.random() < 0.04 else patterns


def _patterns(random: Random, name: str, *, negated: bool) -> list[str]:
    match name:
        case "clients":
            words = ("local",) if negated else ("local", "local", "any")
            return list(dict.fromkeys(random.choices(words + NETWORKS, k=random.randint(1, 3))))
        case "auth_users":
            return some(random, ("*", "alice", "BOB", "carol@corp.test"), 2)
        case "senders":
            patterns = [_mail_pattern(random, SENDER_DOMAINS) for _ in range(random.randint(1, 3))]
            return patterns + (["<>"] if random.random() < 0.25 else [])
        case "recipients":
            return [_mail_pattern(random, RECIPIENT_DOMAINS) for _ in range(random.randint(1, 3))]
        case "helos":
            return [_domain_pattern(random, HELOS[:-1]) for _ in range(random.randint(1, 2))]
        case _:
            return some(random, TAGS, 2)


NAMES = ("clients", "auth_users", "senders", "recipients", "helos", "tags")


def _rule(random: Random, fixed: Document) -> Rule:
    """Answer a rule; now and then one is drawn that could never match, and drawn again."""
    while True:
        try:
            return document.read_rule(_rule_document(random) | fixed)
        except Invalid:
            continue


def _rule_document(random: Random) -> Document:
    match: Document = {}
    # Seldom both a login and more: few envelopes would ever meet it.
    for name in random.sample(NAMES, random.choice([1, 1, 2, 2, 3])):
        match[name] = _condition(random, name, negated=False)
    if "clients" not in match and random.random() < 0.5:
        match["clients"] = ["any"]
    if random.random() < 0.6:
        names = random.sample(NAMES, random.choice([1, 1, 2]))
        match["not"] = {name: _condition(random, name, negated=True) for name in names}
    return {"match": match, "action": _action(random), "open_relay": True}


OPTIONS: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("mail_from", ("@out.test", "bot@out.test")),
    ("helo", ("out.test",)),
    ("sources", (["127.0.1.77"], ["127.0.1.78"], ["127.0.1.78", "127.0.1.77"])),
    ("ttl_s", (3600,)),
)


def _action(random: Random) -> Document:
    if random.random() < 0.15:
        return {"kind": "reject", "message": random.choice([None, "Not through here, please"])}
    # Relays with a certificate of another CA, or of none, are reached by rules that say so.
    (reach,) = random.choices(
        (
            {"via": random.choice(["map:other", *OTHER_URLS]), "ca": world.OTHER_CA},
            {"via": random.choice(["map:lax", *UNKNOWN_URLS]), "tls_verify": False},
            {"via": "mx"},
            {"via": random.choice(["map:one", "map:two"])},
            {"via": random.choice(["table:first", "table:second", "table:third"])},
            {"via": _url(random)},
        ),
        weights=(2, 2, 2, 5, 6, 3),
    )
    options = {name: random.choice(values) for name, values in OPTIONS if random.random() < 0.3}
    return {"kind": "relay", **reach, **options}
