"""Rendered files as a meaning; a line that we never write is refused, not guessed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.render.generation import File, Generation, Target
from app.render.opensmtpd.delivery import Delivery, read_delivery, read_relay
from app.render.opensmtpd.grouped import Line, read_rules
from app.render.opensmtpd.meaning import Handed, Meaning, Outcome, Reached, Refused550
from app.render.opensmtpd.read_criteria import read_criteria
from app.render.opensmtpd.regexes import Unreadable
from app.render.opensmtpd.rows import LIBTLS, Version
from app.routing.credential import parse_password, parse_username
from app.routing.errors import Refused
from app.routing.names import parse_label
from app.routing.relay_url import RelayURL
from app.routing.rule import parse_reject_message

__all__ = ["ReadBack", "Unreadable", "handed", "read_files"]

_CONF = "relaymap.conf"
_CREDENTIALS = "credentials"
_LIST_HEAD = "# @list\n"
_MODE = 0o640

_FILE = r"[a-z0-9_-]+"
_TABLE = re.compile(rf'table "rm-({_FILE})" "file:([^"]+)/live/({_FILE})"')
_ACTION = re.compile(r'action "(rm-[a-z0-9-]{1,61})" (.+)')
_REJECT = re.compile(r'expand-only virtual \{ "@" = "error:550 5\.7\.1 ([^"]+)" \}')
_MATCH = re.compile(r'match (.+) action "([^"]+)"')
_NAME = re.compile(r"rm-(r[1-9][0-9]*)(-reject|-[0-9a-f]{12})?")
_CREDENTIAL = re.compile(r"([^\t:]+)\t([^:]+):(.+)")


@dataclass(frozen=True, slots=True, repr=False)
class ReadBack:
    """What a generation says. No `repr`: it holds credentials.

    Attributes:
        rules: the rules that can match, in order.
        named: the actions that some line leads to.
        retired: the actions that none leads to.
        credentials: (username, password) by label.
    """

    rules: Meaning
    named: frozenset[str]
    retired: dict[str, Handed]
    credentials: dict[str, tuple[str, str]]


def read_files(generation: Generation, target: Target) -> ReadBack:
    """What a generation says to the MTA that it was rendered for.

    Raises:
        Unreadable: a file or a line is none that we write.
    """
    reader = _Files(generation, target)
    return reader.read()


class _Files:
    """The files of one generation while they are read."""

    def __init__(self, generation: Generation, target: Target) -> None:
        self._target = target
        self._texts = {file.name: _text(file) for file in generation.files}
        if len(self._texts) != len(generation.files) or _CONF not in self._texts:
            raise Unreadable(_CONF)
        self._used: set[str] = set()

    def read(self) -> ReadBack:
        tables: list[str] = []
        actions: dict[str, str] = {}
        matches: list[tuple[str, str]] = []
        for number, line in enumerate(self._texts[_CONF].splitlines(), 1):
            where = f"line {number} of {_CONF}"
            if not line or line.startswith("# "):
                continue
            if found := _TABLE.fullmatch(line):
                tables.append(self._declared(found, where))
            elif (found := _ACTION.fullmatch(line)) and found[1] not in actions:
                actions[found[1]] = found[2]
            elif (found := _MATCH.fullmatch(line)) and found[2] in actions:
                matches.append((found[1], found[2]))
            else:
                raise Unreadable(where)
        named = frozenset(name for _, name in matches)
        outcomes = {
            name: self._outcome(name, text, self._target.version if name in named else None)
            for name, text in actions.items()
        }
        rules = read_rules(self._lines(matches, outcomes))
        retired = {name: outcome for name, outcome in outcomes.items() if name not in named}
        credentials = dict(self._credentials())
        self._all_used(tables)
        return ReadBack(rules, named, dict(_only_handed(retired)), credentials)

    def _declared(self, found: re.Match[str], where: str) -> str:
        name, directory, file = found.groups()
        if name != file or directory != self._target.state_dir or name not in self._texts:
            raise Unreadable(where)
        return name

    def _all_used(self, tables: list[str]) -> None:
        files = self._texts.keys() - {_CONF}
        if len(set(tables)) != len(tables) or set(tables) != files or files != self._used:
            stray = (set(tables) ^ files) | (files ^ self._used) | {_CONF}
            raise Unreadable(min(stray))

    def _lines(
        self, matches: Sequence[tuple[str, str]], outcomes: dict[str, Outcome]
    ) -> Iterator[Line]:
        for criteria, name in matches:
            found = _NAME.fullmatch(name)
            if found is None:
                raise Unreadable(f"action {name}")
            sets = read_criteria(criteria, self._list, self._target.addresses)
            yield Line(found[1], outcomes[name], sets)

    def _outcome(self, name: str, text: str, version: Version | None) -> Outcome:
        refusal = _REJECT.fullmatch(text)
        if refusal is not None and name.endswith("-reject"):
            return Refused550(_message(refusal[1], name))
        try:
            delivery = read_delivery(text)
            relays: list[RelayURL] | None = None
            if delivery.table:
                relays = [read_relay(line) for line in self._list(delivery.table[3:])]
            if delivery.auth:
                self._used.add(_CREDENTIALS)
            return handed(name, delivery, relays, version)
        except Unreadable as unreadable:
            raise Unreadable(f"action {name}") from unreadable

    def _list(self, name: str) -> list[str]:
        """The lines of a list file."""
        text = self._texts.get(name, "")
        lines = text.removeprefix(_LIST_HEAD).splitlines()
        whole = text == _LIST_HEAD + "".join(f"{line}\n" for line in lines)
        if not whole or len(set(lines)) != len(lines) or name == _CREDENTIALS:
            raise Unreadable(f"file {name}")
        self._used.add(name)
        return lines

    def _credentials(self) -> Iterator[tuple[str, tuple[str, str]]]:
        text = self._texts.get(_CREDENTIALS, "")
        if text and not text.endswith("\n"):
            raise Unreadable(_CREDENTIALS)
        for line in text.split("\n")[:-1]:
            found = _CREDENTIAL.fullmatch(line)
            if found is None:
                raise Unreadable(_CREDENTIALS)
            try:
                label = parse_label(found[1])
                yield label, (parse_username(found[2]), parse_password(found[3]))
            except Refused:
                raise Unreadable(_CREDENTIALS) from None


def _text(file: File) -> str:
    if file.mode != _MODE or file.secret != (file.name == _CREDENTIALS):
        raise Unreadable(f"file {file.name}")
    try:
        return file.content.decode("utf-8" if file.secret else "ascii")
    except UnicodeDecodeError:
        raise Unreadable(f"file {file.name}") from None


def _message(escaped: str, name: str) -> str:
    try:
        return parse_reject_message(re.sub(r"\\([,'])", r"\1", escaped))
    except Refused:
        raise Unreadable(f"action {name}") from None


def _only_handed(outcomes: dict[str, Outcome]) -> Iterator[tuple[str, Handed]]:
    for name, outcome in outcomes.items():
        if not isinstance(outcome, Handed):
            raise Unreadable(f"action {name}")
        yield name, outcome


def handed(
    name: str, delivery: Delivery, relays: Sequence[RelayURL] | None, version: Version | None
) -> Handed:
    """Where an action hands mail.

    Args:
        name: of the action.
        delivery: its options.
        relays: those of its list; None where it has none.
        version: of OpenSMTPD, which decides what becomes of mixed TLS; None for a retired action,
            which stays as it was written for the version of its time.

    Raises:
        Unreadable: its options do not fit its relays.
    """
    urls = [delivery.url] if delivery.url is not None else relays
    if delivery.ca is not None and delivery.tls is None:
        raise Unreadable
    sticky = version is not None and version >= LIBTLS and delivery.tls is None
    if sticky and any(url.tls.mandatory for url in urls or ()):
        raise Unreadable  # the first such delivery would make TLS mandatory for all of them
    turn = delivery.table.removeprefix("rm-m-") if delivery.table.startswith("rm-m-") else ""
    return Handed(
        action=name,
        turn=turn,
        relays=None if urls is None else frozenset(_reached(url, delivery) for url in urls),
        certificate=delivery.pki,
        sources=delivery.sources,
        helo=delivery.helo,
        mail_from=delivery.mail_from,
        ttl_s=delivery.ttl_s,
    )


def _reached(url: RelayURL, delivery: Delivery) -> Reached:
    secure = url.tls.mandatory
    if (delivery.tls is not None and not secure) or (url.credential and not delivery.auth):
        raise Unreadable
    checked = True if delivery.tls is None else delivery.tls
    return Reached(
        url.protocol,
        url.tls,
        url.host,
        url.effective_port,
        url.credential,
        verify=checked if secure else None,
        ca=delivery.ca,
    )
