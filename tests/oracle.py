"""A plain, slow resolver: it reads documents word by word, and knows no class of the program.

It keeps routing as documents, makes edits in them as the descriptions of the edits say, and looks
at one rule after the other. Whatever is done for speed must answer as it does.
"""

import copy
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from math import gcd
from typing import Any

Document = dict[str, Any]

CONDITIONS = ("clients", "auth_users", "senders", "recipients", "helos", "tags")


@dataclass(frozen=True)
class Letter:
    """An envelope as it is asked about; None is what is not known."""

    sender: str
    recipient: str
    client: str = "local"
    auth_user: str | None = None
    helo: str | None = None
    tag: str = ""


@dataclass(frozen=True)
class Chance:
    """What a draw gives, and who is down."""

    turn: int = 0
    uniform: float = 0.0
    down: frozenset[tuple[str, str]] = frozenset()


@dataclass
class Routing:
    """Everything that was written, as it was written."""

    maps: dict[str, Document] = field(default_factory=dict)
    tables: dict[str, Document] = field(default_factory=dict)
    entries: dict[str, dict[str, str]] = field(default_factory=dict)
    rules: dict[str, Document] = field(default_factory=dict)
    out: set[tuple[str, str]] = field(default_factory=set)

    def copy(self) -> "Routing":
        return copy.deepcopy(self)

    # --- edits -----------------------------------------------------------------------------------

    def put_map(self, name: str, document: Document | None) -> None:
        if document is None:
            del self.maps[name]
        else:
            self.maps[name] = document
        self.out = {(m, relay) for m, relay in self.out if self._has(m, relay)}

    def _has(self, name: str, relay: str) -> bool:
        return name in self.maps and relay in {r["name"] for r in self.maps[name]["relays"]}

    def put_table(self, name: str, document: Document | None) -> None:
        if document is None:
            del self.tables[name]
            del self.entries[name]
        else:
            self.tables[name] = document
            self.entries.setdefault(name, {})

    def put_entries(self, table: str, entries: dict[str, str | None]) -> None:
        for key, via in entries.items():
            if via is None:
                del self.entries[table][key]
            else:
                self.entries[table][key] = via

    def put_rules(self, rules: dict[str, Document | None]) -> None:
        for name, document in rules.items():
            if document is None:
                del self.rules[name]
            else:
                self.rules[name] = document

    def restored(self, then: "Routing") -> "Routing":
        """What was then, with the states of now of relays that are there."""
        made = then.copy()
        made.out = {(m, relay) for m, relay in self.out if made._has(m, relay)}
        return made

    # --- questions -------------------------------------------------------------------------------

    def in_order(self) -> list["Tried"]:
        """The enabled rules as they are tried, ready to be asked."""
        rules = sorted(self.rules.values(), key=lambda r: (r["priority"], r["name"]))
        return [Tried(rule, *conditions(rule["match"])) for rule in rules if rule["enabled"]]

    def resolve(
        self, letter: Letter, chance: Chance, rules: list["Tried"] | None = None
    ) -> Document:
        """Where an envelope goes: outcome, rule, and for a relay by what and to whom; the trace.

        Whoever asks often gives the rules `in_order`.
        """
        asked = folded(letter)
        trace: list[tuple[str, str | None]] = []
        for tried in self.in_order() if rules is None else rules:
            because = tried.first_failing(asked)
            via, action = None, tried.rule["action"]
            if because is None and action["kind"] == "relay":
                via = self._next_hop(action["via"], asked)
                because = None if via is not None else "table"
            trace.append((tried.rule["name"], because))
            if because is None:
                return self._decided(tried.rule, via, letter, chance) | {"trace": trace}
        return {"outcome": "unrouted", "trace": trace}

    def _next_hop(self, via: str, letter: Letter) -> str | None:
        if not via.startswith("table:"):
            return via
        name = via.removeprefix("table:")
        kind = self.tables[name]["key"]
        keys = [letter.auth_user] if kind == "auth-user" else mail_keys(kind, letter)
        for key in keys:
            if key in self.entries[name]:
                return self.entries[name][key]
        default: str | None = self.tables[name]["default"]
        return default

    def _decided(self, rule: Document, via: str | None, letter: Letter, chance: Chance) -> Document:
        if via is None:
            return {"outcome": "reject", "rule": rule["name"]}
        wanted = rule["action"]["via"]
        found = {
            "outcome": "relay",
            "rule": rule["name"],
            "table": wanted.removeprefix("table:") if wanted.startswith("table:") else None,
            "map": None,
            "mail_from": mail_from(rule["action"]["mail_from"], letter),
        }
        if not via.startswith("map:"):
            return found | {"first": {via}, "all": {via}}
        name = via.removeprefix("map:")
        usable = self._usable(name, chance)
        if not usable:
            return {"outcome": "try-again", "rule": rule["name"]}
        first, everyone = picked(self.maps[name]["policy"], usable, chance), names_of(usable)
        return found | {"map": name, "first": first, "all": everyone}

    def _usable(self, name: str, chance: Chance) -> list[Document]:
        relays = self.maps[name]["relays"]
        active = [relay for relay in relays if (name, relay["name"]) not in self.out]
        return [relay for relay in active if (name, relay["name"]) not in chance.down] or active


