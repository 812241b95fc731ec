"""What smtpd's log tells of relays: where mail could not be handed over, and which mail.

Peers and senders put their own words into these lines, quotes unescaped. So a line is read from
its left, where smtpd speaks, and one in which somebody says what smtpd says is not believed.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address

from app.wire import Cause

MAX_SESSIONS = 10_000
_CONNECTING = re.compile(
    r"([0-9a-f]{16}) mta connecting address=[a-z+]{4,10}://([0-9A-Za-z.:\[\]]{1,64}):([0-9]{1,5})"
    r" host="
)
_ERROR = re.compile(r"([0-9a-f]{16}) mta error reason=(.*)", re.DOTALL)
_ENDED = re.compile(r"([0-9a-f]{16}) mta disconnected reason=")
_DELIVERY = re.compile(r"([0-9a-f]{16}) mta delivery evpid=([0-9a-f]{16}) from=<")
_ANCHOR = '> source="'
_OUTCOME = re.compile(
    r'[^" ]{1,64}" relay="([^" ]{1,255})(?: \([^" ]{0,255}\))?" delay=[0-9a-z]{1,40}'
    r' result="(Ok|TempFail|PermFail)" stat="(.?.?.?)'
)
_UNRESOLVED = re.compile(
    r"smtp-out: Failed to resolve MX for \[relay:(\[[^\]]{1,64}\]|[^\],]{1,255}),port=([0-9]{1,5}),"
)
_DISABLED = re.compile(r"smtp-out: Disabling route \S{2,80} <-> (\S{1,64}) \(")
_REPLY = re.compile(r"[A-Z/]{4,9} rejected: ([2-5][0-9]{2})\b")
_CONNECT = re.compile("(?:IO Error|Connection failed): ")
"""Before what the kernel says, a moment after connect(2) and at once."""
_CAUSES = (
    ("Connection refused", Cause.REFUSED),
    ("Connection timed out", Cause.TIMEOUT),
    ("Connection timeout", Cause.TIMEOUT),
    ("No route to host", Cause.UNREACHABLE),
    ("Network is unreachable", Cause.UNREACHABLE),
    ("BANNER rejected: ", Cause.NO_BANNER),
    ("EHLO rejected: ", Cause.NOT_SMTP),
    ("HELO rejected: ", Cause.NOT_SMTP),
    ("LHLO rejected: ", Cause.NOT_SMTP),
    ("STARTTLS rejected: ", Cause.STARTTLS_MISSING),
    ("TLS required but not supported by remote host", Cause.STARTTLS_MISSING),
    ("SSL certificate check failed", Cause.CERTIFICATE),
    ("AUTH rejected: ", Cause.AUTH_REFUSED),
)


@dataclass(frozen=True, slots=True)
class Failed:
    """smtpd could not get, or keep, a session.

    Attributes:
        place: an address, or the host of a relay URL where there was none.
        port: None where the line tells none.
        cause: None where the line tells none of ours.
    """

    place: str
    port: int | None = None
    cause: Cause | None = None
    reply: int | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """smtpd has handed an envelope over, and it has left the queue."""

    envelope: str
    place: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Waits:
    """An envelope was tried somewhere and stays in the queue.

    Attributes:
        place: an address, or the host of a relay URL where there was no session.
        unconnected: whether no reply of a peer is what it waits for.
    """

    envelope: str
    place: str
    unconnected: bool


@dataclass(frozen=True, slots=True)
class Bounced:
    """An envelope was refused for good, and has left the queue."""

    envelope: str


Told = Failed | Delivered | Waits | Bounced


class DaemonLog:
    """Reads line after line; it remembers no more than `MAX_SESSIONS` sessions."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def read(self, line: str) -> Told | None:
        """What a line tells; None: nothing that matters here."""
        if " mta " in line[:25]:
            return self._of_session(line)
        if line.startswith("smtp-out: "):
            return _of_routes(line)
        return None

    def _of_session(self, line: str) -> Told | None:
        if found := _DELIVERY.match(line):
            return self._outcome(found[1], found[2], line[found.end() :])
        if found := _CONNECTING.match(line):
            self._sessions[found[1]] = (place_of(found[2]), int(found[3]))
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        elif found := _ENDED.match(line):
            self._sessions.pop(found[1], None)
        elif found := _ERROR.match(line):
            return self._failed(found[1], found[2])
        return None

    def _failed(self, session: str, reason: str) -> Failed | None:
        where = self._sessions.get(session)
        if where is None:
            return None
        bare = _CONNECT.sub("", reason, count=1) if _CONNECT.match(reason) else reason
        cause = next((cause for words, cause in _CAUSES if bare.startswith(words)), None)
        reply = _REPLY.match(reason)
        return Failed(*where, cause, None if reply is None else int(reply[1]))

    def _outcome(self, session: str, envelope: str, rest: str) -> Told | None:
        """What became of an envelope; None where its sender or a peer says it as well."""
        _, anchor, after = rest.partition(_ANCHOR)
        found = _OUTCOME.match(after)
        if not anchor or _ANCHOR in after or found is None:
            return None
        place, result = place_of(found[1]), found[2]
        if result == "PermFail":
            return Bounced(envelope)
        if result == "Ok":
            return Delivered(envelope, place, self._sessions.get(session, ("", None))[1])
        # A peer's own words begin with its reply code; smtpd's never do.
        return Waits(envelope, place, unconnected=not re.match("[2-5][0-9]{2}", found[3]))


def _of_routes(line: str) -> Told | None:
    if found := _UNRESOLVED.match(line):
        return Failed(place_of(found[1]), int(found[2]), Cause.NO_ADDRESS)
    if found := _DISABLED.match(line):
        return Failed(place_of(found[1]))
    return None


def place_of(text: str) -> str:
    """An address or a host, however smtpd writes it, as it is compared here."""
    bare = text.removeprefix("[").removesuffix("]").lower().removeprefix("ipv6:")
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare
