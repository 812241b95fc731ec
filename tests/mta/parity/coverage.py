"""What a resolution exercises, and the choice of envelopes that exercises everything often."""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import fsum
from random import Random

from app.routing.conditions import CONDITIONS
from app.routing.decision import HASHED_AT_ACCEPTANCE
from app.routing.envelope import Envelope, Undeliverable
from app.routing.next_hop import ViaTable
from app.routing.relay_map import RelayMap
from app.routing.relay_url import TLS
from app.routing.resolve import usable_relays
from app.routing.route import NeverDelivered, Rejected, Resolution, Route, TryAgain, Unrouted
from app.routing.routing_table import RoutingTable
from app.routing.rule import RelayAction, Rule
from app.routing.table import Entries, Table, TableKey, keys_of_envelope
from tests.mta.parity import world
from tests.mta.parity.envelopes import Sent, random_envelope
from tests.mta.parity.expectation import ALL_UP, Down, resolution
from tests.mta.parity.tables import POLICIES, RULES, name_of

CANDIDATES = 400
CROWD = 50
"""Patterns of a condition that make a crowd."""
OUTCOMES: dict[type[Resolution], str] = {
    Route: "relay",
    Rejected: "reject",
    Unrouted: "unrouted",
    NeverDelivered: "undeliverable",
    TryAgain: "try-again",
}
REQUIRED = (
    *(f"{name} says {word}" for name in CONDITIONS for word in ("yes", "no")),
    *(f"not {name} says {word}" for name in CONDITIONS for word in ("yes", "no")),
    *(f"outcome {name}" for name in OUTCOMES.values()),
    *(f"rule {position} decides" for position in range(1, RULES + 1)),
    *(f"via {kind}" for kind in ("URL", "map", "table", "mx")),
    *(f"table by {key}" for key in TableKey),
    "table without the key",
    "table's default",
    "table's less specific key passed over",
    "a disabled rule passed over",
    "a later rule with an earlier name",
    *(f"TLS {mode}" for mode in TLS),
    "clients absent",
    "mail_from @domain",
    "mail_from user@domain",
    "helo",
    "sources",
    "ca",
    "tls_verify false",
    "ttl_s",
    "login",
    "lmtp",
    "a relay out",
    "a crowd",
    "null sender",
    *(f"client {kind}" for kind in dict.fromkeys(client.kind for client in world.CLIENTS)),
    "user",
    "tag",
)
"""What must be hit ten times and more, by name as the report prints it."""
REQUIRED_LIVE = (
    *REQUIRED,
    *(name_of(*each) for each in POLICIES),
    "priorities",
    "a relay down",
    "health ignored",
    "no relay in service",
    *(f"table's *.parent, {levels} up" for levels in (1, 2)),
    "a map by a table",
)
"""The same, where the table program is asked."""


def required(*, live: bool) -> tuple[str, ...]:
    """Answer what must be hit."""
    return REQUIRED_LIVE if live else REQUIRED


def features(table: RoutingTable, sent: Sent, down: Down = ALL_UP) -> frozenset[str]:
    """Answer what one envelope exercises."""
    try:
        envelope = sent.envelope()
    except Undeliverable:
        return frozenset({"outcome undeliverable"})
    return frozenset(_features(table, sent, envelope, down))


def _features(table: RoutingTable, sent: Sent, envelope: Envelope, down: Down) -> Iterator[str]:
    answer = resolution(table, envelope, down)
    yield f"outcome {OUTCOMES[type(answer)]}"
    yield f"client {sent.client.kind}"
    if sent.user:
        yield "user"
    if sent.tag:
        yield "tag"
    for step in answer.trace:
        if step.because == "table":
            yield "table without the key"
        elif step.because is not None:
            # `not.X` says no where X holds.
            yield f"{step.because.replace('.', ' ')} says no"
        else:
            rule = table.rules[step.rule]
            yield f"rule {table.ordered.index(rule) + 1} decides"
            yield from _of_rule(rule)
    yield from _passed_over(table, envelope, answer)
    if isinstance(answer, Route):
        yield from _of_route(table, answer, envelope)
    if isinstance(answer, Route | TryAgain) and answer.relay_map is not None:
        yield from _of_map(table, table.maps[answer.relay_map], answer.table, down)


