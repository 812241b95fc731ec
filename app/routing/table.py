"""Tables: a next hop looked up by one key of the envelope, most specific first."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

from app.routing.envelope import Envelope
from app.routing.errors import Refused
from app.routing.names import keys_of, parse_user
from app.routing.next_hop import EntryHop
from app.routing.patterns import parse_address_pattern, parse_domain_pattern


class TableKey(StrEnum):
    """What of an envelope is looked up."""

    RECIPIENT_DOMAIN = "recipient-domain"
    RECIPIENT = "recipient"
    SENDER_DOMAIN = "sender-domain"
    SENDER = "sender"
    AUTH_USER = "auth-user"


ADDRESS_KEYS = frozenset({TableKey.RECIPIENT, TableKey.SENDER})
Entries = Mapping[str, EntryHop]
"""The entries of one table, by canonical key."""


@dataclass(frozen=True, slots=True)
class Table:
    """A keyed look-up; its entries are kept beside it (`RoutingTable.entries`)."""

    name: str
    key: TableKey
    default: EntryHop | None = None
    description: str = ""


def parse_key(kind: TableKey, text: str) -> str:
    """The canonical key of an entry: an address, a domain, `*.parent`, or a user name.

    Raises:
        Refused: `bad-key`.
    """
    try:
        if kind is TableKey.AUTH_USER:
            return parse_user(text)
        if "@" in text and kind in ADDRESS_KEYS:
            return str(parse_address_pattern(text))
        return str(parse_domain_pattern(text))
    except Refused as refused:
        raise Refused("bad-key", f"this is no key of a table by {kind.value}: {refused}") from None


_KEYS: dict[TableKey, Callable[[Envelope], tuple[str, ...]]] = {
    TableKey.AUTH_USER: lambda envelope: envelope.user_keys[:1],
    TableKey.RECIPIENT: attrgetter("recipient.keys"),
    TableKey.SENDER: attrgetter("sender.keys"),
    TableKey.RECIPIENT_DOMAIN: attrgetter("recipient.domain_keys"),
    TableKey.SENDER_DOMAIN: attrgetter("sender.domain_keys"),
}
_DOMAINS: dict[TableKey, Callable[[Envelope], str]] = {
    TableKey.RECIPIENT_DOMAIN: attrgetter("recipient.domain"),
    TableKey.SENDER_DOMAIN: attrgetter("sender.domain"),
}


def keys_of_envelope(kind: TableKey, envelope: Envelope) -> tuple[str, ...]:
    """The keys under which an envelope is looked up, most specific first.

    The null sender, and mail without a login, finds the default only.
    """
    return _KEYS[kind](envelope)


def look_up(table: Table, entries: Entries, envelope: Envelope) -> EntryHop | None:
    """The next hop for an envelope; None where neither an entry nor a default has one."""
    domain_of = _DOMAINS.get(table.key)
    if domain_of is not None:
        return look_up_domain(table, entries, domain_of(envelope))
    return look_up_keys(table, entries, keys_of_envelope(table.key, envelope))


def look_up_domain(table: Table, entries: Entries, domain: str) -> EntryHop | None:
    """The next hop for a domain, canonical, in a table by domains; None where there is none."""
    hop = entries.get(domain)  # as most have it: no need to spell the others
    return look_up_keys(table, entries, keys_of(domain)) if hop is None else hop


def look_up_keys(table: Table, entries: Entries, keys: Iterable[str]) -> EntryHop | None:
    """The next hop of the first key that has one, or the default."""
    for key in keys:
        hop = entries.get(key)
        if hop is not None:
            return hop
    return table.default
