"""A second reading of the rules, word by word from the documents, slow and without classes.

It says which rule takes an envelope, over which table and map, and which relays it may go to; the
order among them is the policies' own.
"""

from ipaddress import ip_address, ip_network
from typing import Any

from app.routing import document
from app.routing.envelope import Envelope
from app.routing.route import MxNeeded, Rejected, Resolution, Route, TryAgain, Unrouted
from app.routing.routing_table import RoutingTable

Seen = dict[str, Any]


def seen(found: Resolution | MxNeeded) -> Seen:
    """What of an answer a plain reading can say."""
    if isinstance(found, Unrouted):
        return {"outcome": "unrouted", "trace": trace(found)}
    if isinstance(found, Rejected):
        return {"outcome": "reject", "rule": found.rule, "trace": trace(found)}
    if isinstance(found, TryAgain):
        return {"outcome": "try-again", "rule": found.rule, "trace": trace(found)}
    assert isinstance(found, Route)
    return {
        "outcome": "relay",
        "rule": found.rule,
        "table": found.table,
        "map": found.relay_map,
        "mail_from": found.mail_from,
        "relays": {c.relay or (str(c.url) if c.url else "mx") for c in found.candidates},
        "trace": trace(found),
    }


def trace(found: Route | Rejected | Unrouted | TryAgain) -> list[tuple[str, str | None]]:
    return [(step.rule, step.because) for step in found.trace]


def resolve(table: RoutingTable, letter: Envelope) -> Seen:
    """Where an envelope goes; every relay that is not out is thought to be up."""
    rules = [document.rule_document(rule) for rule in table.rules.values()]
    tried: list[tuple[str, str | None]] = []
    for rule in sorted(rules, key=lambda r: (r["priority"], r["name"])):
        if not rule["enabled"]:
            continue
        failing = first_failing(rule["match"], letter)
        action: Any = rule["action"]
        via = None
        if failing is None and action["kind"] == "relay":
            via = next_hop(table, action["via"], letter)
            failing = None if via is not None else "table"
        tried.append((str(rule["name"]), failing))
        if failing is None:
            return decided(table, rule, via, letter) | {"trace": tried}
    return {"outcome": "unrouted", "trace": tried}


def decided(table: RoutingTable, rule: Any, via: str | None, letter: Envelope) -> Seen:
    if via is None:
        return {"outcome": "reject", "rule": rule["name"]}
    wanted = rule["action"]["via"]
    found = {
        "outcome": "relay",
        "rule": rule["name"],
        "table": wanted.removeprefix("table:") if wanted.startswith("table:") else None,
        "map": None,
        "mail_from": mail_from(rule["action"]["mail_from"], letter),
        "relays": {via},
    }
    if via == "mx":
        domain = letter.recipient.domain
        return found | {"relays": {"mx"}} if domain else found
    if via.startswith("map:"):
        name = via.removeprefix("map:")
        in_service = {
            relay.name
            for relay in table.maps[name].relays
            if (name, relay.name) not in table.states
        }
        if not in_service:
            return {"outcome": "try-again", "rule": rule["name"]}
        return found | {"map": name, "relays": in_service}
    return found


def next_hop(table: RoutingTable, via: str, letter: Envelope) -> str | None:
    if not via.startswith("table:"):
        return via
    name = via.removeprefix("table:")
    look_up = document.table_document(table.tables[name])
    entries = {key: str(hop) for key, hop in table.entries[name].items()}
    kind = str(look_up["key"])
    keys = [letter.auth_user] if kind == "auth-user" else mail_keys(kind, letter)
    default = look_up["default"]
    return next(
        (entries[key] for key in keys if key in entries), None if default is None else str(default)
    )


def mail_keys(kind: str, letter: Envelope) -> list[str]:
    side, _, only_domain = kind.partition("-")
    address = str(letter.sender if side == "sender" else letter.recipient)
    domain = address.rpartition("@")[2]
    keys = [] if only_domain else [address]
    if address and not domain.startswith("["):
        labels = domain.split(".")
        keys.append(domain)
        keys.extend("*." + ".".join(labels[n:]) for n in range(1, len(labels)))
    return keys


def mail_from(wanted: str | None, letter: Envelope) -> str:
    sender = str(letter.sender)
    if wanted is None or not sender:
        return sender
    return sender.rpartition("@")[0] + wanted if wanted.startswith("@") else wanted


ORDER = ("clients", "auth_users", "senders", "recipients", "helos", "tags")


def first_failing(match: Any, letter: Envelope) -> str | None:
    refused = match.get("not", {})
    asked = {name: patterns for name, patterns in match.items() if name != "not"}
    asked.setdefault("clients", ["any"] if "auth_users" in asked else ["local"])
    for name in ORDER:
        if name in asked and not any(holds(name, pattern, letter) for pattern in asked[name]):
            return name
    for name in ORDER:
        if name in refused and any(holds(name, pattern, letter) for pattern in refused[name]):
            return f"not.{name}"
    return None


def holds(name: str, pattern: str, letter: Envelope) -> bool:
    """Whether one pattern of one condition means the envelope."""
    if name == "clients":
        return client_holds(pattern, None if letter.client is None else str(letter.client))
    if name == "auth_users":
        return letter.auth_user is not None and pattern in {"*", letter.auth_user}
    if name == "tags":
        return pattern == letter.tag
    if name == "helos":
        return domain_holds(pattern, letter.helo or "")
    return mail_holds(pattern, str(letter.sender if name == "senders" else letter.recipient))


def mail_holds(pattern: str, address: str) -> bool:
    if pattern == "<>":
        return address == ""
    if "@" in pattern:
        return address == pattern
    return domain_holds(pattern, address.rpartition("@")[2])


def domain_holds(pattern: str, domain: str) -> bool:
    if pattern.startswith("*."):
        return domain.endswith(pattern[1:])
    return domain == pattern


def client_holds(pattern: str, client: str | None) -> bool:
    if pattern == "any":
        return True
    if pattern == "local":
        return client in {None, "127.0.0.1", "::1"}
    return client is not None and ip_address(client) in ip_network(pattern)
