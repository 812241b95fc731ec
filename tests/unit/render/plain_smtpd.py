"""What smtpd would do with rendered files, read as plainly as it reads them.

Lines in order, lists line by line, Python's `re` for its regular expressions (the shapes that we
write mean the same in both). It knows nothing of how the files were made.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network

from app.render.generation import Generation
from app.routing.envelope import Envelope

_MATCH = re.compile(r'match (.+) action "([^"]+)"')
_PART = re.compile(r"(! )?(from|for|tag|helo|auth|mail-from|rcpt-to)((?: (?!!)[a-z]+)?)( <[^>]+>)?")
_BRACKETS = re.compile(r"\[\^(\]?[^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Criterion:
    negated: bool
    slot: str
    word: str
    lines: tuple[str, ...]


class PlainSmtpd:
    def __init__(self, generation: Generation) -> None:
        files = {file.name: file.content.decode() for file in generation.files}
        self._lists = {f"rm-{name}": tuple(text.splitlines()[1:]) for name, text in files.items()}
        self.rules = [
            (self._criteria(found[1]), found[2])
            for found in _MATCH.finditer(files["relaymap.conf"])
        ]

    def _criteria(self, text: str) -> list[Criterion]:
        criteria = []
        rest = text
        while rest:
            found = _PART.match(rest)
            assert found is not None, rest
            table = (found[4] or "").strip(" <>")
            lines = self._lists[table] if table else ()
            criteria.append(Criterion(bool(found[1]), found[2], found[3].strip(), lines))
            rest = rest[found.end() :].strip()
        return criteria

    def action(self, envelope: Envelope) -> str | None:
        for criteria, name in self.rules:
            if all(_holds(criterion, envelope) != criterion.negated for criterion in criteria):
                return name
        return None


PLAIN: dict[tuple[str, str], Callable[[tuple[str, ...], Envelope], bool]] = {
    ("from", "src"): lambda lines, envelope: any(_is_client(line, envelope) for line in lines),
    ("for", "domain"): lambda lines, envelope: envelope.recipient.domain in lines,
    ("tag", ""): lambda lines, envelope: envelope.tag in lines,
    ("helo", ""): lambda lines, envelope: envelope.helo in lines,
    ("mail-from", ""): lambda lines, envelope: f"@{envelope.sender.domain}" in lines,
}


def _holds(criterion: Criterion, envelope: Envelope) -> bool:
    if criterion.word == "any":
        return True
    if criterion.word == "local":
        return envelope.is_local
    if criterion.word != "regex":
        return PLAIN[criterion.slot, criterion.word](criterion.lines, envelope)
    return any(matches(line, _key(criterion.slot, envelope)) for line in criterion.lines)


def matches(line: str, key: str) -> bool:
    """Whether a POSIX regular expression of ours matches anywhere in a key."""
    python = _BRACKETS.sub(lambda found: f"[^{re.escape(found[1])}]", line)
    return re.search(python, key) is not None


def _is_client(line: str, envelope: Envelope) -> bool:
    if line == "local" or envelope.client is None:
        return line == "local" and envelope.client is None
    return envelope.client in ip_network(line)


def _key(slot: str, envelope: Envelope) -> str:
    if slot == "auth":
        return envelope.auth_user or ""
    if slot == "helo":
        return envelope.helo or ""
    address = envelope.sender if slot == "mail-from" else envelope.recipient
    return f"{address.local}@{address.domain}"
