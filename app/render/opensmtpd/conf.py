"""What any smtpd.conf(5) says of actions and includes: the operator's file as well as ours.

This is no whole grammar. It reads tokens as the daemon's own scanner does (comments, quotes,
continued lines, macros), which is enough to find what a restart must not lose.
"""

from collections.abc import Callable, Iterator

_NOT_IN_WORDS = frozenset('(){}<>!=#,"') | frozenset(" \t\n")
_OPENING, _CLOSING = "{", "}"
_LINE_END = "\n"


def dispatchers(text: str) -> frozenset[str]:
    """The names of all actions that a configuration defines; queued mail is kept under them."""
    return frozenset(_second_words(text, "action"))


def includes(text: str) -> tuple[str, ...]:
    """The files that a configuration includes, in order, as it names them."""
    return tuple(_second_words(text, "include"))


def _second_words(text: str, first: str) -> Iterator[str]:
    for statement in _statements(text):
        if len(statement) >= 2 and statement[0] == first:
            yield statement[1]


def _statements(text: str) -> Iterator[list[str]]:
    """The statements of a configuration as lists of tokens; line ends in braces end none."""
    statement: list[str] = []
    depth = 0
    for token, quoted in _Scanner(text):
        if token == _LINE_END and not quoted:
            if depth == 0 and statement:
                yield statement
                statement = []
            continue
        if not quoted:
            depth = max(0, depth + (token == _OPENING) - (token == _CLOSING))
        statement.append(token)
    if statement:
        yield statement


class _Scanner:
    """The tokens of a configuration, each with whether it stood in quotes."""

    def __init__(self, text: str) -> None:
        self._rest = text.replace("\\\n", "")
        self._macros: dict[str, str] = {}
        self._last: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, bool]]:
        while self._rest:
            token, quoted = self._next()
            if not token and not quoted:
                continue
            self._note_macro(token, ends_line=token == _LINE_END and not quoted)
            yield token, quoted

    def _note_macro(self, token: str, *, ends_line: bool) -> None:
        """Remember `name = value`, which stands alone on its line."""
        if not ends_line:
            self._last.append(token)
            if len(self._last) == 3 and self._last[1] == "=":
                self._macros[self._last[0]] = token
            return
        self._last = []

    def _next(self) -> tuple[str, bool]:
        first, self._rest = self._rest[0], self._rest[1:]
        if first in " \t":
            return "", False
        if first == "#":
            _, end, rest = self._rest.partition("\n")
            self._rest = end + rest
            return "", False
        if first in "\"'":
            return self._quoted(first), True
        if first == "$":
            name = self._word(lambda c: c.isalnum() or c == "_")
            self._rest = self._macros.get(name, "") + self._rest
            return "", False
        if first in _NOT_IN_WORDS:
            return first, False
        return first + self._word(lambda c: c not in _NOT_IN_WORDS), False

    def _word(self, goes_on: Callable[[str], bool]) -> str:
        size = next((n for n, c in enumerate(self._rest) if not goes_on(c)), len(self._rest))
        word, self._rest = self._rest[:size], self._rest[size:]
        return word

    def _quoted(self, quote: str) -> str:
        r"""The rest of a string: `\` takes the quote and blanks, a line end in it is dropped."""
        found: list[str] = []
        position = 0
        while position < len(self._rest) and self._rest[position] != quote:
            character = self._rest[position]
            if character == "\\" and self._rest[position + 1 : position + 2] in {quote, " ", "\t"}:
                position += 1
                character = self._rest[position]
            if character != "\n":
                found.append(character)
            position += 1
        self._rest = self._rest[position + 1 :]
        return "".join(found)
