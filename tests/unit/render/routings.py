"""Random routings and envelopes from a small vocabulary, so that patterns nest and rules overlap."""

from ipaddress import ip_address
from random import Random

from hypothesis import strategies as st

from app.render.generation import Secret, Target
from app.routing.check import errors
from app.routing.document import Document
from app.routing.envelope import LOOPBACK, Envelope, parse_client, parse_mail_address
from app.routing.errors import Invalid
from app.routing.model import read_model
from app.routing.routing_table import RoutingTable

DOMAINS = ("a.test", "b.a.test", "bb.a.test", "c.b.a.test", "ba.test", "d.test")
LOCALS = ("k", "ak", "bk", "k+x", "a.b", "^", "b-c", "x{1}", "$.k?")
USERS = ("k", "ak", "bak", "k@a.test", "x-y", "a^b")
NAMES = ("a.test", "b.a.test", "c.b.a.test", "xa.test")
TAGS = ("sub", "a", "ab")
CLIENTS = (
    "local",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "192.0.2.9",
    "203.0.113.5",
    "127.0.0.0/8",
    "0.0.0.0/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1::7",
    "::/0",
)
OWN = tuple(ip_address(text) for text in ("203.0.113.5", "2001:db8:1::7"))
OPTIONAL = ("smtp+notls://r1.test", "r2.test:2525", "lmtp://[2001:db8::1]:24", "smtp://192.0.2.1")
SECURE = ("tls://r3.test", "smtps://lab@r4.test", "tls+auth://r5.test:587", "ssl://r6.test")
LABELS = {"lab": "*.test", "r5.test": "r5.test"}
SECRETS = {label: Secret(label, 1, f"user of {label}", 'p :w"\\#d') for label in LABELS}
TARGET = Target((6, 8), "/var/lib/relaymap-agent", OWN, ("cert",), ("ca",))
NEW_TARGET = Target((7, 8), "/var/lib/relaymap-agent", OWN, ("cert",), ("ca",))


def some(random: Random, values: tuple[str, ...], most: int = 4) -> list[str]:
    """One to `most` different values."""
    return list(dict.fromkeys(random.choices(values, k=random.randint(1, most))))


DOMAIN_PATTERNS = tuple(prefix + domain for domain in DOMAINS for prefix in ("", "*."))
ADDRESSES = tuple(f"{local}@{domain}" for local in LOCALS for domain in DOMAINS[:3])
CONDITIONS: dict[str, tuple[str, ...]] = {
    "clients": CLIENTS,
    "auth_users": ("*", "*", *USERS),
    "senders": (*DOMAIN_PATTERNS * 4, *ADDRESSES, *["<>"] * 6),
    "recipients": (*DOMAIN_PATTERNS * 4, *ADDRESSES),
    "helos": tuple(prefix + name for name in NAMES for prefix in ("", "*.")),
    "tags": TAGS,
}


def match(random: Random) -> Document:
    names = tuple(CONDITIONS)
    wanted: Document = {n: some(random, CONDITIONS[n]) for n in some(random, names, 3)}
    if random.random() < 0.5:
        wanted["clients"] = ["any"]
    if random.random() < 0.7:
        wanted["not"] = {n: some(random, CONDITIONS[n], 6) for n in some(random, names, 2)}
    return wanted


HOPS = ("mx", "map:one", "map:two", *OPTIONAL, *SECURE)
TABLE_NAMES = ("table:first", "table:second", "table:third", "table:users")


def action(random: Random) -> Document:
    if random.random() < 0.15:
        return {"kind": "reject", "message": random.choice([None, "Not you, that's all"])}
    via = random.choice((*HOPS, *TABLE_NAMES * 3))
    options: Document = {"via": via, "kind": "relay"}
    if random.random() < 0.5:
        options |= {"mail_from": random.choice(["@out.test", "bot@out.test"])}
        options |= {"helo": "out.test", "ttl_s": 3600}
    if via in SECURE:
        options |= random.choice([{}, {"ca": "ca"}, {"tls_verify": False}])
    return options


def lookup_table(random: Random, name: str, key: str) -> Document:
    keys: tuple[str, ...] = USERS if key == "auth-user" else DOMAIN_PATTERNS
    if key in {"recipient", "sender"}:
        keys = (*keys * 3, *ADDRESSES)
    hops = random.choices(HOPS, k=3)
    entries = [[text, random.choice(hops)] for text in some(random, keys, 8)]
    default = random.choice([None, *HOPS])
    return {"name": name, "key": key, "default": default, "entries": entries}


def model(random: Random) -> Document:
    relay_maps = []
    for name, pool in (("one", OPTIONAL), ("two", SECURE)):
        relays = [{"name": f"r{n}", "url": url} for n, url in enumerate(some(random, pool))]
        relay_maps.append({"name": name, "policy": "round-robin", "relays": relays})
    kinds = random.sample(("recipient-domain", "recipient", "sender-domain", "sender"), k=3)
    named = zip(("first", "second", "third", "users"), (*kinds, "auth-user"), strict=True)
    fixed = [{"id": f"r{n}", "name": f"rule-{n}", "open_relay": True} for n in range(1, 5)]
    return {
        "relay_maps": relay_maps,
        "out": random.choice([[], [["one", "r0"]]]),
        "tables": [lookup_table(random, name, kind) for name, kind in named],
        "rules": [f | {"match": match(random), "action": action(random)} for f in fixed],
        "credentials": [
            {"label": label, "revision": 1, "hosts": [host], "allow_unverified": True}
            for label, host in LABELS.items()
        ],
    }


def routing_table(seed: int) -> RoutingTable:
    """A routing that the API takes."""
    random = Random(seed)
    while True:
        try:
            table = read_model(model(random), 1)
        except Invalid:  # a rule that can never match, most often
            continue
        if not errors(table):
            return table


SEEDS = st.integers(0, 2**32 - 1)


def envelope(random: Random) -> Envelope:
    """An envelope made of the same words, or of words close to them."""
    words = ("k", "ak", "bk", "xk", "k+x", "a.b", "^", "b-c", "x{1}", "x1", "$.k?")
    domains = (*DOMAINS, "x.a.test", "xa.test", "x.c.b.a.test", "test", "e.test")
    clients = ("local", "127.0.0.1", "127.0.0.2", "::1", "192.0.2.1", "192.0.2.9", "192.0.2.200")
    others = ("203.0.113.5", "203.0.113.6", "2001:db8:1::7", "2001:db8:1::8", "fe80::1")
    names = ("a.test", "b.a.test", "x.b.a.test", "xa.test", "localhost", "y.xa.test")
    addresses = [f"{random.choice(words)}@{random.choice(domains)}" for _ in range(2)]
    return Envelope(
        parse_mail_address(random.choice(["", *addresses[:1] * 9])),
        parse_mail_address(addresses[1]),
        parse_client(random.choice(clients + others)),
        random.choice([None, *USERS, "xk", "kk"]),
        random.choice(names),
        random.choice(["", *TAGS, "b"]),
        LOOPBACK | frozenset(OWN),
    )
