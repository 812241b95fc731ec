"""Domains, hosts and addresses in their one canonical spelling, and the keys they are found under.

Domains are kept as lower-case A-labels (RFC 5890); what only looks like ASCII is refused, not
repaired. What libc would read as an address but is no plain dotted quad is refused as well
(inet_aton(3)): a check on the text would pass, and the daemon would connect elsewhere.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

import idna

from app.routing.errors import Refused

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
T = TypeVar("T")
V = TypeVar("V")

NAME_PATTERN = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
LABEL_PATTERN = r"[a-z0-9_][a-z0-9._-]{0,62}"
"""Credential labels, and names of relays in a map."""

_NAME = re.compile(NAME_PATTERN)
_LABEL = re.compile(LABEL_PATTERN)
_DNS_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_USER = re.compile(r"[A-Za-z0-9.!#$&'+=?^_{|}~@-]{1,255}")
_ATOM = re.compile(r"[A-Za-z0-9.!#$&'*+=?^_{|}~-]{1,64}")


def parse_name(text: str) -> str:
    """The name of a relay map, table, rule or MTA.

    Raises:
        Refused: `bad-name`.
    """
    if _NAME.fullmatch(text):
        return text
    raise Refused(
        "bad-name",
        "a name is 1 to 63 lower-case letters, digits and hyphens, begins with a letter and does"
        " not end with a hyphen",
    )


def parse_label(text: str) -> str:
    """A credential label or the name of a relay, folded to lower case.

    Raises:
        Refused: `bad-label`.
    """
    folded = text.lower() if text.isascii() else text
    if _LABEL.fullmatch(folded):
        return folded
    raise Refused(
        "bad-label",
        "a label is 1 to 63 of a-z, 0-9, '.', '_' and '-', and begins with a letter, a digit or"
        " '_'",
    )


def parse_domain(text: str) -> str:
    """A DNS name as lower-case A-labels, at most 253 octets, without a trailing dot.

    Raises:
        Refused: `bad-domain`.
    """
    name = parse_dns_name(".".join(_a_label(label) for label in text.split(".")))
    for label in name.split("."):
        if label.startswith("xn--"):
            _check_a_label(label)
    if _NUMERIC.fullmatch(name.rpartition(".")[2]):
        raise Refused(
            "bad-domain",
            "the last label is a number, which a resolver may read as an address; write a plain"
            " dotted quad or a name",
        )
    return name


def parse_dns_name(text: str) -> str:
    """A name of ASCII labels, lower case: what an MTA takes for a domain, A-label or not.

    Raises:
        Refused: `bad-domain`.
    """
    if not text:
        raise Refused("bad-domain", "the name is empty")
    if len(text) > 253:
        raise Refused("bad-domain", "the name is longer than 253 octets")
    name = text.lower() if text.isascii() else text
    for label in name.split("."):
        if not label:
            raise Refused("bad-domain", "a label is empty: no leading, trailing or doubled dot")
        if len(label) > 63:
            raise Refused("bad-domain", "a label is longer than 63 octets")
        if not _DNS_LABEL.fullmatch(label):
            raise Refused(
                "bad-domain",
                "a label holds letters, digits, '-' and '_' only, and no '-' first or last",
            )
    return name


def _a_label(label: str) -> str:
    if label.isascii():
        return label
    if "\u200d" in label:
        raise Refused("bad-domain", "the name holds an invisible joiner (U+200D)")
    try:
        return idna.alabel("".join(map(_lower, label))).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise Refused("bad-domain", "the name is not valid in IDNA 2008") from error


def _lower(character: str) -> str:
    """Lower case where that is one letter and its way back; a Kelvin sign is no 'k'."""
    lower = character.lower()
    return lower if lower.upper() == character else character


def _check_a_label(label: str) -> None:
    try:
        round_trip = idna.alabel(idna.ulabel(label)).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise Refused("bad-domain", "an 'xn--' label is not valid in IDNA 2008") from error
    if round_trip != label:
        raise Refused("bad-domain", "an 'xn--' label is not the spelling that IDNA 2008 gives it")


def parse_address(text: str) -> IPAddress:
    """An IPv4 or IPv6 address, without zone id; no IPv4 address mapped into IPv6.

    Raises:
        Refused: `bad-address`.
    """
    try:
        address = ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        address = None
    if address is None:
        raise Refused("bad-address", "this is no IPv4 or IPv6 address")
    if address.version == 6 and address.ipv4_mapped is not None:
        # OpenSMTPD never meets one: its sockets are of one family. Pythons spell them differently.
        raise Refused("bad-address", "write IPv4 addresses as IPv4, not mapped into IPv6")
    return address


def parse_network(text: str) -> IPNetwork:
    """An address or a network in CIDR form; bits of the host part are masked away.

    IPv4-mapped IPv6 is refused: OpenSMTPD never matches an IPv4 client with it.

    Raises:
        Refused: `bad-network`.
    """
    try:
        network = ipaddress.ip_network(text, strict=False) if "%" not in text else None
    except ValueError:
        network = None
    if network is None or ("/" in text and not text.rpartition("/")[2].isdigit()):
        raise Refused("bad-network", "this is no address or network such as 192.0.2.0/24")
    if network.version == 6 and network.subnet_of(_V4_MAPPED):
        raise Refused("bad-network", "write IPv4 networks as IPv4, not mapped into IPv6")
    return network


_V4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def parse_host(text: str) -> str:
    """The host part of a relay URL: a domain, a dotted quad, or an IPv6 address in brackets.

    IPv4 in brackets loses them; IPv6 is compressed and keeps them; `IPv6:` inside goes.

    Raises:
        Refused: `bad-host`.
    """
    if text.startswith("["):
        return _literal(text)
    with suppress(ValueError):  # what is no dotted quad may be a domain
        return str(ipaddress.IPv4Address(text))
    try:
        return parse_domain(text)
    except Refused as refused:
        raise Refused("bad-host", f"the host is not valid: {refused}") from refused


def _literal(text: str) -> str:
    inner = text[1:-1] if text.endswith("]") else ""
    tagged = inner[:5].lower() == "ipv6:"
    try:
        address = parse_address(inner[5:] if tagged else inner)
    except Refused as refused:
        raise Refused("bad-host", f"the brackets do not hold an address: {refused}") from refused
    if tagged and address.version != 6:
        raise Refused("bad-host", "IPv6: stands before an IPv6 address only")
    return f"[{address}]" if address.version == 6 else str(address)


def host_address(host: str) -> IPAddress | None:
    """The address that a canonical host is, or None for a domain."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def parse_local_part(text: str) -> str:
    """The local part of an address in a pattern or key, as written.

    Raises:
        Refused: `bad-local-part`.
    """
    if not _ATOM.fullmatch(text) or text[0] == "." or text[-1] == "." or ".." in text:
        raise Refused(
            "bad-local-part",
            "the part before '@' is 1 to 64 letters, digits and .!#$&'*+=?^_{|}~-, with no dot"
            " first, last or doubled",
        )
    return text


