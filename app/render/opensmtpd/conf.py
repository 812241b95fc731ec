"""What any smtpd.conf(5) says of actions and includes: the operator's file as well as ours.

This is no whole grammar. It reads tokens as the daemon's own scanner does (comments, quotes,
continued lines, macros), which is enough to find what a restart must not lose.
"""

import re
from collections.abc import Iterator, Mapping

_TOKEN = re.compile(
    r"""
      (?P<end>\n)
    | [^\S\n]+ | \#[^\n]*
    | "(?P<double>(?:\\"|[^"])*+)"?
    | '(?P<single>(?:\\'|[^'])*+)'?
    | \$(?P<macro>\w*)
    | (?P<word>[(){}<>!=,] | [^\s(){}<>!=\#,"']+)
    """,
    re.VERBOSE,
)
_ESCAPED = re.compile(r"""\\(["' \t])""")

Token = tuple[str, bool]
"""A word, and whether it stood in quotes."""
_END: Token = ("\n", False)


def dispatchers(text: str) -> frozenset[str]:
    """The names of all actions that a configuration defines; queued mail is kept under them."""
    return frozenset(_second_words(text, "action"))


def includes(text: str) -> tuple[str, ...]:
    """The files that a configuration includes, in order, as it names them."""
    return tuple(_second_words(text, "include"))


def statements(text: str) -> Iterator[list[str]]:
    """The statements of a configuration as lists of words; line ends in braces end none."""
    statement: list[str] = []
    depth = 0
    for token in _tokens(text):
        if token == _END:
            if statement and depth == 0:
                yield statement
                statement = []
            continue
        if token[0] in {"{", "}"} and not token[1]:
            depth = max(0, depth + (1 if token[0] == "{" else -1))
        statement.append(token[0])
    if statement:
        yield statement


def _second_words(text: str, first: str) -> Iterator[str]:
    for statement in statements(text):
        if len(statement) >= 2 and statement[0] == first:
            yield statement[1]


def _tokens(text: str) -> Iterator[Token]:
    """The tokens of a configuration, with what its lines `name = value` say in place of macros."""
    macros: dict[str, str] = {}
    line: list[str] = []
    for token in _scan(text.replace("\\\n", ""), macros):
        line = [] if token == _END else [*line, token[0]][:4]
        if len(line) == 3 and line[1] == "=":
            macros[line[0]] = line[2]
        yield token


def _scan(text: str, macros: Mapping[str, str]) -> Iterator[Token]:
    for found in _TOKEN.finditer(text):
        quoted = found["double"] if found["double"] is not None else found["single"]
        if found["end"]:
            yield _END
        elif quoted is not None:
            yield _unquoted(quoted, found[0][0]), True
        elif found["macro"] is not None:
            yield from _scan(macros.get(found["macro"], ""), {})  # a value holds no macro itself
        elif found["word"]:
            yield found["word"], False


def _unquoted(text: str, quote: str) -> str:
    r"""What a string says: `\` takes its quote and blanks, a line end in it is dropped."""
    taken = _ESCAPED.sub(lambda found: found[1 if found[1] in {quote, " ", "\t"} else 0], text)
    return taken.replace("\n", "")
