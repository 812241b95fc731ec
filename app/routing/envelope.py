"""The envelope that a question is about: who sends what to whom, from where.

RFC 5321 2.3.1. Local parts and domains are folded to lower case, as every comparison is.
"""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from app.routing.errors import Refused
from app.routing.names import IPAddress, parse_address, parse_domain

LOOPBACK: frozenset[IPAddress] = frozenset({IPv4Address("127.0.0.1"), IPv6Address("::1")})


@dataclass(frozen=True, slots=True)
class MailAddress:
    """A mailbox as `local@domain`, lower case; `literal` is set where the domain is an address.

    The null sender is `NULL`, with both parts empty.
    """

    local: str
    domain: str
    literal: IPAddress | None = None

    def __str__(self) -> str:
        """`local@domain`, or nothing for the null sender."""
        return f"{self.local}@{self.domain}" if self.domain else ""


NULL = MailAddress("", "")


class Undeliverable(Refused):
    """An address of a form that the MTA refuses before any rule."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One recipient of one message.

    Attributes:
        sender: MAIL FROM, `NULL` for the null sender.
        recipient: RCPT TO.
        client: the client's address; None for the MTA's control socket.
        auth_user: the name given to SMTP AUTH, lower case; None without a login.
        helo: the argument of HELO or EHLO, lower case; None where not known.
        tag: the listener's tag, lower case; "" for none.
        own_addresses: addresses of the MTA's own host, loopback included.
    """

    sender: MailAddress
    recipient: MailAddress
    client: IPAddress | None = None
    auth_user: str | None = None
    helo: str | None = None
    tag: str = ""
    own_addresses: frozenset[IPAddress] = field(default=LOOPBACK)

    @property
    def is_local(self) -> bool:
        """Whether the client is the control socket or an address of the host itself."""
        return self.client is None or self.client in self.own_addresses


_ATEXT = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def parse_mail_address(text: str) -> MailAddress:
    """An envelope address that an MTA would take at MAIL or RCPT; "" is the null sender.

    Raises:
        Undeliverable: a form that OpenSMTPD refuses before any rule (quoted local part, empty
            atom, trailing dot, non-ASCII, no domain).
    """
    if text == "":
        return NULL
    local, at, domain = text.rpartition("@")
    if not at or not _ATEXT.fullmatch(local) or len(local) > 64:
        raise Undeliverable("undeliverable", "the part before '@' is one that the MTA refuses")
    if domain.startswith("[") and domain.endswith("]"):
        return _with_literal(local, domain[1:-1])
    if not domain.isascii():
        raise Undeliverable("undeliverable", "the MTA takes no domain beyond ASCII")
    try:
        return MailAddress(local.lower(), parse_domain(domain))
    except Refused as refused:
        raise Undeliverable("undeliverable", f"the domain is not valid: {refused}") from refused


def _with_literal(local: str, inner: str) -> MailAddress:
    tagged = inner[:5].lower() == "ipv6:"
    try:
        address = parse_address(inner[5:] if tagged else inner)
    except Refused as refused:
        raise Undeliverable("undeliverable", "the address literal is not valid") from refused
    if tagged != (address.version == 6):
        raise Undeliverable("undeliverable", "an IPv6 literal is written [IPv6:…] (RFC 5321 4.1.3)")
    prefix = "ipv6:" if tagged else ""
    return MailAddress(local.lower(), f"[{prefix}{address}]", address)


def parse_client(text: str) -> IPAddress | None:
    """A client: `local` for the control socket (None), or an address.

    Raises:
        Refused: `bad-client`.
    """
    if text == "local":
        return None
    try:
        return parse_address(text)
    except Refused as refused:
        raise Refused("bad-client", "a client is 'local' or an IPv4 or IPv6 address") from refused
