"""The conditions of a rule: one class each, answering yes or no about an envelope.

A condition is a list of patterns of which one must match: an envelope brings the keys under which
each of its parts is found, so a list of a thousand patterns costs what a list of one does. What is
not known of an envelope (no HELO, no login) matches no pattern.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from app.routing.envelope import Envelope
from app.routing.errors import Refused
from app.routing.names import IPNetwork, keys_of, parse_network, parse_user
from app.routing.patterns import (
    AddressPattern,
    DomainPattern,
    MailPattern,
    parse_domain_pattern,
    parse_recipient_pattern,
    parse_sender_pattern,
)

MAX_PATTERNS = 1000

P = TypeVar("P")

_TAG = re.compile(r"[A-Za-z0-9_.-]{1,63}")


class Condition(Protocol):
    """What every condition is."""

    name: ClassVar[str]

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Self:
        """The condition of these patterns. Raises Refused for the first that is none."""
        ...

    def texts(self) -> tuple[str, ...]:
        """The patterns in canonical spelling, in the order given."""
        ...

    def holds(self, envelope: Envelope) -> bool:
        """Whether one of the patterns matches."""
        ...


@dataclass(frozen=True, slots=True)
class Clients:
    """Where the connection comes from: `local`, `any`, addresses and networks."""

    name: ClassVar[str] = "clients"
    networks: tuple[IPNetwork, ...] = ()
    local: bool = False
    any: bool = False

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Self:
        """See `Condition.parse`."""
        networks = tuple(parse_network(t) for t in texts if t not in {"local", "any"})
        return cls(networks, local="local" in texts, any="any" in texts)

    def texts(self) -> tuple[str, ...]:
        """See `Condition.texts`; `any` and `local` come first."""
        words = (("any",) if self.any else ()) + (("local",) if self.local else ())
        return words + tuple(_network_text(network) for network in self.networks)

    def holds(self, envelope: Envelope) -> bool:
        """See `Condition.holds`. A network never matches the control socket."""
        if self.any or (self.local and envelope.is_local):
            return True
        client = envelope.client
        return client is not None and any(client in network for network in self.networks)


def _network_text(network: IPNetwork) -> str:
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network)


@dataclass(frozen=True, slots=True)
class _Found(Generic[P]):
    """A condition whose patterns are found by the keys of one part of the envelope.

    Attributes:
        keys_of: the keys of that part.
        index: the texts of the patterns.
    """

    keys_of: ClassVar["attrgetter[tuple[str, ...]]"]
    patterns: tuple[P, ...]
    index: frozenset[str] = field(init=False, compare=False, repr=False)
    _places: tuple[tuple[str, ...], ...] | None = field(
        default=None, init=False, compare=False, repr=False
    )
    _wider: frozenset[str] | None = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Make the patterns findable."""
        object.__setattr__(self, "index", frozenset(self.texts()))

    def texts(self) -> tuple[str, ...]:
        """See `Condition.texts`."""
        return tuple(str(pattern) for pattern in self.patterns)

    def holds(self, envelope: Envelope) -> bool:
        """See `Condition.holds`."""
        return not self.index.isdisjoint(self.keys_of(envelope))

    @staticmethod
    def pattern_keys(text: str) -> tuple[str, ...]:
        """The patterns that hold whatever this one holds, itself first."""
        return keys_of(text)

    @property
    def places(self) -> tuple[tuple[str, ...], ...]:
        """The keys of each pattern, in the order given; found out once."""
        places = self._places
        if places is None:
            places = tuple(map(self.pattern_keys, self.texts()))
            object.__setattr__(self, "_places", places)
        return places

    @property
    def wider(self) -> frozenset[str]:
        """The keys of all patterns."""
        wider = self._wider
        if wider is None:
            wider = frozenset(chain.from_iterable(self.places))
            object.__setattr__(self, "_wider", wider)
        return wider


class AuthUsers(_Found[str]):
    """Who logged in by SMTP AUTH (RFC 4954): names, or `*` for anyone."""

    name: ClassVar[str] = "auth_users"
    keys_of = attrgetter("user_keys")

    @property
    def users(self) -> tuple[str, ...]:
        """The patterns."""
        return self.patterns

    @staticmethod
    def pattern_keys(text: str) -> tuple[str, ...]:
        """A name, and `*` for anyone."""
        return (text, "*")

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Self:
        """See `Condition.parse`."""
        return cls(tuple("*" if text == "*" else parse_user(text) for text in texts))


class Senders(_Found[MailPattern]):
    """The envelope sender."""

    name: ClassVar[str] = "senders"
    keys_of = attrgetter("sender.keys")

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Self:
        """See `Condition.parse`."""
        return cls(tuple(parse_sender_pattern(text) for text in texts))


class Recipients(_Found[DomainPattern | AddressPattern]):
    """The envelope recipient."""

    name: ClassVar[str] = "recipients"
    keys_of = attrgetter("recipient.keys")

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Self:
        """See `Condition.parse`."""
        return cls(tuple(parse_recipient_pattern(text) for text in texts))


class Helos(_Found[DomainPattern]):
    """The argument of HELO or EHLO as the client gave it."""

    name: ClassVar[str] = "helos"
    keys_of = attrgetter("helo_keys")

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Self:
        """See `Condition.parse`."""
        return cls(tuple(parse_domain_pattern(text) for text in texts))


class Tags(_Found[str]):
    """The tag of the listener that took the connection; mail from the socket has none."""

    name: ClassVar[str] = "tags"
    keys_of = attrgetter("tag_keys")

    @property
    def tags(self) -> tuple[str, ...]:
        """The patterns."""
        return self.patterns

    @staticmethod
    def pattern_keys(text: str) -> tuple[str, ...]:
        """The tag alone."""
        return (text,)

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Self:
        """See `Condition.parse`."""
        return cls(tuple(parse_tag(text) for text in texts))


def parse_tag(text: str) -> str:
    """The tag of a listener, folded to lower case.

    Raises:
        Refused: `bad-tag`.
    """
    if _TAG.fullmatch(text):
        return text.lower()
    raise Refused("bad-tag", "a tag is 1 to 63 letters, digits, '.', '_' and '-'")


TextCondition = AuthUsers | Senders | Recipients | Helos | Tags
AnyCondition = Clients | TextCondition

CONDITIONS: dict[str, Callable[[tuple[str, ...]], AnyCondition]] = {
    cls.name: cls.parse for cls in (Clients, AuthUsers, Senders, Recipients, Helos, Tags)
}
"""Every condition by its name in a rule, in the order in which they are asked."""

TEXT_CONDITIONS: dict[str, type[TextCondition]] = {
    cls.name: cls for cls in (AuthUsers, Senders, Recipients, Helos, Tags)
}
"""Those whose patterns are found by keys of an envelope."""
