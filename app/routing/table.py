"""Tables: a next hop looked up by one key of the envelope, most specific first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.routing.envelope import Envelope, MailAddress
from app.routing.errors import Refused
from app.routing.names import parents
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
    if kind is TableKey.AUTH_USER:
        return _parse_user_key(text)
    try:
        if "@" in text and kind in ADDRESS_KEYS:
            return str(parse_address_pattern(text))
        return str(parse_domain_pattern(text))
    except Refused as refused:
        raise Refused("bad-key", f"this is no key of a table by {kind.value}: {refused}") from None


def _parse_user_key(text: str) -> str:
    from_users = text.isascii() and text.isprintable() and 0 < len(text) <= 255
    if not from_users or any(c in ' *":\\<>%/' for c in text):
        raise Refused("bad-key", "a user name is 1 to 255 printable letters, digits or signs")
    return text.lower()


def keys_of(kind: TableKey, envelope: Envelope) -> Iterator[str]:
    """The keys under which an envelope is looked up, most specific first.

    The null sender, and mail without a login, has none: only the default finds it.
    """
    if kind is TableKey.AUTH_USER:
        if envelope.auth_user is not None:
            yield envelope.auth_user
        return
    sender_side = kind in {TableKey.SENDER, TableKey.SENDER_DOMAIN}
    address = envelope.sender if sender_side else envelope.recipient
    if kind in ADDRESS_KEYS and address.domain:
        yield str(address)
    yield from _domain_keys(address)


def _domain_keys(address: MailAddress) -> Iterator[str]:
    if not address.domain or address.literal is not None:
        return
    yield address.domain
    for parent in parents(address.domain):
        yield f"*.{parent}"


def look_up(table: Table, entries: Entries, envelope: Envelope) -> EntryHop | None:
    """The next hop for an envelope; None where neither an entry nor a default has one."""
    for key in keys_of(table.key, envelope):
        hop = entries.get(key)
        if hop is not None:
            return hop
    return table.default
