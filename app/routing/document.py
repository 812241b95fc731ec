"""Values of the routing as JSON documents, and back: one shape for API, journal, wire and digest.

Reading collects every fault with its pointer before it refuses. Unknown members are faults.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import TypeVar

from app.routing import relay_map as maps
from app.routing import rule as rules
from app.routing.conditions import CONDITIONS, MAX_PATTERNS, AnyCondition
from app.routing.credential import MAX_HOSTS, Credential, parse_credential_host
from app.routing.errors import Fault, Invalid, Refused
from app.routing.names import parse_address, parse_domain, parse_label, parse_name
from app.routing.next_hop import EntryHop, parse_entry_hop, parse_next_hop
from app.routing.relay_map import HashKey, OutOfService, Policy, Relay, RelayMap
from app.routing.relay_url import RelayURL, parse_relay_url
from app.routing.rule import Action, Match, Reject, RelayAction, Rule
from app.routing.table import Table, TableKey

Document = dict[str, object]
T = TypeVar("T")
D = TypeVar("D")
E = TypeVar("E", bound=Enum)

MAX_TEXT = 200
_PAIR = 2


class Reader:
    """Reads the members of one JSON object, and keeps every fault met on the way."""

    def __init__(
        self, document: object, pointer: str = "", faults: list[Fault] | None = None
    ) -> None:
        """Start reading `document`, which stands at `pointer`; share `faults` with the parent."""
        self.pointer = pointer
        self.faults: list[Fault] = [] if faults is None else faults
        self.members: Mapping[str, object] = {}
        self._asked: set[str] = set()
        if isinstance(document, dict):
            self.members = document
        else:
            self.fault("bad-type", "a JSON object is wanted here")

    def fault(self, code: str, detail: str, member: str | None = None) -> None:
        """Note that something is wrong, with this object or with one of its members."""
        where = self.pointer if member is None else f"{self.pointer}/{_escape(member)}"
        self.faults.append(Fault(code, detail, where))

    def text(self, member: str, parse: Callable[[str], T], default: D) -> T | D:
        """The member as `parse` reads it; `default` where it is absent, null or wrong."""
        value = self._take(member)
        return default if value is None else self._parse(value, (member,), parse, default)

    def texts(
        self, member: str, parse: Callable[[str], T], limit: int, low: int = 1
    ) -> tuple[T, ...]:
        """The members of a list of `low` to `limit` texts; () where it is absent."""
        value = self._take(member)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not low <= len(value) <= limit:
            self.fault("bad-list", f"a list of {low} to {limit} texts is wanted here", member)
            return ()
        parsed = [self._parse(t, (member, str(n)), parse, None) for n, t in enumerate(value)]
        return tuple(value for value in parsed if value is not None)

    def integer(self, member: str, low: int, high: int, default: D) -> int | D:
        """A whole number from `low` to `high`; `default` where it is absent, null or wrong."""
        value = self._take(member)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fault("out-of-range", f"a whole number from {low} to {high} is wanted", member)
            return default
        return value

    def flag(self, member: str, *, default: bool) -> bool:
        """True or false; `default` where the member is absent."""
        value = self._take(member)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fault("bad-type", "true or false is wanted", member)
            return default
        return value

    def choice(self, member: str, kind: type[E], default: E | None) -> E | None:
        """One of the values of an enumeration; `default` where the member is absent."""
        value = self._take(member)
        if value is None:
            return default
        known = {choice.value: choice for choice in kind}
        if not isinstance(value, str) or value not in known:
            self.fault("bad-choice", f"this is none of {', '.join(known)}", member)
            return default
        return known[value]

    def child(self, member: str) -> "Reader | None":
        """A reader of the object below `member`; None where it is absent."""
        value = self._take(member)
        if value is None:
            return None
        return Reader(value, f"{self.pointer}/{_escape(member)}", self.faults)

    def children(self, member: str) -> "list[Reader]":
        """Readers of the objects in the list below `member`."""
        value = self._take(member)
        if not isinstance(value, list | tuple):
            self.fault("bad-type", "a list of objects is wanted", member)
            return []
        base = f"{self.pointer}/{_escape(member)}"
        return [Reader(item, f"{base}/{n}", self.faults) for n, item in enumerate(value)]

    def pairs(self, member: str) -> list[tuple[str, str]]:
        """The pairs of texts in the list below `member`."""
        value = self._take(member)
        pairs = value if isinstance(value, list | tuple) else [None]
        texts = [p for p in pairs if isinstance(p, list | tuple) and len(p) == _PAIR]
        if len(texts) != len(pairs) or not all(isinstance(t, str) for p in texts for t in p):
            self.fault("bad-type", "a list of pairs of texts is wanted", member)
            return []
        return [(first, second) for first, second in texts]

    def close(self) -> None:
        """Note every member that nobody asked for."""
        unknown = len(set(self.members) - self._asked)
        if unknown:
            detail = f"{unknown} member(s) of this object are not known here"
            self.fault("unknown-member", detail)

    def refuse_if_faulty(self) -> None:
        """End reading.

        Raises:
            Invalid: with every fault met.
        """
        if self.faults:
            raise Invalid(tuple(self.faults))

    def _take(self, member: str) -> object:
        self._asked.add(member)
        return self.members.get(member)

    def _parse(
        self, value: object, path: tuple[str, ...], parse: Callable[[str], T], default: D
    ) -> T | D:
        where = "".join(f"/{_escape(part)}" for part in path)
        if not isinstance(value, str):
            self.faults.append(Fault("bad-type", "a text is wanted here", self.pointer + where))
            return default
        try:
            return parse(value)
        except Refused as refused:
            self.faults.append(refused.fault.under(self.pointer + where))
            return default


def _escape(member: str) -> str:
    return member.replace("~", "~0").replace("/", "~1")


def parse_line(text: str) -> str:
    """A description, comment or reason: one line of printable text, at most 200 characters.

    Raises:
        Refused: `bad-text`.
    """
    if len(text) > MAX_TEXT or not text.isprintable():
        raise Refused("bad-text", f"one line of printable text of at most {MAX_TEXT} characters")
    return text


# --- relay maps -------------------------------------------------------------------------------


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


def read_relay_map(document: object) -> RelayMap:
    """The relay map that a document describes.

    Raises:
        Invalid: every fault found.
    """
    reader = Reader(document)
    name = reader.text("name", parse_name, "")
    description = reader.text("description", parse_line, "")
    policy = reader.choice("policy", Policy, Policy.ROUND_ROBIN) or Policy.ROUND_ROBIN
    hash_key = reader.choice("hash_key", HashKey, None)
    parts = [_read_relay(member) for member in reader.children("relays")]
    reader.close()
    reader.refuse_if_faulty()
    names = maps.name_relays([relay.url for relay, _ in parts], [given for _, given in parts])
    relays = tuple(
        Relay(name, relay.url, relay.weight, relay.priority, relay.comment)
        for (relay, _), name in zip(parts, names, strict=True)
    )
    value = RelayMap(name, policy, relays, hash_key, description)
    faults = maps.faults_of(value)
    if faults:
        raise Invalid(tuple(faults))
    return value


def _read_relay(reader: Reader) -> tuple[Relay, str | None]:
    given = reader.text("name", parse_label, None)
    if reader.members.get("url") is None:
        reader.fault("missing", "a relay needs a relay URL", "url")
    relay = Relay(
        given or "",
        reader.text("url", parse_relay_url, _NOWHERE),
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
    relay, given = _read_relay(reader)
    if given is None:
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
    word = reader.text("state", _parse_state, "")
    reason = reader.text("reason", parse_line, "")
    if not word and not reader.faults:
        reader.fault("missing", "write active or out", "state")
    reader.close()
    reader.refuse_if_faulty()
    return OutOfService(reason) if word == "out" else None


def _parse_state(text: str) -> str:
    if text not in {"active", "out"}:
        raise Refused("bad-choice", "this is none of active, out")
    return text


# --- tables -----------------------------------------------------------------------------------


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
    name = reader.text("name", parse_name, "")
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
    hop: EntryHop = reader.text("via", parse_entry_hop, _NOWHERE)
    if reader.members.get("via") is None:
        reader.fault("missing", "an entry needs a via", "via")
    reader.close()
    reader.refuse_if_faulty()
    return hop


# --- rules ------------------------------------------------------------------------------------


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
        name=reader.text("name", parse_name, ""),
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
    kind = reader.text("kind", _parse_kind, "")
    if reader.members.get("kind") is None:
        reader.fault("missing", "an action is of kind relay or reject", "kind")
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
    if reader.members.get("via") is None:
        reader.fault("missing", "a relay action needs a via", "via")
    return RelayAction(
        via=reader.text("via", parse_next_hop, _NOWHERE),
        mail_from=reader.text("mail_from", rules.parse_mail_from, None),
        helo=reader.text("helo", parse_domain, None),
        sources=reader.texts("sources", parse_address, rules.MAX_SOURCES, low=0),
        certificate=reader.text("certificate", rules.parse_pki_name, None),
        ca=reader.text("ca", rules.parse_pki_name, None),
        tls_verify=reader.flag("tls_verify", default=True),
        ttl_s=reader.integer("ttl_s", rules.MIN_TTL_S, rules.MAX_TTL_S, None),
    )


# --- credentials ------------------------------------------------------------------------------


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
        reader.text("label", parse_label, ""),
        reader.integer("revision", 0, 2**63 - 1, 0),
        reader.texts("hosts", parse_credential_host, MAX_HOSTS),
        reader.flag("allow_unverified", default=False),
    )
    if reader.members.get("hosts") is None:
        reader.fault("missing", "name the hosts that the password may be sent to", "hosts")
    reader.close()
    reader.refuse_if_faulty()
    return value


# --- the canonical form -----------------------------------------------------------------------


def canonical_json(document: object) -> bytes:
    """The one spelling of a document: sorted, no blanks, UTF-8 (RFC 8785 for our types)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def digest(document: object) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical_json(document)).hexdigest()
