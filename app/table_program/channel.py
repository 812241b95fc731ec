"""How smtpd asks a table program: what it says on a descriptor as questions, and answers for it.

Until 7.5 these are imsg(3) frames of the table API, version 2; since 7.6 lines of text
(smtpd-tables(7)). Which of the two it is, the first octet tells.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

_HEADER = struct.Struct("=IHHII")  # type, length with this header, flags, peer id, pid
_OK, _OPEN, _CLOSE, _UPDATE, _CHECK, _LOOKUP, _FETCH = 0, 2, 3, 4, 5, 6, 7
_SERVICES = {
    0x002: "domain",
    0x004: "credentials",
    0x008: "netaddr",
    0x040: "mailaddr",
    0x200: "relayhost",
    0x400: "string",
    0x800: "regex",
}
_KINDS = {_CHECK: "check", _LOOKUP: "lookup", _FETCH: "fetch"}
_OTHERS = {_UPDATE: "update", _CLOSE: "close"}
_ASKED = struct.Struct("=iQ")  # service, number of parameters
_SERVED = ("domain", "credentials", "netaddr", "mailaddr", "relayhost", "string", "regex")

MAX_LINE = 16_384
"""Octets of a line that are looked at: smtpd's keys have at most 1,023."""
_FOUND, _NOT_FOUND, _CANNOT_TELL = 1, 0, -1
_MAX_VALUE = 8_192
"""Octets of an answer; imsg(3) has room for twice that."""


class Question(NamedTuple):
    """One question; a tuple, for one is made at each of smtpd's steps.

    Attributes:
        kind: `open`, `check`, `lookup`, `fetch`, `update` or `close`; "" where it is none.
        service: what kind of key it is; "" for one that we do not serve.
        key: the key, or for `open` the name of the table.
        token: what the answer must carry.
    """

    kind: str
    service: str = ""
    key: str = ""
    token: str = ""


Answer = str | bool | None
"""A value; whether the key is in the table; None: cannot tell."""


Taken = tuple[Question | None, int]
_NOT_YET: Taken = (None, 0)


class Channel(Protocol):
    """One way of asking."""

    def take(self, data: bytes, at: int) -> Taken:
        """The question that begins there, and where it ends: what comes next begins there.

        The same octets may be taken twice as long as the table has no name.

        Returns:
            0 as its end where it is not all there yet; no question where octets ask nothing.
        """
        ...

    def answer(self, question: Question, answer: Answer) -> bytes:
        """What says an answer; nothing where none is waited for."""
        ...


def _value(answer: str) -> bytes | None:
    """The octets of a value; None for what smtpd would read as something else."""
    try:
        value = answer.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        return None
    return None if b"\0" in value or b"\n" in value or len(value) > _MAX_VALUE else value


class Imsg:
    """6.4 to 7.5: frames of octets."""

    def take(self, data: bytes, at: int) -> Taken:
        """See `Channel.take`."""
        body = at + _HEADER.size
        if body > len(data):
            return _NOT_YET
        kind, size, _, _, _ = _HEADER.unpack_from(data, at)
        end = max(at + (size & 0x7FFF), body)
        return _NOT_YET if end > len(data) else (_of_frame(kind, data[body:end]), end)

    def answer(self, question: Question, answer: Answer) -> bytes:
        """See `Channel.answer`."""
        if question.kind == "close":
            return b""
        if question.kind == "open":
            return _frame(b"")
        if isinstance(answer, str):
            value = _value(answer)
            return _CANNOT if value is None else _frame(_YES_AND + value + b"\0")
        return _YES if answer else (_CANNOT if answer is None else _NO)


def _frame(body: bytes) -> bytes:
    return _HEADER.pack(_OK, _HEADER.size + len(body), 0, 0, 0) + body


_YES_AND = struct.pack("=i", _FOUND)
_YES, _NO, _CANNOT = (
    _frame(struct.pack("=i", result)) for result in (_FOUND, _NOT_FOUND, _CANNOT_TELL)
)


def _of_frame(kind: int, body: bytes) -> Question:
    asked = _KINDS.get(kind)
    if asked is not None:
        return _of_look_up(asked, body)
    if kind == _OPEN:
        return Question("open", key=_text(body[4:]))
    return Question(_OTHERS.get(kind, ""))


def _of_look_up(kind: str, body: bytes) -> Question:
    if len(body) < _ASKED.size:
        return Question("")
    service, parameters = _ASKED.unpack_from(body)
    rest = body[_ASKED.size :]
    for _ in range(min(2 * parameters, len(rest))):
        _, _, rest = rest.partition(b"\0")
    return Question(kind, _SERVICES.get(service, ""), _text(rest))


def _text(octets: bytes) -> str:
    return octets.partition(b"\0")[0].decode("utf-8", "replace")


class Lines:
    """Since 7.6: lines of text."""

    def __init__(self) -> None:
        self._name = ""
        self._too_long = False

    def take(self, data: bytes, at: int) -> Taken:
        """See `Channel.take`; what a line that is too long says up to its end asks nothing more."""
        newline = data.find(b"\n", at)
        whole, begun = newline >= 0, self._too_long
        if not whole and not begun and len(data) - at <= MAX_LINE:
            return _NOT_YET
        self._too_long = not whole
        line, end = (data[at:newline], newline + 1) if whole else (data[at:], len(data))
        if begun:
            return None, end if end > at else 0
        return self._of_line(line), end

    def answer(self, question: Question, answer: Answer) -> bytes:
        """See `Channel.answer`."""
        if question.kind == "open":
            services = "".join(f"register|{service}\n" for service in _SERVED)
            return f"{services}register|ready\n".encode()
        if not question.token:
            return b""
        if question.kind == "update":
            return f"update-result|{question.token}|ok\n".encode()
        if isinstance(answer, str):
            value = _value(answer)
            result = _SAID[None] if value is None else b"found|" + value
        else:
            result = _SAID[answer]
        return b"%s-result|%s|%s\n" % (
            (question.kind or "check").encode(),
            question.token.encode(),
            result,
        )

    def _of_line(self, line: bytes) -> Question:
        fields = line.decode("utf-8", "replace").split("|", 7)
        if fields[0] == "config":
            return self._of_config(fields)
        if fields[0] != "table" or len(fields) < 6:
            return Question("")
        kind, rest = fields[4], fields[5:]
        if kind == "update":
            return Question("update", token=rest[0])
        if kind not in {"check", "lookup", "fetch"} or len(rest) < 2:
            # smtpd waits for an answer to whatever it asks: the last field may be what it goes by.
            return Question("", token=rest[1] if len(rest) > 1 else rest[0])
        service = rest[0] if rest[0] in _SERVED else ""
        if len(line) > MAX_LINE:
            return Question(kind, "", token=rest[1])
        return Question(kind, service, rest[2] if len(rest) > 2 else "", rest[1])

    def _of_config(self, fields: list[str]) -> Question:
        if fields[1:2] == ["tablename"] and len(fields) > 2:
            self._name = "|".join(fields[2:])
        if fields[1:2] == ["ready"]:
            return Question("open", key=self._name)
        return Question("")


_SAID: dict[bool | None, bytes] = {
    True: b"found",
    False: b"not-found",
    None: b"error|cannot tell now",
}

PROTOCOLS: dict[bool, Callable[[], Channel]] = {True: Lines, False: Imsg}
"""By whether the first octet is a letter."""


def channel_for(first: bytes) -> Channel:
    """The protocol that somebody speaks whose first octets these are."""
    return PROTOCOLS[first[:1] == b"c"]()
