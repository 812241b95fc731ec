"""Values of every kind, and short ways to write them."""

from app.routing import document
from app.routing.change import Kind, Subject
from app.routing.credential import Credential
from app.routing.next_hop import parse_entry_hop
from app.routing.relay_map import RelayMap
from app.routing.rule import Rule
from app.routing.writes import Delete, Put
from app.server.storage import NewSecret

CANARY = "canary-3f9c-password"
SECRETS = {"acct": NewSecret("user@example.net", CANARY)}


def relay_map(name: str, *urls: str, description: str = "") -> RelayMap:
    relays = [{"url": url} for url in urls]
    return document.read_relay_map(
        {"name": name, "description": description, "policy": "round-robin", "relays": relays}
    )


def put_map(name: str, *urls: str, description: str = "") -> Put:
    return Put(Subject(Kind.RELAY_MAP, name), relay_map(name, *urls, description=description))


def rule(name: str, via: str, priority: int = 1000) -> Rule:
    return document.read_rule(
        {
            "name": name,
            "priority": priority,
            "match": {"recipients": [f"{name}.example"]},
            "action": {"kind": "relay", "via": via},
        }
    )


def put_rule(name: str, via: str = "mx", priority: int = 1000) -> Put:
    return Put(Subject(Kind.RULE, name), rule(name, via, priority))


def put_table(name: str, default: str | None = None) -> Put:
    read = document.read_table({"name": name, "key": "recipient-domain", "default": default})
    return Put(Subject(Kind.TABLE, name), read)


def put_entry(table: str, key: str, via: str) -> Put:
    return Put(Subject(Kind.ENTRY, table, key), parse_entry_hop(via))


def put_state(name: str, relay: str, reason: str = "maintenance") -> Put:
    state = document.read_state({"state": "out", "reason": reason})
    assert state is not None
    return Put(Subject(Kind.RELAY_STATE, name, relay), state)


def credential(label: str, *hosts: str) -> Credential:
    return document.read_credential({"label": label, "hosts": list(hosts)})


def put_credential(label: str, *hosts: str) -> Put:
    return Put(Subject(Kind.CREDENTIAL, label), credential(label, *hosts))


def delete(kind: Kind, name: str, member: str = "") -> Delete:
    return Delete(Subject(kind, name, member))


EVERYTHING = (
    put_credential("acct", "*.example.net", "192.0.2.1"),
    put_map("mxmap", "smtp://mx1.example.net", "tls://acct@mx2.example.net:587", description="é"),
    put_state("mxmap", "mx1.example.net"),
    put_table("by-domain", "map:mxmap"),
    put_entry("by-domain", "customer.example", "smtps://acct@192.0.2.1"),
    put_entry("by-domain", "*.customer.example", "mx"),
    put_rule("shop", "map:mxmap", 10),
    put_rule("lists", "table:by-domain", 20),
)
"""One of every kind of subject, each with what it needs."""
