"""Answers: which action takes an envelope, which relay gets it, which password goes with it.

smtpd evaluates the lines of its rules one criterion after the other, with nothing in between
(ruleset.c). Two lines hand an envelope over, piece by piece; from the last piece on each further
question is whether it is the next action:

    match from src <rm-walk> for any auth regex <rm-walk> reject
    match tag <rm-walk> from any for any helo <rm-walk> mail-from <rm-walk> rcpt-to <rm-walk>
        action "first"
    match tag <rm-walk> from any for any action "second"
    …

    netaddr   the client     a new walk, wherever the one before was left       yes
    regex     the user       only asked of who has logged in; refuses nobody    no
    string    the tag                                                           yes
    domain    the HELO                                                          yes
    mailaddr  the sender                                                        yes
    mailaddr  the recipient  the first of the questions "is it action n?"
    string    the tag        the next one, and so on

No other question is asked with the client, so a walk that smtpd gave up lends nothing to the next.
What comes out of order is not guessed at: "cannot tell" is 451 to the client, who comes again.
"""

import marshal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
    """Which piece of an envelope was handed over last."""

    NOTHING = 0
    CLIENT = 1
    USER = 2
    TAG = 3
    HELO = 4
    SENDER = 5
    DECIDED = 6


_PIECES = {
    ("regex", _Stage.CLIENT): _Stage.USER,
    ("string", _Stage.CLIENT): _Stage.TAG,
    ("string", _Stage.USER): _Stage.TAG,
    ("domain", _Stage.TAG): _Stage.HELO,
    ("mailaddr", _Stage.HELO): _Stage.SENDER,
}
"""What each question is about, by what was handed over before it."""


class Walk:
    """The rules: which action takes an envelope."""

    def __init__(self, live: LiveFile, actions: Sequence[str], say: Say) -> None:
        self._live = live
        self._numbers = {name: number for number, name in enumerate(actions)}
        self._say = say
        self._stage = _Stage.NOTHING
        self._pieces: dict[_Stage, str] = {}
        self._decided: int | None = _CANNOT_TELL
        self._next = 0
        self.revision = 0
        """Of the last answer."""

    def state(self) -> bytes:
        """Where the walk is, for who goes on with it."""
        pieces = {stage.value: piece for stage, piece in self._pieces.items()}
        return marshal.dumps((self._stage.value, pieces, self._decided, self._next))

    def go_on(self, state: bytes) -> None:
        """Be where another one was; nowhere, if that is not known."""
        if state:
            stage, pieces, self._decided, self._next = marshal.loads(state)  # noqa: S302  our own
            self._stage = _Stage(stage)
            self._pieces = {_Stage(value): piece for value, piece in pieces.items()}

    def answer(self, question: Question) -> Answer:
        """The answer to one question of the walk."""
        service = question.service
        if service == "string" and self._stage is _Stage.DECIDED:
            number = self._next
            self._next = number + 1
            return None if self._decided == _CANNOT_TELL else self._decided == number
        if service == "netaddr":
            self._pieces = {_Stage.CLIENT: question.key}
            self._stage = _Stage.CLIENT
            return True
        if service == "mailaddr" and self._stage is _Stage.SENDER:
            return self._last(question.key)
        stage = _PIECES.get((service, self._stage))
        if stage is None:
            self._stage = _Stage.NOTHING
            self._say(Cause.STRANGE, f"asked about a {service or 'thing'} out of order")
            return None
        self._pieces[stage] = question.key
        self._stage = stage
        return stage is not _Stage.USER

    def _last(self, recipient: str) -> Answer:
        self._stage, self._next = _Stage.DECIDED, 1
        self._decided = _CANNOT_TELL
        with self._live.read() as view:
            self._decided = self._decide(view, recipient)
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


def _envelope(
    pieces: Mapping[_Stage, str], recipient: str, own: frozenset[IPAddress]
) -> Envelope | None:
    """The envelope that was handed over; None for one that smtpd takes and we do not know."""
    try:
        return Envelope(
            sender=_address(pieces[_Stage.SENDER]),
            recipient=_address(recipient),
            client=_client(pieces[_Stage.CLIENT]),
            auth_user=pieces.get(_Stage.USER, "").lower() or None,
            helo=pieces[_Stage.HELO].lower(),
            tag=pieces[_Stage.TAG].lower(),
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


def _domain(key: str) -> str:
    """The domain of a recipient; an address literal in the one spelling that it is hashed in."""
    if key.startswith("["):
        with suppress(Refused):
            return parse_mail_address(f"a@{key}").domain
    return key.lower()


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
            domain = _domain(question.key)
            left = self._live.left
            url = relay_for(view.table, asking, domain, view.down, self._draw, left)
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
