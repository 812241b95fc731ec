"""A routing for every row of the capability table: one that uses just that feature."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from app.render.generation import Secret, Target
from app.routing.document import Document
from app.routing.model import read_model
from app.routing.next_hop import parse_entry_hop
from app.routing.routing_table import RoutingTable

TARGET = Target(
    (6, 8), "/var/lib/relaymap-agent", (ip_address("203.0.113.5"),), ("shown",), ("private",)
)
SECRETS = {"lab": Secret("lab", 1, "user", "password")}
CREDENTIAL = {"label": "lab", "revision": 1, "hosts": ["r.test"], "allow_unverified": False}


@dataclass(frozen=True, slots=True)
class Sample:
    """A routing and where it goes.

    Attributes:
        by_target: whether only an MTA that has reported itself can be asked.
    """

    table: RoutingTable
    target: Target = TARGET
    by_target: bool = False


def routing(
    *rules: Document,
    relay_maps: Mapping[str, Sequence[Document]] | None = None,
    tables: Sequence[Document] = (),
    credentials: Sequence[Document] = (CREDENTIAL,),
) -> RoutingTable:
    """A routing of rules, each given by what it has beside its name."""
    named = [
        {"id": f"r{n}", "name": f"rule-{n}", "open_relay": True, **rule}
        for n, rule in enumerate(rules, 1)
    ]
    maps: list[Document] = [
        {"name": name, "policy": "round-robin", "relays": list(relays)} | POLICIES.get(name, {})
        for name, relays in (relay_maps or {}).items()
    ]
    return read_model(
        {
            "relay_maps": maps,
            "out": [],
            "tables": list(tables),
            "rules": named,
            "credentials": list(credentials),
        },
        1,
    )


POLICIES: dict[str, Document] = {
    "failover": {"policy": "failover"},
    "ratio": {"policy": "ratio"},
    "random": {"policy": "random"},
    "hash": {"policy": "hash", "hash_key": "sender"},
}


def relay(via: str = "smtp://r.test", **options: object) -> Document:
    return {"action": {"kind": "relay", "via": via, **options}}


def matching(**match: object) -> RoutingTable:
    return routing({"match": match, **relay()})


def over(name: str, *relays: Document) -> RoutingTable:
    return routing(relay(f"map:{name}"), relay_maps={name: relays})


ONE: Document = {"url": "smtp://r1.test"}
TWO: Document = {"url": "smtp://r2.test"}
ADDRESSES = [f"user-{n}@a.test" for n in range(201)]
HOPS = [f"smtp://r{n}.test" for n in range(1001)]


def keyed(
    key: str, entries: Sequence[tuple[str, str]], default: str | None, **match: object
) -> RoutingTable:
    table: Document = {"name": "t", "key": key, "default": default, "entries": []}
    bare = routing({"match": match, **relay("table:t")}, tables=[table])
    return replace(bare, entries={"t": {text: parse_entry_hop(via) for text, via in entries}})


def samples() -> dict[str, tuple[Sample, ...]]:
    """By the code of a row."""
    plain = Sample(routing(relay()))
    mixed = Sample(over("mixed", ONE, {"url": "tls://r2.test"}))
    certificate = Sample(routing(relay("tls://r.test", certificate="shown")))
    to_mx = Sample(routing(relay("mx")))
    logins = Sample(matching(auth_users=["alice", "*"], **{"not": {"auth_users": ["bob"]}}))
    turns = Sample(over("pool", ONE, TWO))
    return {
        "clients": (Sample(matching(clients=["local", "192.0.2.0/24"])),),
        "senders": (Sample(matching(senders=["a.test", "*.b.test", "j@c.test", "<>"])),),
        "recipients": (Sample(matching(recipients=["a.test", "*.b.test", "j@c.test"])),),
        "helos": (Sample(matching(helos=["a.test", "*.b.test"])),),
        "tags": (Sample(matching(tags=["sub"])),),
        "auth-unreachable": (logins,),
        "auth_users": (logins,),
        "reject": (Sample(routing({"action": {"kind": "reject", "message": "No, it's not"}})),),
        "mail_from": (Sample(routing(relay(mail_from="@out.test"))),),
        "helo": (Sample(routing(relay(helo="out.test"))),),
        "sources": (Sample(routing(relay(sources=["203.0.113.5", "127.0.0.9"]))),),
        "ttl": (Sample(routing(relay(ttl_s=3600))),),
        "via-url": (plain,),
        "via-map": (turns,),
        "policies": tuple(Sample(over(name, ONE, {**TWO, "priority": 1})) for name in POLICIES),
        "via-table-live": (
            Sample(keyed("recipient", [("j@a.test", "mx"), ("*.a.test", "smtp://r.test")], None)),
            Sample(
                keyed("recipient-domain", [(f"d{n}.test", h) for n, h in enumerate(HOPS)], None)
            ),
        ),
        "entry-to-mx": (Sample(keyed("recipient-domain", [("a.test", "mx")], None)),),
        "health": (turns,),
        "turns-begin": (turns,),
        # No routing can say it: there is no such hash_key.
        "hash-by-message": (),
        "actions": (
            Sample(keyed("sender-domain", [(f"d{n}.test", h) for n, h in enumerate(HOPS)], None)),
        ),
        "via-table": (
            Sample(keyed("recipient", [("j@a.test", "mx"), ("*.a.test", "smtp://r.test")], None)),
            Sample(keyed("sender-domain", [("a.test", "mx")], "smtp://r.test")),
            Sample(keyed("auth-user", [("alice", "mx")], None)),
        ),
        "via-mx": (to_mx,),
        "null-mx": (to_mx,),
        "null-mx-bounced": (to_mx,),
        "no-address": (to_mx,),
        "source-family-found": (Sample(routing(relay(sources=["203.0.113.5"]))),),
        "relay-down": (turns,),
        "turn-restarts": (turns,),
        "policy": tuple(Sample(over(name, ONE, TWO)) for name in POLICIES),
        "priority": (Sample(over("pool", ONE, {**TWO, "priority": 1})),),
        "mixed-tls-taken": (mixed,),
        "mixed-tls": (mixed,),
        "verify-needs-tls": (
            Sample(routing(relay("smtp://r.test", tls_verify=False))),
            Sample(routing(relay("mx", ca="private"))),
        ),
        "ca-unverified": (Sample(routing(relay("tls://r.test", ca="private", tls_verify=False))),),
        "certificate": (certificate,),
        "certificate-shown": (certificate,),
        "certificate-unknown": (
            Sample(routing(relay("tls://r.test", certificate="other")), by_target=True),
        ),
        "ca-unknown": (Sample(routing(relay("tls://r.test", ca="other")), by_target=True),),
        "source-family": (Sample(routing(relay("smtp://[2001:db8::1]", sources=["203.0.113.5"]))),),
        "source-unknown": (Sample(routing(relay(sources=["203.0.113.6"])), by_target=True),),
        "host-length": (Sample(routing(relay(f"smtp://{'a' * 60}.test"))),),
        "credential": (
            Sample(routing(relay("tls://lab@other.test"))),
            Sample(routing(relay("tls://lab@r.test"), credentials=[])),
            Sample(routing(relay("tls://lab@r.test", tls_verify=False))),
        ),
        "condition-size": (
            Sample(matching(senders=ADDRESSES)),
            Sample(matching(**{"not": {"recipients": ADDRESSES}})),
        ),
        "table-size": (
            Sample(keyed("recipient", [(a, HOPS[n % 9]) for n, a in enumerate(ADDRESSES)], None)),
        ),
        "list-size": (
            Sample(keyed("recipient-domain", [(f"d{n}.test", "mx") for n in range(10_001)], None)),
        ),
        "match-lines": (
            Sample(keyed("sender-domain", [(f"d{n}.test", h) for n, h in enumerate(HOPS)], None)),
        ),
        "list-lines": (
            Sample(keyed("recipient-domain", [(f"d{n}.test", "mx") for n in range(20_001)], None)),
            Sample(
                keyed(
                    "recipient-domain",
                    [(f"d{n}.test", hop) for n, hop in enumerate(HOPS[:60])],
                    None,
                    clients=[f"192.0.{n % 256}.{n // 256 * 2}" for n in range(900)],
                )
            ),
        ),
        "regex-lines": (
            Sample(routing(*[{**relay(), "match": {"senders": ADDRESSES[:200]}}] * 26)),
        ),
        "too-old": (plain,),
        "dangling": (Sample(routing(relay("map:none"))), Sample(routing(relay("table:none")))),
    }


def of_version(sample: Sample, version: tuple[int, int]) -> Target:
    """The sample's MTA at a version."""
    return replace(sample.target, version=version)
