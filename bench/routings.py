"""The routing and the envelopes that the figures are measured with."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from app.routing import document
from app.routing.change import Kind, Subject, apply
from app.routing.document import Document
from app.routing.entries import TableEntries
from app.routing.envelope import Envelope, parse_mail_address
from app.routing.next_hop import parse_entry_hop
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


TABLE = "domains"
"""Of `large`: by the recipient's domain, and reached by the last rule."""
_HOPS = ("map:pool", *(f"smtp+notls://out{number}.example.net:2525" for number in range(49)))


def large(rules: int, entries: int) -> RoutingTable:
    """A routing whose last rule asks a table of that many entries for all that no other takes."""
    small = routing(rules)
    table = document.read_table({"name": TABLE, "key": "recipient-domain"})
    rule = document.read_rule(last_rule_document())
    made = apply(
        small,
        changes_of(
            small,
            [Put(Subject(Kind.TABLE, TABLE), table), Put(Subject(Kind.RULE, rule.name), rule)],
        ),
    )
    hops = [parse_entry_hop(via) for via in _HOPS]
    of_domain = {recipient_domain(number): hops[number % len(hops)] for number in range(entries)}
    return replace(made, entries={TABLE: TableEntries.of(of_domain)})


def last_rule_document() -> Document:
    """The rule that takes what no rule of a sender domain takes."""
    return {
        "name": "the-last",
        "priority": 1_000_000,
        "match": {},
        "action": {"kind": "relay", "via": f"table:{TABLE}"},
    }


def recipient_domain(number: int) -> str:
    """The key of an entry."""
    return f"recipients{number}.example"


def via(number: int) -> str:
    """The next hop of that entry, in text."""
    return _HOPS[number % len(_HOPS)]


def asked(rules: int, entries: int, count: int) -> Sequence[tuple[str, str]]:
    """Sender and recipient of so many distinct questions: half are for a rule, half for the table.

    They are the same in every run.
    """
    chance = Random(rules)
    found = []
    for number in range(count):
        customer = chance.randrange(rules) + (number % 2) * rules
        recipient = f"u{number}@{recipient_domain(chance.randrange(entries))}"
        found.append((f"joe{number}@a.customer{customer}.example", recipient))
    return found


def envelopes(rules: int, count: int) -> Sequence[Envelope]:
    """Envelopes that match rules evenly spread from the first to the last."""
    recipient = parse_mail_address("someone@elsewhere.example")
    numbers = (n * rules // count for n in range(count))
    senders = (parse_mail_address(f"joe@a.customer{number}.example") for number in numbers)
    return tuple(Envelope(sender, recipient) for sender in senders)