def _passed_over(table: RoutingTable, envelope: Envelope, answer: Resolution) -> Iterator[str]:
    """Answer which rules would have decided under another order, or had they been enabled."""
    name = None if isinstance(answer, Unrouted) else answer.rule
    decides = table.rules.get(name or "")
    for rule in table.rules.values():
        if rule is decides or rule.match.first_failing(envelope) is not None:
            continue
        if not rule.enabled and (decides is None or rule.order < decides.order):
            yield "a disabled rule passed over"
        elif rule.enabled and decides is not None and rule.name < decides.name:
            yield "a later rule with an earlier name"


def _of_rule(rule: Rule) -> Iterator[str]:
    yield from (f"{condition.name} says yes" for condition in rule.match.all_of)
    yield from (f"not {condition.name} says yes" for condition in rule.match.none_of)
    conditions = (*rule.match.all_of, *rule.match.none_of)
    if any(len(condition.texts()) >= CROWD for condition in conditions):
        yield "a crowd"
    if rule.match.positive("clients") is None:
        yield "clients absent"


def _of_route(table: RoutingTable, route: Route, envelope: Envelope) -> Iterator[str]:
    action = table.rules[route.rule].action
    assert isinstance(action, RelayAction)
    chosen = route.chosen
    if route.table is not None:
        yield "via table"
        yield from _of_table(table.tables[route.table], table.entries[route.table], envelope)
    elif not isinstance(action.via, ViaTable):
        yield f"via {'map' if route.relay_map else 'mx' if chosen.url is None else 'URL'}"
    if action.mail_from is not None:
        yield f"mail_from {'user@domain' if action.mail_from.user else '@domain'}"
    if not envelope.sender.domain:
        yield "null sender"
    if route.relay_map is not None and any(name == route.relay_map for name, _ in table.states):
        yield "a relay out"
    yield f"TLS {chosen.transport.tls}"
    present = {
        "helo": action.helo,
        "sources": action.sources,
        "ca": action.ca,
        "tls_verify false": not action.tls_verify,
        "ttl_s": action.ttl_s,
        "login": chosen.transport.credential,
        "lmtp": chosen.transport.protocol == "lmtp",
    }
    yield from (name for name, value in present.items() if value)


def _of_table(table: Table, entries: Entries, envelope: Envelope) -> Iterator[str]:
    yield f"table by {table.key}"
    keys = [key for key in keys_of_envelope(table.key, envelope) if key in entries]
    found = [entries[key] for key in keys]
    if keys and keys[0].startswith("*."):
        sender = table.key in {TableKey.SENDER, TableKey.SENDER_DOMAIN}
        whose = envelope.sender if sender else envelope.recipient
        yield f"table's *.parent, {whose.domain.count('.') - keys[0].count('.') + 1} up"
    if not found:
        yield "table's default"
    elif any(hop != found[0] for hop in found):
        yield "table's less specific key passed over"


def _of_map(
    table: RoutingTable, relay_map: RelayMap, by_table: str | None, down: Down
) -> Iterator[str]:
    usable = usable_relays(table, relay_map, down)
    if len(usable) > 1:
        yield name_of(relay_map.policy, relay_map.hash_key)
    if len({relay.priority for relay in usable}) > 1:
        yield "priorities"
    active = table.active_relays(relay_map)
    if not active:
        yield "no relay in service"
    elif any((relay_map.name, relay.name) in down for relay in active):
        yield "health ignored" if usable == active else "a relay down"
    if by_table is not None:
        yield "a map by a table"
        slot = relay_map.hash_key in HASHED_AT_ACCEPTANCE
        if slot and table.tables[by_table].key is TableKey.RECIPIENT_DOMAIN:
            yield "a slot by a table by recipient-domain"


def choose(
    random: Random, table: RoutingTable, n: int, hits: Counter[str], down: Down = ALL_UP
) -> Sequence[Sent]:
    """Answer `n` random envelopes that exercise what was exercised least; `hits` counts them."""
    drawn = dict.fromkeys(random_envelope(random) for _ in range(CANDIDATES))
    pool = {sent: features(table, sent, down) for sent in drawn}
    chosen: list[Sent] = []
    for _ in range(n):
        # fsum: the same seed must choose the same, in whatever order a set is walked.
        best = max(pool, key=lambda sent: fsum((1 + hits[name]) ** -2 for name in pool[sent]))
        chosen.append(best)
        hits.update(pool.pop(best))
    return chosen
