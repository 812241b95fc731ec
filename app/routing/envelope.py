"""The envelope that a question is about: who sends what to whom, from where.

RFC 5321 2.3.1. Local parts and domains are folded to lower case, as every comparison is; the
local part is kept as it was written for the next hop, which may tell Joe from joe.
"""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from app.routing.addresses import DOMAIN, LOCAL
from app.routing.errors import Refused
from app.routing.names import IPAddress, keys_of, keys_of_domain, parse_address

LOOPBACK: frozenset[IPAddress] = frozenset({IPv4Address("127.0.0.1"), IPv6Address("::1")})


@dataclass(slots=True, unsafe_hash=True)  # not frozen: that takes three times as long to make
class MailAddress:
    """A mailbox as `local@domain`, lower case; nobody changes one.

    The null sender is `NULL`, with both parts empty.

    Attributes:
        literal: set where the domain is an address in brackets.
        written_local: the local part before it was folded.
    """

    local: str
    domain: str
    literal: IPAddress | None = None
    written_local: str = field(default="", compare=False)
    _keys: tuple[str, ...] | None = field(default=None, init=False, compare=False, repr=False)

    def __str__(self) -> str:
        """`local@domain`, or nothing for the null sender."""
        return f"{self.local}@{self.domain}" if self.domain else ""

    @property
    def spelling(self) -> str:
        """As `str`, with the local part as it was written."""
        return f"{self.written_local or self.local}@{self.domain}" if self.domain else ""

    @property
    def keys(self) -> tuple[str, ...]:
        """What patterns and tables find it under; `<>` for the null sender."""
        keys = self._keys
        if keys is None:
            keys = self._keys = (str(self) or "<>", *self.domain_keys)
        return keys

    @property
    def domain_keys(self) -> tuple[str, ...]:
        """Those of `keys` under which its domain is found: none of a literal or the null sender."""
        domain = self.domain
        return () if not domain or self.literal is not None else keys_of_domain(domain)


NULL = MailAddress("", "")


class Undeliverable(Refused):
    """An address of a form that the MTA refuses before any rule."""


@dataclass(slots=True, unsafe_hash=True)
class Envelope:
    """One recipient of one message; nobody changes one.

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
    def user_keys(self) -> tuple[str, ...]:
        """What conditions find the login under; empty without one."""
        return () if self.auth_user is None else (self.auth_user, "*")

    @property
    def helo_keys(self) -> tuple[str, ...]:
        """What patterns find the HELO under; empty where it is not known."""
        return () if self.helo is None else keys_of(self.helo)

    @property
    def tag_keys(self) -> tuple[str, ...]:
        """What conditions find the tag under; empty without one."""
        return (self.tag,) if self.tag else ()

    @property
    def is_local(self) -> bool:
        """Whether the client is the control socket or an address of the host itself."""
        return self.client is None or self.client in self.own_addresses


_MAX_LOCAL = 255
_LABEL = re.compile(r"[a-z0-9_-]+")
_ATEXT = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_ORDINARY = re.compile(f"({LOCAL})@({DOMAIN})")


def parse_mail_address(text: str) -> MailAddress:
    """An envelope address that an MTA would take at MAIL or RCPT; "" is the null sender.

    What smtpd was seen to take is taken, though RFC 5321 has it narrower: longer local parts,
    hyphens at the ends of labels, address literals without or with the wrong tag.

    Raises:
        Undeliverable: a form that OpenSMTPD refuses before any rule (quoted local part, empty
            atom, trailing dot, non-ASCII); also one without a domain, to which smtpd gives the
            name of its listener's host, that nobody here knows.
    """
    ordinary = _ORDINARY.fullmatch(text)
    if ordinary is not None and ".." not in text and ".@" not in text and text[-1] != ".":
        written, domain = ordinary.groups()
        return MailAddress(written.lower(), domain.lower(), None, written)
    if text == "":
        return NULL
    local, at, domain = text.rpartition("@")
    if not at or not _ATEXT.fullmatch(local) or len(local) > _MAX_LOCAL:
        raise Undeliverable("bad-address", "the part before '@' is one that the MTA refuses")
    if domain.startswith("[") and domain.endswith("]"):
        literal = _parse_literal(domain[1:-1])
        return MailAddress(local.lower(), _literal_text(literal), literal, local)
    try:
        return MailAddress(local.lower(), _parse_name(domain), written_local=local)
    except Refused as refused:
        raise Undeliverable("bad-address", f"the domain is not valid: {refused}") from refused


def _parse_name(text: str) -> str:
    """A name as glibc's res_hnok(3) takes it for smtpd: hyphens anywhere but at its beginning.

    Raises:
        Refused: `bad-domain`.
    """
    name = text.lower()
    labels = name.split(".")
    known = text.isascii() and len(name) <= 253 and not name.startswith("-")
    if known and all(len(label) <= 63 and _LABEL.fullmatch(label) for label in labels):
        return name
    raise Refused("bad-domain", "a name is of labels of letters, digits, '-' and '_'")


def _parse_literal(inner: str) -> IPAddress:
    text = inner[5:] if inner[:5].lower() == "ipv6:" else inner
    try:
        return ip_address(text if "%" not in text else "")
    except ValueError:
        raise Undeliverable("bad-address", "the address literal is not valid") from None


def _literal_text(address: IPAddress) -> str:
    return f"[ipv6:{address}]" if address.version == 6 else f"[{address}]"


def parse_helo(text: str) -> str:
    """The argument of HELO or EHLO, lower case: a name, or an address literal (RFC 5321 4.1.3).

    Raises:
        Refused: `bad-helo`; an MTA answers 501 to it.
    """
    try:
        if text.startswith("[") and text.endswith("]"):
            return _literal_text(_parse_literal(text[1:-1]))
        return _parse_name(text)
    except Refused as refused:
        raise Refused("bad-helo", f"a HELO is a host name or an address literal: {refused}") from (
            refused
        )


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
