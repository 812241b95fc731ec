"""Mail that flows all the time, and a plot of what each relay took of it, a line a second."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.mta.bed.injector import Injector, Submission
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Delivery, Sink, Sinks

SMTP_PORT = 27301
SENDER = "sender.example"
_A_BATCH = 6
_PAUSE_S = 0.15
_LIMIT_S = 60
_WIDTH = 18
"""Marks that a bar has room for."""
_A_MARK = 2
"""Messages for which a bar has one mark."""


class NotAsTold(Exception):
    """Something in the demonstration went otherwise than it must."""


class Relays:
    """The relays that mail goes to, each a process of its own that can be killed and started."""

    def __init__(self, namespace: Namespace, *sinks: Sink) -> None:
        self._namespace = namespace
        self._named = {sink.name: sink for sink in sinks}
        self._running = {sink.name: Sinks.open(namespace, sink) for sink in sinks}
        self._ended: list[Sinks] = []

    def kill(self, name: str) -> None:
        """End a relay's process at once, with every session that it has."""
        ended = self._running.pop(name)
        ended.kill()
        self._ended.append(ended)

    def start(self, name: str) -> None:
        """Start a relay that was killed."""
        self._running[name] = Sinks.open(self._namespace, self._named[name])

    def taken(self) -> list[Delivery]:
        """All that any of them has taken."""
        everyone = [*self._ended, *self._running.values()]
        return [delivery for sinks in everyone for delivery in sinks.taken]


@dataclass(slots=True)
class Flow:
    """A client that sends to one domain, without a break, until it is told to stop."""

    injector: Injector
    relays: Relays
    names: tuple[str, ...]
    domain: str
    sent: int = 0
    refused: list[str] = field(default_factory=list)
    _began: float = 0.0
    _ends: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send."""
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._send, name="flow", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait until all that was sent has arrived.

        Raises:
            NotAsTold: a message was refused, or does not arrive.
        """
        self.cut()
        self.arrived(0, self.sent)

    def cut(self) -> None:
        """Send no more, whatever has arrived."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join()

    def watch(self, limit_s: int, until: Callable[[], bool] | None = None) -> None:
        """Plot the mail of each second once all of it has arrived, for so long or until it is so.

        Raises:
            NotAsTold: it does not come to be so, or mail does not arrive.
        """
        waiting: list[tuple[float, int, int]] = []
        done = False
        while limit_s > 0 and not done:
            first = self.sent
            time.sleep(1)
            waiting.append((time.monotonic() - self._began, first, self.sent))
            limit_s -= 1
            done = until is not None and until()
            while waiting and not self._places(waiting[0][1], waiting[0][2])[1]:
                self._plot(*waiting.pop(0))
        for each in waiting:
            self._plot(*each)
        if until is not None and not done:
            raise NotAsTold("what was waited for did not happen")

    def shares(self, wanted: Mapping[str, int], watch_s: int) -> None:
        """Watch, and hold what was sent meanwhile against the weights of the relays.

        Raises:
            NotAsTold: it fell otherwise.
        """
        first = self.sent
        self.watch(watch_s)
        fell = self.arrived(first, self.sent)
        total = sum(fell.values())
        told = ", ".join(f"{name} {fell[name]}" for name in self.names)
        weights = ":".join(f"{weight}" for weight in wanted.values())
        print(f"   of {total} messages: {told}; the weights are {weights}")
        for name, weight in wanted.items():
            # The first and the last of these messages share their turns with their neighbours.
            if abs(fell[name] - total * weight / sum(wanted.values())) > 2 * _A_BATCH:
                raise NotAsTold(f"relay {name} should have taken {weight} parts")

    def arrived(self, first: int, end: int) -> Counter[str]:
        """Wait for some messages, by number; how many of them each relay took.

        Raises:
            NotAsTold: they do not all arrive, or one was refused.
        """
        limit = time.monotonic() + _LIMIT_S
        while True:
            found, missing = self._places(first, end)
            if self.refused:
                raise NotAsTold(f"smtpd refused mail: {self.refused[0]}")
            if not missing:
                return found
            if time.monotonic() > limit:
                raise NotAsTold(f"not arrived: {', '.join(sorted(missing))}")
            time.sleep(0.05)

    def _places(self, first: int, end: int) -> tuple[Counter[str], set[str]]:
        """How many of some messages each relay took, and those that nobody did so far."""
        wanted = {_probe(number) for number in range(first, end)}
        found = {each.probe: each.sink for each in self.relays.taken() if each.probe in wanted}
        return Counter(found.values()), wanted - found.keys()

    def _plot(self, second: float, first: int, end: int) -> None:
        """Print a bar for each relay."""
        counts = self.arrived(first, end)
        bars = []
        for name in self.names:
            marks = min(-(-counts[name] // _A_MARK), _WIDTH)
            bars.append(f"{name} {'#' * marks:<{_WIDTH}} {counts[name]:2}")
        print(f"   {second:3.0f} s  {'  '.join(bars)}".rstrip())

    def _send(self) -> None:
        while not self._ends.is_set():
            batch = [
                Submission(
                    _probe(self.sent + n),
                    f"shop@{SENDER}",
                    f"u{self.sent + n}@{self.domain}",
                    SMTP_PORT,
                )
                for n in range(_A_BATCH)
            ]
            replies = self.injector.send(batch)
            self.refused += [reply.text for reply in replies if not reply.accepted]
            self.sent += _A_BATCH
            self._ends.wait(_PAUSE_S)


def _probe(number: int) -> str:
    return f"flow-{number}"