def parse_user(text: str) -> str:
    """The name of a user who logs in by SMTP AUTH, folded to lower case; it may hold '@'.

    Raises:
        Refused: `bad-user`.
    """
    if not _USER.fullmatch(text):
        raise Refused("bad-user", "a user name is 1 to 255 letters, digits and .!#$&'+=?^_{|}~@-")
    return text.lower()


def keys_of(text: str) -> tuple[str, ...]:
    """The keys under which an address, a domain or a pattern is found, most specific first.

    joe@a.b.c gives itself, a.b.c, *.b.c, *.c; *.b.c gives itself and *.c. A pattern means whatever
    has it among its keys; one pattern holds another that has it among its keys.
    """
    _, at, domain = text.rpartition("@")
    if domain.startswith("["):
        return (text,)
    return (text, *keys_of_domain(domain)) if at else keys_of_domain(domain)


def finder(rows: Mapping[str, V], domain_of: Callable[[T], str]) -> Callable[[T, list[V]], None]:
    """What adds to a list what rows have under the keys of a domain, most specific first.

    Quicker than to go through `keys_of_domain` as long as few domains come again.

    Args:
        rows: what is added; no value is None.
        domain_of: a domain (not a pattern), a literal or "", of what is asked about.
    """
    get = rows.get
    wild = (text.count(".") for text in rows if text.startswith("*."))
    least = min(wild, default=256)  # more dots than any domain has

    def find(asked: T, found: list[V]) -> None:
        domain = domain_of(asked)
        row = get(domain)
        if row is not None:
            found.append(row)
        dots = domain.count(".")
        if dots >= least:
            at = -1
            while dots >= least:  # shorter ones are not there
                at, dots = domain.find(".", at + 1), dots - 1
                row = get("*" + domain[at:])
                if row is not None:
                    found.append(row)

    return find


_MOST_KNOWN = 32_768
_known: dict[str, tuple[str, ...]] = {}


def keys_of_domain(domain: str) -> tuple[str, ...]:
    """As `keys_of`, of a domain or a pattern of domains; remembered for those asked about of late.

    All are forgotten at once when they become too many: to keep them by their age would cost those
    that are new more than it saves those that are not.
    """
    known = _known.get(domain)
    if known is not None:
        return known
    keys = [domain]
    dot = domain.find(".", 2 if domain.startswith("*.") else 0)
    while dot >= 0:
        keys.append("*" + domain[dot:])
        dot = domain.find(".", dot + 1)
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    return _known.setdefault(domain, tuple(keys))
