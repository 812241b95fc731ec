"""SMTP and LMTP servers inside a namespace that take mail in, and what they took."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from tests.mta.bed.channel import Channel
from tests.mta.bed.namespace import Namespace

PORT = 27025
_LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Sink:
    """What one sink is; `replies` and `delay_s` make it misbehave.

    `replies` names stages (banner, helo, starttls, auth, mail, rcpt, data, message) and what is
    answered there instead of yes. `certificate` is a PEM file inside, with its key.
    """

    name: str
    address: str
    port: int = PORT
    protocol: Literal["smtp", "lmtp"] = "smtp"
    tls: Literal["none", "starttls", "smtps"] = "none"
    require_tls: bool = False
    certificate: str = ""
    logins: Mapping[str, str] = field(default_factory=dict)
    replies: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0

    def url(self, schema: str = "smtp+notls", label: str = "") -> str:
        """Answer the relay URL of this sink."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{schema}://{label + '@' if label else ''}{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a sink took it: from whom, how, and for whom.

    `probe` is its X-Probe; for a bounce, `returned` is that of the message which came back.
    """

    sink: str
    protocol: str
    client: str
    helo: str
    sender: str
    recipients: tuple[str, ...]
    tls: str | None
    auth_user: str | None
    message_id: str
    probe: str
    returned: str


class TooFew(Exception):
    """Fewer messages arrived than were waited for."""


@dataclass(slots=True)
class Sinks:
    """All sinks of one namespace, in one process there."""

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _taken: list[Delivery] = field(default_factory=list)
    _channel: Channel | None = None

    @classmethod
    def open(cls, namespace: Namespace, *listening: Sink) -> Self:
        """Start the process and open the sinks named."""
        sinks = cls()
        sinks._channel = Channel.open(
            namespace, Path(__file__).with_name("sink_server.py"), sinks._heard
        )
        for sink in listening:
            sinks.add(sink)
        return sinks

    def close(self) -> None:
        """End the process."""
        self._ask.close()

    def kill(self) -> None:
        """End the process at once, with every session that it has."""
        self._ask.inside.send(signal.SIGKILL)
        self.close()

    def add(self, sink: Sink) -> Sink:
        """Open one more sink."""
        self._ask.call("open", sink=asdict(sink))
        return sink

    def refuse(self, name: str) -> None:
        """Let a sink refuse connections."""
        self._ask.call("close", name=name)

    def die(self, name: str) -> None:
        """Let a sink refuse connections, and end its sessions without a word."""
        self._ask.call("die", name=name)

    def accept(self, name: str) -> None:
        """Let a sink that refused connections take them again."""
        self._ask.call("reopen", name=name)

    def behave(
        self, name: str, replies: Mapping[str, str] | None = None, delay_s: float = 0.0
    ) -> None:
        """Give a sink other replies and another delay before each; none means well-behaved."""
        self._ask.call("behave", name=name, replies=dict(replies or {}), delay_s=delay_s)

    def know(self, name: str, logins: Mapping[str, str]) -> None:
        """Give a sink other users and passwords."""
        self._ask.call("know", name=name, logins=dict(logins))

    def heard(self, name: str) -> Counter[str]:
        """Answer how often a sink was told each command, by its verb in lower case."""
        return Counter(self._ask.call("heard", name=name))

    @property
    def taken(self) -> list[Delivery]:
        """All messages taken since the start or the last `forget`, in order of arrival."""
        with self._changed:
            return list(self._taken)

    def forget(self) -> None:
        """Count from zero again."""
        with self._changed:
            self._taken.clear()

    def counts(self) -> Counter[str]:
        """Answer how many recipients each sink has taken."""
        counts: Counter[str] = Counter()
        for delivery in self.taken:
            counts[delivery.sink] += len(delivery.recipients)
        return counts

    def wait_for(
        self,
        n: int,
        wanted: Callable[[Delivery], bool] = lambda _: True,
        limit_s: float = _LIMIT_S,
    ) -> list[Delivery]:
        """Wait until `n` recipients of wanted messages were taken, and answer those messages.

        Raises:
            TooFew: the limit passed; it is generous, since only a broken test reaches it.
        """

        def enough() -> bool:
            return sum(len(taken.recipients) for taken in self._taken if wanted(taken)) >= n

        with self._changed:
            if not self._changed.wait_for(enough, limit_s):
                got = [taken for taken in self._taken if wanted(taken)]
                raise TooFew(f"{len(got)} messages for {n} recipients after {limit_s:.0f} s")
            return [taken for taken in self._taken if wanted(taken)]

    @property
    def _ask(self) -> Channel:
        assert self._channel is not None
        return self._channel

    def _heard(self, line: dict[str, Any]) -> None:
        delivery = Delivery(**(line | {"recipients": tuple(line["recipients"])}))
        with self._changed:
            self._taken.append(delivery)
            self._changed.notify_all()
