"""Values of the routing as JSON documents, and back: one shape for API, journal, wire and digest.

Reading collects every fault with its pointer before it refuses. Unknown members are faults.
"""

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache, partial

from app.routing import relay_map as maps
from app.routing import rule as rules
from app.routing.conditions import CONDITIONS, MAX_PATTERNS, AnyCondition
from app.routing.credential import MAX_HOSTS, Credential, parse_credential_host
from app.routing.errors import Invalid, Refused
from app.routing.names import parse_address, parse_domain, parse_label, parse_name
from app.routing.next_hop import EntryHop, parse_entry_hop, parse_next_hop
from app.routing.reader import Reader
from app.routing.relay_map import HashKey, OutOfService, Policy, Relay, RelayMap
from app.routing.relay_url import RelayURL, parse_relay_url
from app.routing.rule import Action, Match, Reject, RelayAction, Rule
from app.routing.table import Table, TableKey

Document = dict[str, object]

MAX_TEXT = 200


def parse_line(text: str) -> str:
    """A description, comment or reason: one line of printable text, at most 200 characters.

    Raises:
        Refused: `bad-text`.
    """
    if len(text) > MAX_TEXT or not text.isprintable():
        raise Refused("bad-text", f"one line of printable text of at most {MAX_TEXT} characters")
    return text


def relay_map_document(value: RelayMap) -> Document:
    """A relay map as clients write it."""
    return {
        "name": value.name,
        "description": value.description,
        "policy": value.policy.value,
        "hash_key": value.hash_key.value if value.hash_key else None,
        "relays": [relay_document(relay) for relay in value.relays],
    }


def relay_document(value: Relay) -> Document:
    """A relay as clients write it."""
    return {
        "name": value.name,
        "url": str(value.url),
        "weight": value.weight,
        "priority": value.priority,
        "comment": value.comment,
    }


_NOWHERE = RelayURL("", None, "invalid", None)


def read_relay_map(document: object, present: RelayMap | None = None) -> RelayMap:
    """The relay map that a document describes.

    Args:
        document: of the map.
        present: the map that it replaces; a relay without a name keeps the one it has there, and
            with it its state.

    Raises:
        Invalid: every fault found.
    """
    reader = Reader(document)
    name = reader.needed("name", parse_name, "")
    description = reader.text("description", parse_line, "")
    policy = reader.choice("policy", Policy, Policy.ROUND_ROBIN) or Policy.ROUND_ROBIN
    hash_key = reader.choice("hash_key", HashKey, None)
    parts = [_read_relay(member) for member in reader.children("relays")]
    reader.close()
    reader.refuse_if_faulty()
    names = _names(parts, present)
    relays = tuple(
        Relay(name, relay.url, relay.weight, relay.priority, relay.comment)
        for (relay, _), name in zip(parts, names, strict=True)
    )
    value = RelayMap(name, policy, relays, hash_key, description)
    faults = maps.faults_of(value)
    if faults:
        raise Invalid(tuple(faults))
    return value


def _names(parts: list[tuple[Relay, str | None]], present: RelayMap | None) -> tuple[str, ...]:
    before = {} if present is None else {relay.url: relay.name for relay in present.relays}
    taken = {name for _, name in parts}
    kept = {url: name for url, name in before.items() if name not in taken}
    urls = [relay.url for relay, _ in parts]
    return maps.name_relays(urls, [name or kept.get(relay.url) for relay, name in parts])


def _read_relay(reader: Reader) -> tuple[Relay, str | None]:
    given = reader.text("name", parse_label, None)
    relay = Relay(
        given or "",
        reader.needed("url", parse_relay_url, _NOWHERE),
        reader.integer("weight", 1, maps.MAX_WEIGHT, 1),
        reader.integer("priority", 0, maps.MAX_PRIORITY, 0),
        reader.text("comment", parse_line, ""),
    )
    reader.close()
    return relay, given


def read_relay(document: object) -> Relay:
    """One relay with its name.

    Raises:
        Invalid: every fault found.
    """
    reader = Reader(document)
    relay, _ = _read_relay(reader)
    if reader.members.get("name") is None:
        reader.fault("missing", "a relay needs a name here", "name")
    reader.refuse_if_faulty()
    return relay


def state_document(value: OutOfService | None) -> Document:
    """A relay's state as clients write it; None is `active`."""
    if value is None:
        return {"state": "active", "reason": ""}
    return {"state": "out", "reason": value.reason}


def read_state(document: object) -> OutOfService | None:
    """The state that a document describes; None is `active`.

    Raises:
        Invalid: every fault found.
    """
    reader = Reader(document)
    word = reader.needed("state", _parse_state, "")
    reason = reader.text("reason", parse_line, "")
    reader.close()
    reader.refuse_if_faulty()
    return OutOfService(reason) if word == "out" else None


def _parse_state(text: str) -> str:
    if text not in {"active", "out"}:
        raise Refused("bad-choice", "this is none of active, out")
    return text


def table_document(value: Table) -> Document:
    """A table, without its entries, as clients write it."""
    default = None if value.default is None else str(value.default)
    return {
        "name": value.name,
        "description": value.description,
        "key": value.key.value,
        "default": default,
    }


def read_table(document: object) -> Table:
    """The table that a document describes.

    Raises:
        Invalid: every fault found.
    """
    reader = Reader(document)
    name = reader.needed("name", parse_name, "")
    key = reader.choice("key", TableKey, None)
    if key is None and reader.members.get("key") is None:
        reader.fault("missing", "a table needs a key", "key")
    default: EntryHop | None = reader.text("default", parse_entry_hop, None)
    description = reader.text("description", parse_line, "")
    reader.close()
    reader.refuse_if_faulty()
    return Table(name, key or TableKey.RECIPIENT, default, description)


