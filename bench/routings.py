"""The routing and the envelopes that the figures are measured with."""

from collections.abc import Sequence

from app.routing import document
from app.routing.change import Kind, Subject, apply
from app.routing.document import Document
from app.routing.envelope import Envelope, parse_mail_address
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.writes import Put, changes_of

RELAYS = ("mx1.example.net", "mx2.example.net", "mx3.example.net")


def map_document() -> Document:
    """A map of three relays."""
    relays = [{"url": f"smtp+notls://{host}:2525"} for host in RELAYS]
    return {"name": "pool", "policy": "round-robin", "relays": relays}


def rule_document(number: int) -> Document:
    """A rule for one sender domain and what is below it, over the map."""
    domain = f"customer{number}.example"
    return {
        "name": f"rule-{number:05}",
        "priority": number,
        "match": {"senders": [domain, f"*.{domain}"]},
        "action": {"kind": "relay", "via": "map:pool"},
    }


def routing(rules: int) -> RoutingTable:
    """A routing with that many rules."""
    relay_map = document.read_relay_map(map_document())
    writes = [Put(Subject(Kind.RELAY_MAP, relay_map.name), relay_map)]
    for number in range(rules):
        rule = document.read_rule(rule_document(number))
        writes.append(Put(Subject(Kind.RULE, rule.name), rule))
    return apply(EMPTY, changes_of(EMPTY, writes), 1)


def envelopes(rules: int, count: int) -> Sequence[Envelope]:
    """Envelopes that match rules evenly spread from the first to the last."""
    recipient = parse_mail_address("someone@elsewhere.example")
    numbers = (n * rules // count for n in range(count))
    senders = (parse_mail_address(f"joe@a.customer{number}.example") for number in numbers)
    return tuple(Envelope(sender, recipient) for sender in senders)
