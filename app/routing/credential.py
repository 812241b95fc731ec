"""Credentials as the routing knows them: a label, the hosts it may go to, never the password."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.routing.errors import Refused
from app.routing.names import host_address, keys_of, parse_host
from app.routing.patterns import parse_domain_pattern
from app.routing.relay_url import RelayURL

MAX_HOSTS = 100


@dataclass(frozen=True, slots=True)
class Credential:
    """What exists under a label.

    Attributes:
        revision: the revision of routing in which the secret or its hosts last changed.
        hosts: where the password may be sent: names, `*.parent`, or addresses.
        allow_unverified: whether it may go to a relay whose certificate nobody checks.
    """

    label: str
    revision: int
    hosts: tuple[str, ...]
    allow_unverified: bool = False

    def allows(self, host: str) -> bool:
        """Whether the password may be sent to a canonical host of a relay URL."""
        names = (host,) if host_address(host) is not None else keys_of(host)
        return any(name in self.hosts for name in names)


def parse_credential_host(text: str) -> str:
    """A host name, `*.parent`, or an address as a relay URL writes it, canonical.

    Raises:
        Refused: `bad-host`.
    """
    if text.startswith("*."):
        try:
            return str(parse_domain_pattern(text))
        except Refused as refused:
            raise Refused("bad-host", str(refused)) from refused
    return parse_host(text)


def parse_username(text: str) -> str:
    """A user name for SMTP AUTH: one line without ':' (smtpd splits user:password there).

    Raises:
        Refused: `bad-username`.
    """
    if ":" in text or not _is_one_line(text):
        raise Refused(
            "bad-username", "a username is 1 to 255 octets of UTF-8 without ':' and controls"
        )
    return text


def parse_password(text: str) -> str:
    """A password for SMTP AUTH: one line of 1 to 255 octets, no control characters.

    Raises:
        Refused: `bad-password`.
    """
    if not _is_one_line(text):
        raise Refused("bad-password", "a password is 1 to 255 octets of UTF-8 without controls")
    return text


def _is_one_line(text: str) -> bool:
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    controls = any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in text)
    return 1 <= size <= 255 and not controls and text == text.strip()


def may_log_in(credentials: Mapping[str, Credential], url: RelayURL, *, verified: bool) -> bool:
    """Whether a relay may be given the password that its label stands for; true without a label.

    Args:
        credentials: those of the routing, by label.
        url: the relay.
        verified: whether its certificate is checked before.
    """
    if url.credential is None:
        return True
    credential = credentials.get(url.credential)
    if credential is None or not credential.allows(url.host):
        return False
    return verified or credential.allow_unverified
