"""Patterns of mail addresses and of host names, as rules and table keys write them.

`example.org` is that domain alone, `*.example.org` every domain below it at any depth (and not
the domain itself), `joe@example.org` that address alone (and not joe+x@), `<>` the null sender.
A pattern means an address or a name that has the pattern's text among its keys (`names.keys_of`).
"""

from dataclasses import dataclass

from app.routing.errors import Refused
from app.routing.names import parse_domain, parse_local_part


@dataclass(frozen=True, slots=True)
class DomainPattern:
    """A domain, or with `below` every domain under it."""

    domain: str
    below: bool = False

    def __str__(self) -> str:
        """`domain` or `*.domain`."""
        return f"*.{self.domain}" if self.below else self.domain


@dataclass(frozen=True, slots=True)
class AddressPattern:
    """One address: both parts lower case."""

    local: str
    domain: str

    def __str__(self) -> str:
        """`local@domain`."""
        return f"{self.local}@{self.domain}"


@dataclass(frozen=True, slots=True)
class NullPattern:
    """The null sender, `<>` (RFC 5321 4.5.5)."""

    def __str__(self) -> str:
        """`<>`."""
        return "<>"


MailPattern = DomainPattern | AddressPattern | NullPattern


def parse_domain_pattern(text: str) -> DomainPattern:
    """`domain` or `*.domain`.

    Raises:
        Refused: `bad-pattern`.
    """
    try:
        if text.startswith("*."):
            return DomainPattern(parse_domain(text[2:]), below=True)
        return DomainPattern(parse_domain(text))
    except Refused as refused:
        raise Refused(
            "bad-pattern", f"write a domain, or *.domain for every domain below it: {refused}"
        ) from refused


def parse_address_pattern(text: str) -> AddressPattern:
    """`user@domain`, folded to lower case.

    Raises:
        Refused: `bad-pattern`.
    """
    local, _, domain = text.rpartition("@")
    try:
        return AddressPattern(parse_local_part(local).lower(), parse_domain(domain))
    except Refused as refused:
        raise Refused("bad-pattern", f"write user@domain: {refused}") from refused


def parse_recipient_pattern(text: str) -> DomainPattern | AddressPattern:
    """`user@domain`, `domain` or `*.domain`.

    Raises:
        Refused: `bad-pattern`.
    """
    return parse_address_pattern(text) if "@" in text else parse_domain_pattern(text)


def parse_sender_pattern(text: str) -> MailPattern:
    """As a recipient pattern, or `<>` for the null sender.

    Raises:
        Refused: `bad-pattern`.
    """
    return NullPattern() if text == "<>" else parse_recipient_pattern(text)