def entry_document(key: str, via: EntryHop) -> Document:
    """A table's entry as clients write it."""
    return {"key": key, "via": str(via)}


def read_entry_hop(document: object) -> EntryHop:
    """The next hop of an entry's document; the key was canonical when it was stored.

    Raises:
        Invalid: every fault found.
    """
    reader = Reader(document)
    reader.text("key", str, "")
    hop: EntryHop = reader.needed("via", parse_entry_hop, _NOWHERE)
    reader.close()
    reader.refuse_if_faulty()
    return hop


def rule_document(value: Rule) -> Document:
    """A rule as clients write it, and its id."""
    match: Document = {c.name: list(c.texts()) for c in value.match.all_of}
    if value.match.none_of:
        match["not"] = {c.name: list(c.texts()) for c in value.match.none_of}
    return {
        "id": value.id,
        "name": value.name,
        "description": value.description,
        "priority": value.priority,
        "enabled": value.enabled,
        "open_relay": value.open_relay,
        "match": match,
        "action": action_document(value.action),
    }


def action_document(value: Action) -> Document:
    """An action as clients write it."""
    if isinstance(value, Reject):
        return {"kind": "reject", "message": value.message}
    return {
        "kind": "relay",
        "via": str(value.via),
        "mail_from": None if value.mail_from is None else str(value.mail_from),
        "helo": value.helo,
        "sources": [str(address) for address in value.sources],
        "certificate": value.certificate,
        "ca": value.ca,
        "tls_verify": value.tls_verify,
        "ttl_s": value.ttl_s,
    }


def read_rule(document: object) -> Rule:
    """The rule that a document describes; its id is "" where none is given.

    Raises:
        Invalid: every fault found.
    """
    reader = Reader(document)
    given = reader.child("match")
    match = Match() if given is None else _read_match(given)
    action = reader.child("action")
    if action is None:
        reader.fault("missing", "a rule needs an action", "action")
    value = Rule(
        id=reader.text("id", str, ""),
        name=reader.needed("name", parse_name, ""),
        action=Reject() if action is None else _read_action(action),
        match=match,
        priority=reader.integer("priority", 0, rules.MAX_PRIORITY, rules.DEFAULT_PRIORITY),
        enabled=reader.flag("enabled", default=True),
        open_relay=reader.flag("open_relay", default=False),
        description=reader.text("description", parse_line, ""),
    )
    reader.close()
    if not reader.faults:
        reader.faults.extend(rules.faults_of(value))
    reader.refuse_if_faulty()
    return value


def _read_match(reader: Reader) -> Match:
    negated = reader.child("not")
    all_of = _read_conditions(reader)
    none_of = () if negated is None else _read_conditions(negated)
    return Match(all_of, none_of)


def _read_conditions(reader: Reader) -> tuple[AnyCondition, ...]:
    found: list[AnyCondition] = []
    for name, parse in CONDITIONS.items():
        texts = reader.texts(name, partial(_canonical, parse), MAX_PATTERNS)
        if texts:
            found.append(parse(tuple(dict.fromkeys(texts))))
    reader.close()
    return tuple(found)


def _canonical(parse: Callable[[tuple[str, ...]], AnyCondition], text: str) -> str:
    (canonical,) = parse((text,)).texts()
    return canonical


def _read_action(reader: Reader) -> Action:
    kind = reader.needed("kind", _parse_kind, "")
    action: Action = Reject()
    if kind == "reject":
        action = Reject(reader.text("message", rules.parse_reject_message, None))
    elif kind == "relay":
        action = _read_relay_action(reader)
    else:
        return action
    reader.close()
    return action


def _parse_kind(text: str) -> str:
    if text not in {"reject", "relay"}:
        raise Refused("bad-choice", "this is none of relay, reject")
    return text


def _read_relay_action(reader: Reader) -> RelayAction:
    action = RelayAction(
        via=reader.needed("via", parse_next_hop, _NOWHERE),
        mail_from=reader.text("mail_from", rules.parse_mail_from, None),
        helo=reader.text("helo", parse_domain, None),
        sources=reader.texts("sources", parse_address, rules.MAX_SOURCES, low=0),
        certificate=reader.text("certificate", rules.parse_pki_name, None),
        ca=reader.text("ca", rules.parse_pki_name, None),
        tls_verify=reader.flag("tls_verify", default=True),
        ttl_s=reader.integer("ttl_s", rules.MIN_TTL_S, rules.MAX_TTL_S, None),
    )
    return _shared(action, str(action.via))


@lru_cache(maxsize=4096)
def _shared(action: RelayAction, _via: str) -> RelayAction:
    """The same for equal ones that are spelt alike: thousands of rules do one of few things."""
    return action


def credential_document(value: Credential) -> Document:
    """What may be said of a credential; never its username or password."""
    return {
        "label": value.label,
        "revision": value.revision,
        "hosts": list(value.hosts),
        "allow_unverified": value.allow_unverified,
    }


def read_credential(document: object) -> Credential:
    """The credential that a document describes.

    Raises:
        Invalid: every fault found.
    """
    reader = Reader(document)
    value = Credential(
        reader.needed("label", parse_label, ""),
        reader.integer("revision", 0, 2**63 - 1, 0),
        reader.texts("hosts", parse_credential_host, MAX_HOSTS),
        reader.flag("allow_unverified", default=False),
    )
    if reader.members.get("hosts") is None:
        reader.fault("missing", "name the hosts that the password may be sent to", "hosts")
    reader.close()
    reader.refuse_if_faulty()
    return value


def canonical_json(document: object) -> bytes:
    """The one spelling of a document: sorted, no blanks, UTF-8 (RFC 8785 for our types)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def digest(document: object) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical_json(document)).hexdigest()
