"""A file of entries read as it comes in, in four forms: octets in, lines or items out.

What is kept of it is less than one line, or one item.
"""

import codecs
import re
from typing import Protocol

from app.routing.errors import Fault, Invalid
from app.routing.table import TableKey
from app.server.api.entry_forms import (
    MAX_LINE,
    Form,
    LineForm,
    line_form,
    plain_object,
    split_object,
)
from app.server.api.gathering import Gathering
from app.server.api.strict_json import NotJson, parse_json


class Reader(Protocol):
    """Reads one file."""

    def feed(self, octets: bytes) -> None:
        """Read on.

        Raises:
            NotJson: it is not the JSON that it says it is.
            Invalid: it is JSON, and not of the shape that is wanted.
            LimitReached: it holds more entries than there may be.
        """
        ...

    def close(self) -> None:
        """Read what is left: the file is at its end. Raises as `feed`."""
        ...


def reader(form: Form, gathering: Gathering) -> Reader:
    """What reads a file of that form into a gathering."""
    if form is Form.JSON:
        return JsonReader(gathering)
    return LineReader(line_form(form, gathering.kind), gathering)


class LineReader:
    """Reads lines, each of which stands for itself."""

    def __init__(self, form: LineForm, gathering: Gathering) -> None:
        self._form = form
        self._gathering = gathering
        self._rest = b""
        self._is_first = True
        self._skips = False

    def feed(self, octets: bytes) -> None:
        """Read on. Raises as `Reader`."""
        if self._skips:
            _, end, octets = octets.partition(b"\n")
            if not end:
                return
            self._skips = False
        whole, end, rest = (self._rest + octets).rpartition(b"\n")
        self._rest = rest
        if end:
            self._take(whole)
        if len(rest) > MAX_LINE:
            self._gathering.refuse("too-long", f"it holds more than {MAX_LINE} octets")
            self._rest, self._skips, self._is_first = b"", True, False

    def close(self) -> None:
        """Read a last line that has no end. Raises as `Reader`."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""

    def _take(self, octets: bytes) -> None:
        try:
            lines = octets.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            for line in octets.split(b"\n"):
                self._take_doubtful(line)
            return
        if self._is_first:
            lines = self._without_head(lines)
        self._gathering.take_lines(lines, self._form)

    def _take_doubtful(self, line: bytes) -> None:
        try:
            lines = [line.decode("utf-8")]
        except UnicodeDecodeError:
            self._is_first = False
            self._gathering.refuse("bad-encoding", "it is not UTF-8")
            return
        if self._is_first:
            lines = self._without_head(lines)
        self._gathering.take_lines(lines, self._form)

    def _without_head(self, lines: list[str]) -> list[str]:
        """The lines without what may stand before the first entry."""
        self._is_first = False
        if self._form.takes_mark:
            lines[0] = lines[0].removeprefix("\ufeff")
        if self._form.is_header(lines[0]):
            self._gathering.lines += 1
            return lines[1:]
        return lines


_WANTED = Fault("bad-type", 'this is wanted: {"entries": [{"key": …, "via": …}, …]}')
_HEAD = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"entries"[ \t\r\n]*:[ \t\r\n]*\[')
_BLANKS = re.compile(r"[ \t\r\n]*")
_NEXT = re.compile(r"[ \t\r\n]*([,\]])")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|["\[\]{},]', re.DOTALL)
_OPEN = frozenset("[{")
_CLOSED = frozenset("]}")


class JsonReader:
    """Reads `{"entries": […]}`, an item at a time."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._plain = _plain_item(gathering.kind)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._step = self._read_head

    def feed(self, octets: bytes) -> None:
        """Read on. Raises as `Reader`."""
        self._go_on(octets, final=False)

    def close(self) -> None:
        """Read what is left. Raises as `Reader`."""
        self._go_on(b"", final=True)
        if self._step == self._read_head:
            raise self._of_no_shape()
        if self._step != self._read_tail or self._text != "}":
            raise NotJson("the body ends before the JSON in it")

    def _go_on(self, octets: bytes, *, final: bool) -> None:
        try:
            self._text += self._decoder.decode(octets, final)
        except UnicodeDecodeError:
            raise NotJson("the body is not UTF-8") from None
        step = None
        while step != self._step:
            step = self._step
            step()
        if len(self._text) > MAX_LINE:
            raise self._of_no_shape()

    def _of_no_shape(self) -> Exception:
        """Why what is left cannot be what is wanted."""
        if len(self._text) <= MAX_LINE:
            try:
                parse_json(self._text.encode("utf-8", "surrogatepass"))
            except NotJson as error:
                return error
        if self._step == self._read_head:
            return Invalid((_WANTED,))
        number = self._gathering.lines + 1
        return NotJson(f"item {number} of the body has no end within {MAX_LINE} characters")

    def _read_head(self) -> None:
        match = _HEAD.match(self._text)
        if match is not None:
            self._text = self._text[match.end() :]
            self._step = self._read_first

    def _read_first(self) -> None:
        start = _blank_end(self._text, 0)
        if self._text[start : start + 1] == "]":
            self._text = self._text[start + 1 :]
            self._step = self._read_tail
        elif start < len(self._text):
            self._step = self._read_items

    def _read_items(self) -> None:
        """Items, each with the comma or the bracket after it."""
        text, at, plain, gathering = self._text, 0, self._plain.match, self._gathering
        while True:
            match = plain(text, at)
            if match is None or not gathering.take_plain(match):
                match = self._take_item(text, at)
            if match is None:
                break
            at = match.end()
            if text[at - 1] == "]":
                self._step = self._read_tail
                break
        self._text = text[at:]
        gathering.check_count()

    def _take_item(self, text: str, start: int) -> re.Match[str] | None:
        """Take an item of any shape: a match up to what follows it; None where that is not here."""
        end = _item_end(text, start)
        after = None if end is None else _NEXT.match(text, end)
        if end is None or after is None:
            return None
        item = text[start:end]
        if not item.strip(" \t\r\n"):
            number = self._gathering.lines + 1
            raise NotJson(f"the body is not JSON at item {number}")
        try:
            self._gathering.take_text(item, split_object)
        except NotJson as error:
            number = self._gathering.lines
            raise NotJson(str(error).replace("the line", f"item {number}")) from None
        return after

    def _read_tail(self) -> None:
        self._text = self._text.strip(" \t\r\n")
        if self._text not in {"", "}"}:
            raise NotJson("the body goes on after the list of entries")


def _plain_item(kind: TableKey) -> re.Pattern[str]:
    return re.compile(rf"[ \t\r\n]*{plain_object(kind)}[ \t\r\n]*[,\]]")


def _blank_end(text: str, start: int) -> int:
    match = _BLANKS.match(text, start)
    return start if match is None else match.end()


def _item_end(text: str, start: int) -> int | None:
    """Where the value that begins at `start` ends: before a comma or bracket that is not its own.

    None where that is not there yet.
    """
    depth = 0
    for token in _TOKEN.finditer(text, start):
        sign = token[0]
        if sign == '"':  # a text whose end is not here
            return None
        if depth == 0 and sign in {",", "]", "}"}:
            return token.start()
        if sign in _OPEN:
            depth += 1
        elif sign in _CLOSED:
            depth -= 1
    return None
