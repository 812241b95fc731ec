"""Answers: which action takes an envelope, which relay gets it, which password goes with it.

smtpd evaluates the lines of its rules one criterion after the other, with nothing in between
(ruleset.c). Two lines hand an envelope over, piece by piece; from the last piece on each further
question is whether it is the next action:

    match tag regex <rm-walk> from any for any auth regex <rm-walk> reject
    match tag <rm-walk> from src <rm-walk> for any helo <rm-walk> mail-from <rm-walk>
        rcpt-to <rm-walk> action "first"
    match tag <rm-walk> from any for any action "second"
    …
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from app.routing.decision import decide, relay_for
from app.routing.envelope import NULL, Envelope, MailAddress, parse_client, parse_mail_address
from app.routing.errors import Refused
from app.routing.names import IPAddress
from app.routing.route import Draw
from app.table_program.channel import Answer, Question
from app.table_program.live import LiveFile, View

WALK = "rm-walk"
CREDENTIALS = "rm-credentials"

Say = Callable[[str, str], None]
"""Says something of one cause, which is written once a second at most."""


class Cause:
    """Causes of lines in the log."""

    CANNOT_TELL = "cannot tell"
    NOT_FIXED = "no such action"
    STRANGE = "strange question"


class _Stage(Enum):
    """How much of an envelope was handed over."""

    NOTHING = 0
    TAGGED = 1
    HANDED = 2
    DECIDED = 3


@dataclass(slots=True)
class _Pieces:
    """An envelope in pieces, as they were asked about."""

    tag: str = ""
    user: str | None = None
    client: str = "local"
    helo: str | None = None
    sender: str | None = None


class Walk:
    """The rules: which action takes an envelope."""

    def __init__(self, live: LiveFile, actions: Sequence[str], say: Say) -> None:
        self._live = live
        self._numbers = {name: number for number, name in enumerate(actions)}
        self._say = say
        self._stage = _Stage.NOTHING
        self._pieces = _Pieces()
        self._decided: int | None = -1
        self._next = 0
        self.revision = 0
        """Of the last answer."""

    def answer(self, question: Question) -> Answer:
        """The answer to one question of the walk."""
        service, key = question.service, question.key
        if service == "string":
            return self._string(key)
        if service == "regex":
            return self._regex(key)
        if self._stage is not _Stage.HANDED:
            self._say(Cause.STRANGE, f"asked about a {service or 'thing'} outside of a walk")
            return None
        if service == "mailaddr":
            return self._address(key)
        if service == "netaddr":
            self._pieces.client = key
        elif service == "domain":
            self._pieces.helo = key
        return True

    def _regex(self, key: str) -> Answer:
        if self._stage is _Stage.TAGGED:
            self._pieces.user = key
            return False
        self._pieces = _Pieces(tag=key)
        self._stage = _Stage.TAGGED
        return True

    def _string(self, key: str) -> Answer:
        if self._stage is _Stage.DECIDED:
            number, self._next = self._next, self._next + 1
            return None if self._decided == _CANNOT_TELL else self._decided == number
        if self._stage is _Stage.TAGGED:
            self._stage = _Stage.HANDED
            self._pieces.tag = key
            return True
        self._say(Cause.STRANGE, "asked about an action outside of a walk")
        return None

    def _address(self, key: str) -> Answer:
        if self._pieces.sender is None:
            self._pieces.sender = key
            return True
        self._stage, self._next = _Stage.DECIDED, 1
        self._decided = _CANNOT_TELL
        with self._live.read() as view:
            self._decided = self._decide(view, key)
        return None if self._decided == _CANNOT_TELL else self._decided == 0

    def _decide(self, view: View, recipient: str) -> int | None:
        """The number of the action that takes the envelope; None where no rule does."""
        self.revision = view.meta.revision
        envelope = _envelope(self._pieces, recipient, view.own)
        if envelope is None:
            self._say(Cause.CANNOT_TELL, "asked about an envelope of a form that is not known")
            return _CANNOT_TELL
        fixed = decide(view.table, view.structure.slots, envelope, view.down)
        if fixed is None:
            return None
        number = self._numbers.get(fixed.name)
        if number is None:
            self._say(Cause.NOT_FIXED, f"smtpd was started without the action {fixed.name}")
            return _CANNOT_TELL
        return number


_CANNOT_TELL = -1


def _envelope(pieces: _Pieces, recipient: str, own: frozenset[IPAddress]) -> Envelope | None:
    try:
        return Envelope(
            sender=_address(pieces.sender or "@"),
            recipient=_address(recipient),
            client=_client(pieces.client),
            auth_user=pieces.user or None,
            helo=pieces.helo,
            tag=pieces.tag,
            own_addresses=own,
        )
    except Refused:
        return None


def _address(key: str) -> MailAddress:
    return NULL if key == "@" else parse_mail_address(key)


def _client(key: str) -> IPAddress | None:
    """A client as smtpd writes it: IPv6 in brackets, with the link of a link-local address."""
    text = key.removeprefix("[").removesuffix("]")
    text = text[5:] if text[:5].lower() == "ipv6:" else text
    return parse_client(text.partition("%")[0])


class Relays:
    """One action: which relay gets an envelope that is queued under it."""

    def __init__(self, live: LiveFile, action: str, draw: Callable[[str], Draw]) -> None:
        self._live = live
        self._action = action
        self._draw = draw
        self.revision = 0
        """Of the last answer."""

    def answer(self, question: Question) -> Answer:
        """How smtpd spells the relay; false where there is none now."""
        if question.kind not in {"lookup", "fetch"} or question.service != "relayhost":
            return None
        with self._live.read() as view:
            self.revision = view.meta.revision
            asking = view.structure.actions.get(self._action)
            if asking is None:
                return False
            domain = question.key.lower()
            url = relay_for(view.table, asking, domain, view.down, self._draw)
            return False if url is None else self._live.spelling(url)


class Credentials:
    """User names and passwords by label."""

    def __init__(self, live: LiveFile) -> None:
        self._live = live
        self.revision = 0
        """Of the last answer."""

    def answer(self, question: Question) -> Answer:
        """`user:password`; false where there is none."""
        if question.kind != "lookup" or question.service != "credentials":
            return None
        with self._live.read() as view:
            self.revision = view.meta.revision
            login = view.structure.logins.get(question.key.lower())
            return False if login is None else f"{login.username}:{login.password}"


Table = Walk | Relays | Credentials
Tables = Mapping[str, Table]
