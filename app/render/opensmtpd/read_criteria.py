"""The criteria of a rendered `match` line as sets of clients, tags and keys."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from app.render.opensmtpd.key_map import KeyMap
from app.render.opensmtpd.meaning import (
    BOTH,
    EVERYWHERE,
    IS_KEY,
    ClientSet,
    KeyMaps,
    Keys,
    TagSet,
    Value,
    clients_of,
    local_parts,
)
from app.render.opensmtpd.regexes import KeyKind, Unreadable, read_regex
from app.render.opensmtpd.tails import ANY, LONGER, WHOLE, Piece
from app.routing.names import IPAddress

ReadList = Callable[[str], list[str]]

_CRITERION = re.compile(
    r"""(?P<not>!\ )?
        (?P<words>tag|from\ (?:any|local|src)|for\ (?:any|domain)|(?:helo|auth|mail-from|rcpt-to)
            \ regex|helo|mail-from)
        (?:\ <rm-(?P<file>[a-z0-9_-]+)>)?
        (?:\ |$)""",
    re.VERBOSE,
)
_WITHOUT_LIST = {"from any", "from local", "for any"}
_TAG = re.compile(r"[a-z0-9_.-]{1,63}")
_NAME = re.compile(r"[a-z0-9._-]+")


@dataclass(slots=True)
class Sets:
    """What a line asks for: all of these at once."""

    clients: ClientSet
    tags: TagSet
    keys: KeyMaps


@dataclass(frozen=True, slots=True)
class _Said:
    """One criterion, with the lines of its list."""

    words: str
    negated: bool
    lines: list[str]


def read_criteria(text: str, read_list: ReadList, own: Iterable[IPAddress]) -> Sets:
    """The sets that the criteria of a line ask for.

    Args:
        text: the line between `match` and `action`.
        read_list: the lines of a list file, by name.
        own: the addresses of the MTA's host.

    Raises:
        Unreadable: it is no line of ours.
    """
    said = _read(text, read_list)
    client = [s for s in said if s.words.startswith("from ")]
    others = [s for s in said if not s.words.startswith("from ")]
    if len(client) != 1 or sum(s.words.startswith("for ") for s in said) != 1:
        raise Unreadable("match line")
    keys: KeyMaps = {name: KeyMap(value=True) for name in IS_KEY}
    sets = Sets(_clients(client[0], own), TagSet(frozenset(), others=True), keys)
    for criterion in others:
        if criterion.words == "tag":
            sets.tags = _tags(criterion)
        elif criterion.words != "for any":
            name, paint = _KEYED[criterion.words]
            sets.keys[name] = sets.keys[name].joined(_keys(criterion, paint), BOTH)
    return sets


def _read(text: str, read_list: ReadList) -> list[_Said]:
    said: list[_Said] = []
    position = 0
    while position < len(text):
        found = _CRITERION.match(text, position)
        if found is None or (found["file"] is None) != (found["words"] in _WITHOUT_LIST):
            raise Unreadable("match line")
        lines = [] if found["file"] is None else read_list(found["file"])
        said.append(_Said(found["words"], found["not"] is not None, lines))
        position = found.end()
    slots = [criterion.words.removesuffix(" regex").split(" ")[0] for criterion in said]
    if len(set(slots)) != len(slots):
        raise Unreadable("match line")  # smtpd refuses the second use of a word
    return said


def _clients(said: _Said, own: Iterable[IPAddress]) -> ClientSet:
    if said.words == "from any":
        return clients_of(EVERYWHERE, socket=True, negated=said.negated)
    if said.words == "from local":
        return clients_of(local_parts(own), socket=True, negated=said.negated)
    parts: list[tuple[int, int, int]] = []
    for line in said.lines:
        if line == "local":
            continue
        try:
            network = ip_network(line)
        except ValueError:
            raise Unreadable("list of clients") from None
        first, last = int(network.network_address), int(network.broadcast_address)
        parts.append((network.version, first, last + 1))
    return clients_of(parts, socket="local" in said.lines, negated=said.negated)


def _tags(said: _Said) -> TagSet:
    if not all(_TAG.fullmatch(line) for line in said.lines):
        raise Unreadable("list of tags")
    return TagSet(frozenset(said.lines), others=said.negated)


Paint = Callable[[Keys, str, Value], None]


def _keys(said: _Said, paint: Paint) -> Keys:
    keys: Keys = KeyMap(True if said.negated else None)
    for line in said.lines:
        paint(keys, line, None if said.negated else True)
    return keys


def _regexes(kind: KeyKind) -> Paint:
    def paint(keys: Keys, line: str, value: Value) -> None:
        paint_piece(keys, read_regex(line, kind), value)

    return paint


def paint_piece(keys: Keys, piece: Piece, value: Value) -> None:
    """Give a value to the keys that a regular expression of ours matches."""
    if piece.lead == WHOLE:
        keys.paint_one(piece.text, value)
    elif piece.lead == LONGER or (piece.lead == ANY and not piece.text):
        keys.paint_longer(piece.text, value)
    elif piece.lead == ANY:
        keys.paint_ending(piece.text, value)
    else:
        keys.paint_other(piece.text, piece.lead[2:-1], value)


def _domain(keys: Keys, line: str, value: Value) -> None:
    _plain(line)
    keys.paint_ending(f"@{line}", value)


def _at_domain(keys: Keys, line: str, value: Value) -> None:
    if line[:1] != "@":
        raise Unreadable("list of senders")  # it would be a user name at any domain
    _domain(keys, line[1:], value)


def _name(keys: Keys, line: str, value: Value) -> None:
    _plain(line)
    keys.paint_one(line, value)


def _plain(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Unreadable("list of domains")


_KEYED: dict[str, tuple[str, Paint]] = {
    "for domain": ("recipients", _domain),
    "rcpt-to regex": ("recipients", _regexes(KeyKind.MAIL)),
    "mail-from": ("senders", _at_domain),
    "mail-from regex": ("senders", _regexes(KeyKind.MAIL)),
    "helo": ("helos", _name),
    "helo regex": ("helos", _regexes(KeyKind.HELO)),
    "auth regex": ("auth_users", _regexes(KeyKind.USER)),
}