def names_of(relays: list[Document]) -> set[str]:
    return {relay["name"] for relay in relays}


def picked(policy: str, usable: list[Document], chance: Chance) -> set[str]:
    """The relay that gets it now; of `hash`, all that may."""
    lowest = min(relay["priority"] for relay in usable)
    group = [relay for relay in usable if relay["priority"] == lowest]
    if policy == "hash":
        return names_of(group)
    if policy == "round-robin":
        place = chance.turn % len(group)
    elif policy == "random":
        place = int(chance.uniform * len(group))
    elif policy == "ratio":
        place = smooth(relay_weights(group), chance.turn)
    else:
        place = 0
    return {group[place]["name"]}


def relay_weights(relays: list[Document]) -> list[int]:
    weights = [relay["weight"] for relay in relays]
    return [weight // gcd(*weights) for weight in weights]


def smooth(weights: list[int], turn: int) -> int:
    """Whose turn it is in smooth weighted round robin, as nginx does it: turn by turn."""
    earned = [0] * len(weights)
    place = 0
    for _ in range(turn % sum(weights) + 1):
        earned = [have + weight for have, weight in zip(earned, weights, strict=True)]
        place = earned.index(max(earned))
        earned[place] -= sum(weights)
    return place


def mail_keys(kind: str, letter: Letter) -> list[str]:
    side, _, only_domain = kind.partition("-")
    address = letter.sender if side == "sender" else letter.recipient
    domain = address.rpartition("@")[2]
    keys = [] if only_domain else [address]
    if address and not domain.startswith("["):
        labels = domain.split(".")
        keys.append(domain)
        keys.extend("*." + ".".join(labels[n:]) for n in range(1, len(labels)))
    return keys


def mail_from(wanted: str | None, letter: Letter) -> str:
    local, _, domain = letter.sender.rpartition("@")
    if not letter.sender:
        return ""
    if wanted is None:
        return f"{local}@{domain.lower()}"
    return local + wanted if wanted.startswith("@") else wanted


def folded(letter: Letter) -> Letter:
    """The envelope as it is compared: in lower case."""
    return Letter(
        letter.sender.lower(),
        letter.recipient.lower(),
        letter.client,
        None if letter.auth_user is None else letter.auth_user.lower(),
        None if letter.helo is None else letter.helo.lower(),
        letter.tag.lower(),
    )


Patterns = list[tuple[str, list[str]]]
"""Conditions with their patterns, in the order in which they are asked."""


@dataclass(frozen=True)
class Tried:
    """A rule with its conditions."""

    rule: Document
    asked: Patterns
    refused: Patterns

    def first_failing(self, letter: Letter) -> str | None:
        """The first condition that says no; None: the envelope is meant."""
        for name, patterns in self.asked:
            if not any(holds(name, pattern, letter) for pattern in patterns):
                return name
        for name, patterns in self.refused:
            if any(holds(name, pattern, letter) for pattern in patterns):
                return f"not.{name}"
        return None


def conditions(match: Document) -> tuple[Patterns, Patterns]:
    """What must hold, and what must not."""
    refused = match.get("not", {})
    asked = {name: patterns for name, patterns in match.items() if name != "not"}
    asked.setdefault("clients", ["any"] if "auth_users" in asked else ["local"])
    return (
        [(name, asked[name]) for name in CONDITIONS if name in asked],
        [(name, refused[name]) for name in CONDITIONS if name in refused],
    )


def holds(name: str, pattern: str, letter: Letter) -> bool:
    """Whether one pattern of one condition means the envelope."""
    if name == "clients":
        return client_holds(pattern, letter.client)
    if name == "auth_users":
        return letter.auth_user is not None and pattern in {"*", letter.auth_user}
    if name == "tags":
        return pattern == letter.tag
    if name == "helos":
        return domain_holds(pattern, letter.helo or "")
    return mail_holds(pattern, letter.sender if name == "senders" else letter.recipient)


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


def client_holds(pattern: str, client: str) -> bool:
    if pattern == "any":
        return True
    if pattern == "local":
        return client in {"local", "127.0.0.1", "::1"}
    return client != "local" and ip_address(client) in ip_network(pattern)
