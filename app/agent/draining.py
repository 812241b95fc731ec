"""How much mail each relay still has to do with: sessions, what waits, and since when nothing.

What can be known of smtpd: the messages that wait for a session with a relay and the sessions
themselves (`smtpctl show relays`), and from its log the envelopes whose last try was there. An
envelope that was never tried has no relay yet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.agent.health import Health, InUse
from app.agent.last_tries import LastTries
from app.agent.smtpctl import RelayLoad


@dataclass(frozen=True, slots=True)
class Load:
    """Of one relay.

    Attributes:
        sessions: open ones to its host and port, whatever URL or map they are for.
        envelopes: messages that wait for a session, and recipients that were last tried there.
        quiet_since: since when both were 0, in seconds since the epoch; None while they are not.
    """

    sessions: int
    envelopes: int
    quiet_since: int | None


class Draining:
    """The load of every relay in use, as it was measured last.

    Args:
        health: knows the relays and their addresses.
        tries: where envelopes were tried last.
        epoch: seconds since the epoch.
    """

    def __init__(self, health: Health, tries: LastTries, *, epoch: Callable[[], float]) -> None:
        self._health = health
        self._tries = tries
        self._epoch = epoch
        self._loads: dict[tuple[str, str], Load] = {}

    def measured(self, loads: Sequence[RelayLoad] | None) -> None:
        """Note what smtpd has in hand; None: it did not say, so nothing is known."""
        if loads is None:
            self._loads = {}
            return
        found: dict[tuple[str, int], tuple[int, int]] = {}
        for load in loads:
            sessions, waiting = found.get((load.host, load.port), (0, 0))
            found[load.host, load.port] = (sessions + load.sessions, waiting + load.waiting)
        self._loads = {relay.name: self._load(relay, found) for relay in self._health.relays()}

    def load(self, name: tuple[str, str]) -> Load | None:
        """Of a relay, by map and name; None where it is not known."""
        return self._loads.get(name)

    def _load(self, relay: InUse, found: dict[tuple[str, int], tuple[int, int]]) -> Load:
        host = relay.url.host.strip("[]")
        sessions, waiting = found.get((host, relay.url.effective_port), (0, 0))
        envelopes = waiting + self._tries.count(self._health.places(relay))
        if sessions or envelopes:
            return Load(sessions, envelopes, None)
        before = self._loads.get(relay.name)
        since = None if before is None else before.quiet_since
        return Load(0, 0, int(self._epoch()) if since is None else since)
