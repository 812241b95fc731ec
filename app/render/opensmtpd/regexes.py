"""Regular expressions for smtpd: a few shapes of our own, written and read.

POSIX extended, unanchored, both sides lower case. smtpd compiles them anew at every comparison,
never matches an invalid one and drops a line over 1,023 bytes in silence; either would make a
negated condition true. So nothing but these shapes is written, and nothing else is read back.
"""

import re
from enum import Enum

from app.render.opensmtpd import spelling
from app.render.opensmtpd.spelling import Unwritable
from app.render.opensmtpd.tails import ANY, LONGER, WHOLE, Piece, other_than


class KeyKind(Enum):
    """What smtpd compares."""

    MAIL = "mail"
    HELO = "helo"
    USER = "user"


_SPECIAL = frozenset(".\\+*?[](){}|^$")
_SOMETHING = {KeyKind.MAIL: "@.+", KeyKind.HELO: "^.+"}
"""What stands before a tail that begins with a dot; the rest of an address must be there."""
_EVERY_USER = "."


def write_regex(piece: Piece, kind: KeyKind) -> str:
    """The line that matches the keys of a piece and no others."""
    if any(ord(c) <= 32 or ord(c) >= 127 or c in '"\\' or c.isupper() for c in piece.text):
        raise Unwritable("pattern")
    body = "".join(f"\\{c}" if c in _SPECIAL else c for c in piece.text)
    if piece.lead != ANY:
        return spelling.list_line(f"{piece.lead}{body}$")
    if not piece.text and kind is KeyKind.USER:
        return _EVERY_USER
    if piece.text[:1] == "." and kind in _SOMETHING:
        return spelling.list_line(f"{_SOMETHING[kind]}{body}$")
    if piece.text[:1] == "@" and kind is KeyKind.MAIL:
        return spelling.list_line(f"{body}$")
    raise Unwritable("pattern")


_SHAPE = re.compile(
    r"""(?P<lead> \^\.\+ | @\.\+ | \^ | \. | \[\^ (?P<others> \]? [^\]]* ) \] | )
        (?P<body> (?: \\[.\\+*?\[\](){}|^$] | [^.\\+*?\[\](){}|^$] )* )
        \$""",
    re.VERBOSE,
)


class Unreadable(ValueError):
    """A line is none that we write; the message says where, never what."""


def read_regex(line: str, kind: KeyKind) -> Piece:
    """The piece whose line this is.

    Raises:
        Unreadable: the line is not exactly what `write_regex` writes for some piece.
    """
    if line == _EVERY_USER and kind is KeyKind.USER:
        return Piece("")
    found = _SHAPE.fullmatch(line)
    if found is None:
        raise Unreadable
    text = re.sub(r"\\(.)", r"\1", found["body"])
    lead = found["lead"]
    begins = lead if lead in {WHOLE, LONGER} or found["others"] else ANY
    piece = Piece(text, begins)
    try:
        same = write_regex(piece, kind) == line
    except Unwritable:
        same = False
    if not same or (found["others"] and lead != other_than(set(found["others"]))):
        raise Unreadable
    return piece
