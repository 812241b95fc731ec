"""A rule's conditions as criteria of a `match` line: one use of each word, one list each.

Within a line all criteria must hold; a list holds if one of its lines does; `!` is for "none".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from app.render.opensmtpd import networks, spelling
from app.render.opensmtpd.limits import MAX_LIST_LINES, MAX_REGEX_LINES
from app.render.opensmtpd.regexes import KeyKind, write_regex
from app.render.opensmtpd.tails import (
    ANY,
    WHOLE,
    Piece,
    TailSet,
    helo_tail,
    is_helo_key,
    is_mail_key,
    mail_tail,
    user_tail,
)
from app.routing.conditions import AuthUsers, Clients, Helos, Recipients, Senders, Tags
from app.routing.errors import ControlError
from app.routing.names import IPAddress
from app.routing.rule import Match


class Slot(Enum):
    """Where a criterion stands in a line: the order in which smtpd looks at them."""

    TAG = 0
    FROM = 1
    FOR = 2
    HELO = 3
    AUTH = 4
    MAIL_FROM = 5
    RCPT_TO = 6


class CannotSay(ControlError):
    """A condition is beyond what the daemon can be asked to look through."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion.

    Attributes:
        words: such as `mail-from regex`.
        file: the list that it looks through; "" for words that need none.
        lines: what the list holds.
    """

    slot: Slot
    words: str
    file: str = ""
    lines: tuple[str, ...] = ()
    negated: bool = False

    @property
    def is_regex(self) -> bool:
        """Whether its list holds regular expressions."""
        return self.words.endswith(" regex")

    def __str__(self) -> str:
        """As it stands in a `match` line."""
        table = f" <{table_name(self.file)}>" if self.file else ""
        return f"{'! ' if self.negated else ''}{self.words}{table}"


Conjunction = tuple[Criterion, ...]
"""Criteria of one condition in one line."""
Alternatives = tuple[Conjunction, ...]
"""A condition as one conjunction or, split for speed, two; none at all: it can never hold."""

ALWAYS: Alternatives = ((),)
NEVER: Alternatives = ()


def table_name(file: str) -> str:
    """The name of the table that is read from a list file."""
    return f"rm-{file}"


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one condition on keys is said.

    Attributes:
        exact: words for a list of whole keys or domains, which is looked through fast.
        exact_line: the line of such a list for a piece; None where the piece needs a regex.
    """

    name: str
    key: KeyKind
    is_key: Callable[[str], bool]
    slot: Slot
    regex: str
    exact_slot: Slot
    exact: str
    exact_line: Callable[[Piece], str | None]

    def criterion(self, file: str, pieces: Iterable[Piece], *, negated: bool = False) -> Criterion:
        """A list of regular expressions; its file name ends in `-re`."""
        lines = sorted({write_regex(piece, self.key) for piece in pieces})
        if len(lines) > MAX_REGEX_LINES:
            raise CannotSay(
                "condition-size",
                f"its {self.name} need {len(lines)} regular expressions in one list, the limit is"
                f" {MAX_REGEX_LINES}",
            )
        return Criterion(self.slot, self.regex, f"{file}-re", tuple(lines), negated)

    def exact_criterion(
        self, file: str, pieces: Iterable[Piece], *, negated: bool = False
    ) -> Criterion:
        """A list of whole keys or domains."""
        found = {self.exact_line(piece) for piece in pieces}
        lines = sorted(spelling.list_line(line) for line in found if line is not None)
        return Criterion(
            self.exact_slot, self.exact, file, _bounded(tuple(lines), self.name), negated
        )

    def split(self, pieces: Iterable[Piece]) -> tuple[list[Piece], list[Piece]]:
        """The pieces that an exact list can hold, and the others."""
        exact: list[Piece] = []
        rest: list[Piece] = []
        for piece in pieces:
            (rest if self.exact_line(piece) is None else exact).append(piece)
        return exact, rest


def _bounded(lines: tuple[str, ...], name: str) -> tuple[str, ...]:
    if len(lines) > MAX_LIST_LINES:
        raise CannotSay(
            "list-size",
            f"its {name} need a list of {len(lines)} lines, and more than {MAX_LIST_LINES} slow"
            " every recipient down",
        )
    return lines


def _domain_line(piece: Piece) -> str | None:
    return piece.text[1:] if piece.lead == ANY and piece.text[:1] == "@" else None


def _at_domain_line(piece: Piece) -> str | None:
    return piece.text if piece.lead == ANY and piece.text[:1] == "@" else None


def _helo_line(piece: Piece) -> str | None:
    return piece.text if piece.lead == WHOLE else None


def _no_line(_piece: Piece) -> str | None:
    # A list of plain user names is no exact list: a name with '@' is looked up as an address.
    return None


