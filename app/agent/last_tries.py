"""Where queued envelopes were tried last, as smtpd's log tells; an envelope itself does not say.

What was tried before the agent started is not known.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from app.agent.daemon_log import Waits

MAX_ENVELOPES = 100_000


class LastTries:
    """The last try of each envelope that was tried in vain: the newest `MAX_ENVELOPES` of them."""

    def __init__(self, most: int = MAX_ENVELOPES) -> None:
        self._most = most
        self._tries: dict[str, Waits] = {}
        self._at: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        """How many envelopes are known."""
        return len(self._tries)

    def note(self, waits: Waits) -> None:
        """An envelope was tried and waits."""
        self.forget(waits.envelope)
        self._tries[waits.envelope] = waits
        self._at.setdefault(waits.place, {})[waits.envelope] = None
        if len(self._tries) > self._most:
            self.forget(next(iter(self._tries)))

    def forget(self, envelope: str) -> None:
        """An envelope is gone, or will be tried now."""
        waits = self._tries.pop(envelope, None)
        if waits is not None:
            there = self._at[waits.place]
            del there[envelope]
            if not there:
                del self._at[waits.place]

    def last(self, envelope: str) -> Waits | None:
        """The last try of an envelope; None if none is known."""
        return self._tries.get(envelope)

    def places(self) -> list[str]:
        """All places where some of them were tried last."""
        return list(self._at)

    def count(self, places: Iterable[str]) -> int:
        """How many envelopes wait that were last tried at one of these places."""
        return sum(len(self._at.get(place, ())) for place in places)

    def unconnected(self, places: Iterable[str]) -> list[str]:
        """Those last tried at one of these places and not answered there; the oldest first."""
        return [
            envelope
            for place in places
            for envelope in self._at.get(place, ())
            if self._tries[envelope].unconnected
        ]

    def envelopes(self) -> list[str]:
        """All of them."""
        return list(self._tries)


def is_queued(spool: Path) -> Callable[[str], bool]:
    """Tells whether an envelope is in a spool of smtpd."""
    return lambda envelope: (spool / "queue" / envelope[:2] / envelope[:8] / envelope).exists()
