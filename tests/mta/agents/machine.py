"""A machine with a real smtpd, sinks around it, and an agent that is told what to do."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.mta.bed.channel import Channel, ScriptFailed
from tests.mta.bed.dns import Dns
from tests.mta.bed.injector import Injector, Submission
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Delivery, Sink, Sinks, TooFew
from tests.mta.bed.smtpd import Listener, Settings, Smtpd

STATE_DIR = "/run/agent"
PORT = 26301
INCLUDE = f"{STATE_DIR}/live/relaymap.conf"
A = Sink("a", "127.0.1.11", 26025)
B = Sink("b", "127.0.1.12", 26025)
C = Sink("c", "127.0.1.13", 26025)


def operator(*lines: str, include: str = INCLUDE, patient: bool = False) -> Settings:
    """The operator's file: one listener, some lines, our include; `patient` is as in Settings."""
    return Settings(
        listeners=(Listener(PORT, addresses=("127.0.0.1",)),),
        lines=lines,
        include=include,
        patient=patient,
    )


_LIMIT_S = 60


class AgentFailed(Exception):
    """The agent met an error that none of its own promises to."""


@dataclass(slots=True)
class Machine:
    """Everything of one test, inside one namespace."""

    namespace: Namespace
    sinks: Sinks
    smtpd: Smtpd
    agent: Channel
    injector: Injector
    detail: str = ""
    _probes: Any = field(default_factory=count)

    @classmethod
    def open(cls, namespace: Namespace, *listening: Sink) -> Self:
        """Start the sinks and what stands around smtpd; not smtpd itself."""
        Dns.open(namespace, {})
        sinks = Sinks.open(namespace, *listening)
        smtpd = Smtpd(namespace)
        smtpd.configure(operator())
        script = Path(__file__).with_name("inside.py")
        agent = Channel.open(namespace, script)
        return cls(namespace, sinks, smtpd, agent, Injector.open(namespace))

    def fresh(self) -> Self:
        """Forget everything that smtpd, the agent and the sinks have on disk or in memory."""
        self.end_smtpd()
        self.namespace.run(["sh", "-c", f"rm -rf {STATE_DIR} /var/spool/smtpd"])
        self.smtpd.configure(operator())
        self.site()
        self.sinks.forget()
        return self

    def site(self, **site: Any) -> None:
        """Say where the agent works, if not as usual."""
        self.agent.call("open", **site)

    def do(self, verb: str, **arguments: Any) -> Any:
        """Let the agent do one thing, and answer what came of it.

        Raises:
            AgentFailed: it was killed, or broke.
        """
        done = self.agent.call("do", what=verb, **arguments)
        if done["killed"] or "error" in (done["answer"] or {"error": "no answer"}):
            raise AgentFailed(str(done))
        return done["answer"]["result"]

    def ended(self, wanted: Mapping[str, Any], **arguments: Any) -> tuple[str, str]:
        """Let the agent apply what is wanted; the state that it ended in, and the reload."""
        ended = self.do("apply", wanted=wanted, **arguments)
        self.detail = ended["detail"]
        return ended["state"], ended["reload"]

    def wait_until_taken(self, domain: str, also: Callable[[], bool] = lambda: False) -> None:
        """Try until smtpd has taken a message for a domain that it did not take before.

        `also` says by other means that it has: it may end before it could answer.
        """
        limit = time.monotonic() + _LIMIT_S
        while not also():
            submission = Submission("taken", "s@sender.test", f"u@{domain}", PORT)
            with contextlib.suppress(ScriptFailed):  # between an end and a start nobody listens
                (reply,) = self.injector.send([submission])
                if reply.accepted:
                    return
            assert time.monotonic() < limit, f"nobody takes mail for {domain}"
            time.sleep(0.02)

    def deliver(
        self, n: int, wanted: Callable[[Delivery], bool] = lambda _: True
    ) -> list[Delivery]:
        """Let smtpd try its queue, again and again, until sinks have taken `n` recipients."""
        limit = time.monotonic() + _LIMIT_S
        while True:
            self.smtpd.ctl("schedule", "all")
            self.smtpd.ctl_status("resume", "route", "1")
            try:
                return self.sinks.wait_for(n, wanted, limit_s=0.5)
            except TooFew:
                if time.monotonic() > limit:
                    raise

    def goes_to(self, domain: str) -> str:
        """Send one message and answer which sink took it, or the reply's code if it was refused."""
        probe = f"probe-{next(self._probes)}"
        submission = Submission(probe, "s@sender.test", f"u@{domain}", PORT, client="127.0.0.1")
        (reply,) = self.injector.send([submission])
        if not reply.accepted:
            return str(reply.code)
        (taken,) = self.sinks.wait_for(1, lambda delivery: delivery.probe == probe)
        return taken.sink

    def greets(self) -> bool:
        """Say whether smtpd takes a connection and greets (RFC 5321 4.2).

        It answers on its control socket before it listens.
        """
        try:
            with self.namespace.connect("127.0.0.1", PORT) as link, link.makefile("rb") as replies:
                return replies.readline().startswith(b"220")
        except OSError:
            return False

    def pids(self) -> list[int]:
        """Answer the pids of all processes of smtpd."""
        return self.smtpd.pids()

    def end_smtpd(self) -> None:
        """End smtpd behind the agent's back, and wait until all of it is gone."""
        for pid in self.pids()[:1]:
            os.kill(pid, signal.SIGTERM)
        limit = time.monotonic() + _LIMIT_S
        while self.pids():
            assert time.monotonic() < limit, "smtpd does not end"
            time.sleep(0.01)

    def read(self, path: str) -> str:
        """Answer the text of a file inside."""
        return self.namespace.run(["cat", path]).stdout
