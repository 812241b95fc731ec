"""Which actions queued envelopes name, read from smtpd's spool while it runs.

`smtpctl show queue` names no action, and hides envelopes whose action is gone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SPOOL = Path("/var/spool/smtpd")
_ENVELOPE = re.compile("[0-9a-f]{16}")
_DISPATCHER = re.compile(rb"^dispatcher: ([\x21-\x7e]+)$", re.MULTILINE)
_PLAIN = b"version: "
"""How an envelope begins unless the queue is compressed or encrypted."""
_MAX_ENVELOPE = 65_536


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in the queue.

    Attributes:
        opaque: envelopes that could not be read: any of them may name any action.
    """

    actions: frozenset[str]
    envelopes: int
    opaque: int

    def may_name(self, action: str) -> bool:
        """Whether a queued envelope names an action, or could."""
        return self.opaque > 0 or action in self.actions


NOTHING = Scan(frozenset(), 0, 0)


def scan(spool: Path = SPOOL) -> Scan:
    """Look at every envelope, also of messages whose reception has not ended."""
    actions: set[str] = set()
    envelopes = opaque = 0
    for path in _paths(spool):
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_ENVELOPE)
        except FileNotFoundError:
            continue  # delivered since
        envelopes += 1
        if not content.startswith(_PLAIN):
            opaque += 1
        # Without the line it is a bounce, which smtpd routes anew, or already names no action.
        actions.update(name.decode("ascii") for name in _DISPATCHER.findall(content))
    return Scan(frozenset(actions), envelopes, opaque)


def _paths(spool: Path) -> Iterator[Path]:
    for messages in (*_directories(spool / "queue"), spool / "incoming"):
        for message in _directories(messages):
            yield from (path for path in _within(message) if _ENVELOPE.fullmatch(path.name))


def _directories(path: Path) -> Iterator[Path]:
    return (each for each in _within(path) if each.is_dir())


def _within(path: Path) -> Iterator[Path]:
    """What a directory holds; nothing where it is gone: smtpd delivers while we look."""
    try:
        return iter(list(path.iterdir()))
    except (FileNotFoundError, NotADirectoryError):
        return iter(())
