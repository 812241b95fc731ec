"""One routing table in a real smtpd: rendered, checked, loaded, and what became of envelopes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from app.render.generation import Generation, Target
from app.render.opensmtpd.render import CONF, render
from app.routing.routing_table import RoutingTable
from app.wire import Reload
from tests.mta.bed.dns import Dns
from tests.mta.bed.injector import Injector, Reply
from tests.mta.bed.namespace import WORKSPACE, Namespace
from tests.mta.bed.sinks import Sinks
from tests.mta.bed.smtpd import CIPHERS_6_8, Settings, Smtpd
from tests.mta.parity import world
from tests.mta.parity.envelopes import Sent
from tests.mta.parity.expectation import ALL_UP, Down, Fate, Seen

STATE_DIR = f"{WORKSPACE}/state"
LIVE = f"{STATE_DIR}/live"
_DELIVERED = re.compile(r' mta delivery evpid=.* result="Ok" ')


class Refused(Exception):
    """The daemon's own check refuses what was rendered."""


@dataclass(slots=True)
class Ward:
    """A daemon with the world around it, which takes one routing table after the other.

    Attributes:
        live: whether it asks the table program; otherwise it reads files.
        reload: what the routing that was loaded last took.
    """

    namespace: Namespace
    smtpd: Smtpd
    sinks: Sinks
    injector: Injector
    version: tuple[int, int]
    live: ClassVar[bool] = False
    reload: Reload = Reload.RESTART
    _log_from: int = 0
    _round: int = 0

    @classmethod
    def open(cls) -> Self:
        """Make the machine, and all in it but the routing."""
        namespace = Namespace.open()
        Dns.open(namespace, world.ZONE)
        smtpd = Smtpd(namespace)
        declarations = world.furnish(smtpd)
        include = f"{LIVE}/{CONF}"
        smtpd.configure(Settings(world.LISTENERS, world.USERS, declarations, include))
        ward = cls(
            namespace,
            smtpd,
            Sinks.open(namespace, *world.SINKS),
            Injector.open(namespace, CIPHERS_6_8),
            smtpd.version(),
        )
        ward.settle()
        return ward

    def settle(self) -> None:
        """Make what else there is on the machine before the first routing: here, nothing."""

    def close(self) -> None:
        """End everything."""
        self.namespace.close()

    def target(self) -> Target:
        """Answer the MTA as its agent would report it."""
        own = tuple(sorted(world.OWN_ADDRESSES, key=str))
        return Target(self.version, STATE_DIR, own, cas=(world.OTHER_CA,))

    def load(self, table: RoutingTable, down: Down = ALL_UP) -> Generation | None:
        """Render a routing, have the daemon check it, and start the daemon with it.

        Args:
            table: the routing.
            down: relays that health says get nothing, which files cannot say.

        Raises:
            Refused: with the daemon's words.
        """
        assert not down
        generation = rendered(table, self.target())
        self.smtpd.stop()
        self.namespace.run(["rm", "-rf", LIVE, "/var/spool/smtpd"])
        for file in generation.files:
            path = f"{LIVE}/{file.name}"
            self.smtpd.write(path, file.content.decode(), mode=file.mode, group="opensmtpd")
        complaint = self.smtpd.check()
        if complaint:
            raise Refused(complaint)
        self.forget()
        self.smtpd.start()
        return generation

    def forget(self) -> None:
        """Count what is sent from here on."""
        self._log_from = len(self.smtpd.log())
        self.sinks.forget()

    def send(self, sent: Sequence[Sent]) -> "Outcome":
        """Send envelopes, wait until the daemon has nothing more to do, answer what was seen."""
        self._round += 1
        probes = [f"{self._round}-{place}" for place in range(len(sent))]
        self.smtpd.hold()
        submissions = [one.submission(p) for one, p in zip(sent, probes, strict=True)]
        replies = self.injector.send(submissions)
        self.smtpd.release()
        self.smtpd.wait_for_rest()
        self.sinks.wait_for(len(_DELIVERED.findall(self._log())))
        waiting = [message.partition("\n\n") for message in self.smtpd.waiting().values()]
        own = {_probe(head) for head, _, _ in waiting}
        returned = {_probe(body) for head, _, body in waiting if not _probe(head)}
        seen = [self._seen(p, r, own) for p, r in zip(probes, replies, strict=True)]
        return Outcome(seen, [self._bounce(probe, returned) for probe in probes])

    def _log(self) -> str:
        return self.smtpd.log()[self._log_from :]

    def _seen(self, probe: str, reply: Reply, waiting: set[str]) -> Seen:
        if not reply.accepted:
            return Seen(Fate.REFUSED, reply.code, reply.text)
        taken = [one for one in self.sinks.taken if one.probe == probe]
        if taken:
            assert len(taken) == 1, f"{probe} was delivered {len(taken)} times"
            return Seen(Fate.TAKEN, delivery=taken[0])
        return Seen(Fate.WAITING if probe in waiting else Fate.RETURNED)

    def _bounce(self, probe: str, waiting: set[str]) -> Seen | None:
        taken = [one for one in self.sinks.taken if one.returned == probe]
        assert len(taken) <= 1, f"{probe} was returned {len(taken)} times"
        if taken:
            return Seen(Fate.TAKEN, delivery=taken[0])
        return Seen(Fate.WAITING) if probe in waiting else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each envelope, in order, and of the bounce that it made, if one is left."""

    seen: Sequence[Seen]
    bounces: Sequence[Seen | None]


def rendered(table: RoutingTable, target: Target) -> Generation:
    """Answer the files that make a daemon do what a routing says."""
    return render(table, {world.LABEL: world.SECRET}, target)


def _probe(part: str) -> str:
    """Answer the X-Probe in a part of a message: its head, or what its body brings back."""
    found = re.search(r"^X-Probe: (\S+)", part, re.MULTILINE)
    return found[1] if found else ""