RECIPIENTS = _Kind(
    "recipients", KeyKind.MAIL, is_mail_key, Slot.RCPT_TO, "rcpt-to regex",
    Slot.FOR, "for domain", _domain_line,
)  # fmt: skip
SENDERS = _Kind(
    "senders", KeyKind.MAIL, is_mail_key, Slot.MAIL_FROM, "mail-from regex",
    Slot.MAIL_FROM, "mail-from", _at_domain_line,
)  # fmt: skip
HELOS = _Kind(
    "helos", KeyKind.HELO, is_helo_key, Slot.HELO, "helo regex", Slot.HELO, "helo", _helo_line
)
USERS = _Kind(
    "auth_users", KeyKind.USER, bool, Slot.AUTH, "auth regex", Slot.AUTH, "auth", _no_line
)
KEYED = (RECIPIENTS, SENDERS, HELOS, USERS)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that a condition wants: those of `wanted` (None: all) but those of `unwanted`."""

    wanted: TailSet | None
    unwanted: TailSet


def key_set(match: Match, kind: _Kind) -> KeySet:
    """The keys that a rule's condition of a kind, and its negation, leave."""
    positive, negative = match.positive(kind.name), match.negative(kind.name)
    wanted = None if positive is None else _tails(positive)
    return KeySet(wanted, TailSet(()) if negative is None else _tails(negative))


def _tails(condition: object) -> TailSet:
    if isinstance(condition, Senders | Recipients):
        return TailSet(mail_tail(pattern) for pattern in condition.patterns)
    if isinstance(condition, Helos):
        return TailSet(helo_tail(pattern) for pattern in condition.patterns)
    if isinstance(condition, AuthUsers):
        return TailSet(user_tail(user) for user in condition.users)
    raise TypeError(type(condition).__name__)


def keyed_alternatives(kind: _Kind, keys: KeySet, file: str) -> Alternatives:
    """A condition on keys, with its negation, as criteria.

    Raises:
        CannotSay: it needs more lines than the daemon looks through in good time.
    """
    if keys.wanted is None:
        return ((*_unwanted(kind, keys.unwanted.pieces(), f"{file}-not"),),)
    pieces = keys.wanted.less(keys.unwanted, kind.is_key)
    if not pieces:
        return NEVER
    exact, rest = kind.split(pieces)
    if not rest:
        return ((kind.exact_criterion(file, exact),),)
    whole_domains = _whole_domains(kind, keys, file)
    if whole_domains is not None:
        return whole_domains
    if not exact or len(pieces) <= MAX_REGEX_LINES:
        return ((kind.criterion(file, pieces),),)
    return ((kind.exact_criterion(file, exact),), (kind.criterion(file, rest),))


def _whole_domains(kind: _Kind, keys: KeySet, file: str) -> Alternatives | None:
    """Recipients of whole domains less some: `for domain` and `! rcpt-to` share a line."""
    if kind is not RECIPIENTS or keys.wanted is None:
        return None
    left = [t for t in keys.wanted.tails if keys.unwanted.holder(t) is None]
    pieces = TailSet(left).pieces()
    if kind.split(pieces)[1]:
        return None
    holes = [t for t in keys.unwanted.tails if keys.wanted.holder(t) is not None]
    inner = [t for t in holes if t not in keys.wanted.tails]
    unwanted = kind.criterion(f"{file}-not", TailSet(inner).pieces(), negated=True)
    return ((kind.exact_criterion(file, pieces), unwanted),)


def _unwanted(kind: _Kind, pieces: list[Piece], file: str) -> Conjunction:
    if not pieces:
        return ()
    exact, rest = kind.split(pieces)
    if not rest:
        return (kind.exact_criterion(file, exact, negated=True),)
    if kind is RECIPIENTS and exact:
        return (
            kind.exact_criterion(file, exact, negated=True),
            kind.criterion(file, rest, negated=True),
        )
    return (kind.criterion(file, pieces, negated=True),)


def client_alternatives(match: Match, own: Iterable[IPAddress], rule_id: str) -> Alternatives:
    """The clients of a rule as criteria; `own` are the addresses of the MTA's host."""
    positive, negative = match.clients(), match.negative("clients")
    file = f"{rule_id}-clients"
    excluded = negative if isinstance(negative, Clients) else Clients()
    if excluded.any:
        return NEVER
    simple = not excluded.networks
    if positive.any and simple:
        return ((Criterion(Slot.FROM, "from local", negated=True),),) if excluded.local else _FROM
    own = tuple(own)
    if positive.any:
        lines = networks.client_list(excluded, own).lines()
        words = Criterion(
            Slot.FROM, "from src", f"{file}-not", _bounded(tuple(lines), "clients"), negated=True
        )
        return ((words,),)
    if simple and not excluded.local and not positive.networks:
        return ((Criterion(Slot.FROM, "from local"),),)
    wanted = networks.client_list(positive, own)
    lines = networks.less(wanted, networks.client_list(excluded, own)).lines()
    if not lines:
        return NEVER
    return ((Criterion(Slot.FROM, "from src", file, _bounded(tuple(lines), "clients")),),)


_FROM: Alternatives = ((Criterion(Slot.FROM, "from any"),),)


def tag_alternatives(match: Match, rule_id: str) -> Alternatives:
    """The tags of a rule as criteria."""
    positive, negative = match.positive("tags"), match.negative("tags")
    unwanted = set(negative.tags) if isinstance(negative, Tags) else set()
    if isinstance(positive, Tags):
        return _tags(set(positive.tags) - unwanted, f"{rule_id}-tags", negated=False)
    return _tags(unwanted, f"{rule_id}-tags-not", negated=True) if unwanted else ALWAYS


def _tags(tags: set[str], file: str, *, negated: bool) -> Alternatives:
    lines = tuple(sorted(spelling.tag(tag) for tag in tags))
    return ((Criterion(Slot.TAG, "tag", file, lines, negated),),) if lines else NEVER
