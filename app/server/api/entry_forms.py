"""The forms in which entries of a table come, line by line: what each takes, and what it refuses.

`plain` is a pattern of what is written plainly and canonically, which is nearly every line of a big
file: its two groups are a key and the text of a next hop. Whatever it does not match is read by
`split`, which says what is wrong. No text of a file is repeated.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from pydantic import JsonValue

from app.routing.errors import Refused
from app.routing.table import ADDRESS_KEYS, TableKey
from app.server.api.strict_json import NotJson, parse_json

MAX_LINE = 8192
"""Octets of a line, or characters of an item of JSON: far more than any entry needs."""

PLAIN_KEY = 63
"""What `plain` says of a key holds for keys of at most so many characters: no label is longer."""


class Form(StrEnum):
    """A form of a table's entries; the value is its media type."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    CSV = "text/csv"
    TEXT = "text/plain"


Split = Callable[[str], tuple[str, str] | None]
"""The key and the next hop that a line holds, as texts; None for a line that holds nothing.

Raises Refused.
"""


@dataclass(frozen=True, slots=True)
class LineForm:
    """How the lines of one form are read, for keys of one kind.

    Attributes:
        plain: see above.
        split: see above.
        is_header: whether the first line is one that names the columns.
        takes_mark: whether a byte order mark may stand before the first line.
    """

    plain: re.Pattern[str]
    split: Split
    is_header: Callable[[str], bool] = lambda _: False
    takes_mark: bool = False


# Labels without doubled hyphens: an A-label has them, and has to be looked at. The last label
# begins with no digit: one that is a number is refused.
_LABEL = "[a-z0-9_]++(?:-[a-z0-9_]++)*+"
_DOMAIN = rf"(?:{_LABEL}\.)*+[a-z_][a-z0-9_]*+(?:-[a-z0-9_]++)*+"
_ATOM = "[a-z0-9!#$&'*+=?^_{|}~-]++"
_ADDRESS = rf"{_ATOM}(?:\.{_ATOM})*+@{_DOMAIN}"
_PATTERN = rf"(?:\*\.)?{_DOMAIN}"
_USER = r"[a-z0-9.!#$&'+=?^_{|}~@-]+"


def canonical_key(kind: TableKey) -> str:
    """A pattern of keys that are spelt canonically, if they are no longer than `PLAIN_KEY`."""
    if kind is TableKey.AUTH_USER:
        return _USER
    return f"(?:{_ADDRESS}|{_PATTERN})" if kind in ADDRESS_KEYS else _PATTERN


# --- NDJSON -----------------------------------------------------------------------------------

_IGNORED = frozenset({"revision", "created_at", "updated_at"})
"""What answers say of an entry beside these members."""


def split_object(text: str) -> tuple[str, str] | None:
    """The key and the next hop of a JSON object; None for a blank line.

    Raises:
        NotJson: it is not JSON as we read it.
        Refused: it is no object of an entry.
    """
    if not text.strip(" \t\r"):
        return None
    try:
        value = parse_json(text.encode("utf-8", "surrogatepass"))
    except NotJson as error:
        raise NotJson(str(error).replace("the body", "the line")) from None
    if not isinstance(value, dict):
        raise Refused("bad-type", 'a JSON object is wanted: {"key": …, "via": …}')
    if value.keys() - _IGNORED - {"key", "via"}:
        raise Refused("unknown-member", "a member of this object is not known here")
    return _member(value, "key"), _member(value, "via")


def _member(value: Mapping[str, JsonValue], name: str) -> str:
    member = value.get(name)
    if isinstance(member, str):
        return member
    if name not in value:
        raise Refused("missing", f"the {name} is needed")
    raise Refused("bad-type", f"the {name} is a text")


def _split_ndjson(line: str) -> tuple[str, str] | None:
    try:
        return split_object(line)
    except NotJson as error:
        raise Refused(error.code, str(error).replace("at line 1, column", "at column")) from None


def plain_object(kind: TableKey) -> str:
    """A pattern of the object of an entry as programs write it."""
    return rf'\{{"key": ?"({canonical_key(kind)})", ?"via": ?"([!#-\[\]-~]{{1,512}})"\}}'


# --- CSV --------------------------------------------------------------------------------------

_QUOTED = re.compile(
    r'(?:"((?:[^"]|"")*+)"|([^",]*+)),(?:"((?:[^"]|"")*+)"|([^",]*+))\r?', re.DOTALL
)
_HEADER = ("key", "via")


def _fields(line: str) -> tuple[str, str] | None:
    match = _QUOTED.fullmatch(line)
    if match is None:
        return None
    key = match[2] if match[1] is None else match[1].replace('""', '"')
    via = match[4] if match[3] is None else match[3].replace('""', '"')
    return key, via.removesuffix("\r")


def _is_header(line: str) -> bool:
    return _fields(line) == _HEADER


def _split_csv(line: str) -> tuple[str, str] | None:
    """RFC 4180; a record is one line, since neither a key nor a next hop holds a line's end."""
    if line in {"", "\r"}:
        return None
    fields = _fields(line)
    if fields is None:
        raise Refused(
            "bad-row",
            "a line holds two fields, the key and the next hop, with a comma between; a quoted one"
            " ends on its line",
        )
    if sorted(map(str.lower, fields)) == sorted(_HEADER):
        raise Refused("bad-row", "the header is key,via and stands in the first line")
    return fields


# --- text -------------------------------------------------------------------------------------

_BLANKS = re.compile(r"[ \t]+")


def _split_text(line: str) -> tuple[str, str] | None:
    r"""`#` begins a comment before a word; a key that begins with it is written `\#…`."""
    stripped = line.strip(" \t\r")
    words = _BLANKS.split(stripped) if stripped else []
    comment = next((n for n, word in enumerate(words) if word.startswith("#")), len(words))
    match words[:comment]:
        case []:
            return None
        case [key, via]:
            return key.removeprefix("\\") if key.startswith("\\#") else key, via
        case _:
            raise Refused(
                "bad-row", "a line holds a key and a next hop, with blanks between; # is a comment"
            )


# --- all --------------------------------------------------------------------------------------


def _line_forms(kind: TableKey) -> Mapping[Form, LineForm]:
    key = canonical_key(kind)
    ndjson = re.compile(plain_object(kind) + r"\r?")
    csv = re.compile(rf"({key}),([!#-+\--~]{{1,512}})\r?")
    text = re.compile(rf"(?!#)({key})[ \t]+([!$-~][!-~]{{0,511}})[ \t]*\r?")
    return MappingProxyType(
        {
            Form.NDJSON: LineForm(ndjson, _split_ndjson),
            Form.CSV: LineForm(csv, _split_csv, _is_header, takes_mark=True),
            Form.TEXT: LineForm(text, _split_text, takes_mark=True),
        }
    )


@cache
def line_form(form: Form, kind: TableKey) -> LineForm:
    """How the lines of a form are read, for keys of a kind. Raises KeyError for JSON."""
    return _line_forms(kind)[form]
