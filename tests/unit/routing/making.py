"""Makes routings and envelopes from what a vector or a test says in few words."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from app.routing import document
from app.routing.change import Kind, Subject, apply
from app.routing.credential import Credential
from app.routing.envelope import (
    LOOPBACK,
    Envelope,
    parse_client,
    parse_helo,
    parse_mail_address,
)
from app.routing.model import model_json
from app.routing.next_hop import parse_entry_hop
from app.routing.relay_map import OutOfService
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.table import parse_key
from app.routing.writes import Put, Write, changes_of

Document = Mapping[str, Any]


def routing(value: Document) -> RoutingTable:
    """The routing of a document `{"maps": …, "tables": …, "rules": …, "credentials": …, "out": …}`.

    Maps, tables and credentials stand under their names; `out` lists `map/relay`; a table has its
    `entries`; a relay may be its URL alone; an action may be its `via` alone.
    """
    return apply(EMPTY, changes_of(EMPTY, tuple(writes(value))), 1)


def writes(value: Document) -> Iterable[Write]:
    for label, hosts in value.get("credentials", {}).items():
        credential = hosts if isinstance(hosts, dict) else {"hosts": hosts}
        yield Put(
            Subject(Kind.CREDENTIAL, label),
            Credential(
                label, 1, tuple(credential["hosts"]), credential.get("allow_unverified", False)
            ),
        )
    for name, body in value.get("maps", {}).items():
        relays = [{"url": r} if isinstance(r, str) else r for r in body["relays"]]
        read = document.read_relay_map({"name": name, **body, "relays": relays})
        yield Put(Subject(Kind.RELAY_MAP, name), read)
    for member in value.get("out", ()):
        relay_map, _, relay = member.partition("/")
        yield Put(Subject(Kind.RELAY_STATE, relay_map, relay), OutOfService())
    for name, body in value.get("tables", {}).items():
        bare = {key: member for key, member in body.items() if key != "entries"}
        table = document.read_table({"name": name, **bare})
        yield Put(Subject(Kind.TABLE, name), table)
        for key, via in body.get("entries", {}).items():
            subject = Subject(Kind.ENTRY, name, parse_key(table.key, key))
            yield Put(subject, parse_entry_hop(via))
    for position, body in enumerate(value.get("rules", ()), 1):
        name = body.get("name", f"r{position}")
        action = body.get("action", "reject")
        if isinstance(action, str):
            action = {"kind": "reject"} if action == "reject" else {"kind": "relay", "via": action}
        rule = {"id": f"r{position}", "name": name, "priority": position, **body, "action": action}
        yield Put(Subject(Kind.RULE, name), document.read_rule(rule))


def envelope(cells: Mapping[str, str]) -> Envelope:
    """The envelope of a row: sender `<>` is the null sender, empty cells are not known."""
    sender = cells.get("sender") or "a@src.test"
    own = [parse_client(text) for text in cells.get("own", "").split()]
    return Envelope(
        parse_mail_address("" if sender == "<>" else sender),
        parse_mail_address(cells.get("recipient") or "u@dst.test"),
        parse_client(cells.get("client") or "local"),
        cells.get("auth_user", "").lower() or None,
        parse_helo(cells["helo"]) if cells.get("helo") else None,
        cells.get("tag", "").lower(),
        LOOPBACK | {address for address in own if address is not None},
    )


def model_document(table: RoutingTable) -> dict[str, Any]:
    """The model as whoever is sent it reads it."""
    found: dict[str, Any] = json.loads("".join(model_json(table)))
    return found
