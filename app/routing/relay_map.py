"""Relay maps: named pools of relays under one policy, and the state beside each relay."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import gcd

from app.routing.errors import Fault, Invalid, Refused
from app.routing.names import parse_label
from app.routing.relay_url import RelayURL

MAX_RELAYS = 1000
MAX_WEIGHT = 1000
MAX_PRIORITY = 100
MAX_REDUCED_WEIGHTS = 10_000


class Policy(StrEnum):
    """How a map picks among its usable relays."""

    ROUND_ROBIN = "round-robin"
    RANDOM = "random"
    RATIO = "ratio"
    FAILOVER = "failover"
    HASH = "hash"


class HashKey(StrEnum):
    """What policy `hash` hashes."""

    SENDER = "sender"
    SENDER_DOMAIN = "sender-domain"
    RECIPIENT = "recipient"
    RECIPIENT_DOMAIN = "recipient-domain"


@dataclass(frozen=True, slots=True)
class Relay:
    """One member of a map.

    Attributes:
        weight: 1 to 1000, its part in `ratio` and `hash`.
        priority: 0 to 100, lower is preferred.
    """

    name: str
    url: RelayURL
    weight: int = 1
    priority: int = 0
    comment: str = ""


@dataclass(frozen=True, slots=True)
class OutOfService:
    """The state of a relay that gets nothing new. A relay without it is `active`."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class RelayMap:
    """A named pool of relays; the order of `relays` is the order of turns.

    `hash_key` is given with policy `hash` and with no other.
    """

    name: str
    policy: Policy
    relays: tuple[Relay, ...]
    hash_key: HashKey | None = None
    description: str = ""

    def relay(self, name: str) -> Relay | None:
        """The relay of that name, or None."""
        return next((relay for relay in self.relays if relay.name == name), None)


def name_relays(urls: Sequence[RelayURL], given: Sequence[str | None]) -> tuple[str, ...]:
    """The name of each relay: the given one, else its host, else `host-port` if hosts repeat.

    Raises:
        Invalid: `name-needed` for each relay whose host is no valid name.
    """
    hosts = Counter(url.host for url in urls)
    names: list[str] = []
    faults: list[Fault] = []
    for position, (url, name) in enumerate(zip(urls, given, strict=True)):
        derived = url.host if hosts[url.host] == 1 else f"{url.host}-{url.effective_port}"
        try:
            names.append(parse_label(derived) if name is None else name)
        except Refused:
            detail = "this host makes no valid relay name: give the relay a name"
            faults.append(Fault("name-needed", detail, f"/relays/{position}/name"))
    if faults:
        raise Invalid(tuple(faults))
    return tuple(names)


def faults_of(relay_map: RelayMap) -> list[Fault]:
    """Everything that the members of a map may not be together; empty when all is well."""
    faults: list[Fault] = []
    if not 1 <= len(relay_map.relays) <= MAX_RELAYS:
        faults.append(Fault("bad-size", f"a map has 1 to {MAX_RELAYS} relays", "/relays"))
    if (relay_map.policy is Policy.HASH) != (relay_map.hash_key is not None):
        faults.append(
            Fault("hash-key", "hash_key is given with policy hash, and only then", "/hash_key")
        )
    faults.extend(_duplicates(relay_map.relays))
    faults.extend(_weights(relay_map.relays))
    return faults


def _duplicates(relays: tuple[Relay, ...]) -> list[Fault]:
    faults: list[Fault] = []
    names: set[str] = set()
    meanings: set[RelayURL] = set()
    for position, relay in enumerate(relays):
        if relay.name in names:
            detail = "another relay of the map has this name"
            faults.append(Fault("duplicate-name", detail, f"/relays/{position}/name"))
        if relay.url in meanings:
            detail = "another relay of the map means the same; use weight to give it more"
            faults.append(Fault("duplicate-relay", detail, f"/relays/{position}/url"))
        names.add(relay.name)
        meanings.add(relay.url)
    return faults


def _weights(relays: tuple[Relay, ...]) -> list[Fault]:
    faults: list[Fault] = []
    for priority in sorted({relay.priority for relay in relays}):
        weights = [relay.weight for relay in relays if relay.priority == priority]
        if sum(weights) // gcd(*weights) > MAX_REDUCED_WEIGHTS:
            detail = (
                f"the weights of priority {priority}, divided by their common divisor, add up to"
                f" more than {MAX_REDUCED_WEIGHTS}: use rounder ones"
            )
            faults.append(Fault("weights-too-fine", detail, "/relays"))
    return faults
