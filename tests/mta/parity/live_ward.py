"""One routing after the other in a real smtpd that asks the table program, pushed by an agent."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from app.routing.model import model_digest
from app.routing.routing_table import RoutingTable
from app.wire import Reload
from tests.mta.agents import machine, table_program
from tests.mta.agents.machine import Machine
from tests.mta.bed.channel import Channel
from tests.mta.bed.namespace import WORKSPACE
from tests.mta.bed.smtpd import LOG
from tests.mta.parity import broken_program, world
from tests.mta.parity.expectation import ALL_UP, Down
from tests.mta.parity.observation import STATE_DIR, Refused, Ward
from tests.unit.routing.making import model_document

SMTPD = f"{WORKSPACE}/smtpd"
"""What the agent takes for smtpd: it writes the log where the bed reads it."""
_WRAPPER = f"""\
#!/bin/sh
test "$1" = -d && exec /usr/sbin/smtpd "$@" >>{LOG} 2>&1
exec /usr/sbin/smtpd "$@"
"""
_LONGER_THAN_ANY_TTL_S = 30 * 86_400


@dataclass(slots=True)
class LiveWard(Ward):
    """A daemon that an agent runs, with the table program installed."""

    live: ClassVar[bool] = True
    _agent: Machine = field(init=False)
    _push: int = 0

    def settle(self) -> None:
        """Install the table program, and start the agent."""
        table_program.install(self.namespace)
        self.smtpd.write(SMTPD, _WRAPPER, mode=0o755)
        channel = Channel.open(self.namespace, Path(machine.__file__).with_name("inside.py"))
        self._agent = Machine(self.namespace, self.sinks, self.smtpd, channel, self.injector)
        self._site()
        self._agent.do("first")

    def load(self, table: RoutingTable, down: Down = ALL_UP) -> None:
        """Push a routing and tell what is down, over a daemon that runs on with an empty queue.

        Raises:
            Refused: with the agent's words.
        """
        self._empty()
        self._push += 1
        self._site()
        state, reload = self._agent.ended(_wanted(self._push, table))
        self.reload = Reload(reload)
        if state != "applied":
            raise Refused(self._agent.detail)
        self._agent.do("tell", down=sorted(down))
        self.forget()

    def break_program(self, function: str) -> None:
        """Let the daemon run a program that is wrong as a function of `broken_program` says."""
        table_program.install(self.namespace)
        table_program.break_by(self.namespace, Path(broken_program.__file__), function)
        self._end()

    def mend_program(self) -> None:
        """Let it run the right one again."""
        table_program.install(self.namespace)
        self._end()

    def _end(self) -> None:
        self._agent.end_smtpd()
        self.namespace.run(["rm", "-rf", "/var/spool/smtpd"])

    def _site(self) -> None:
        """Let time pass between two pushes, so that the actions of one are not kept for long."""
        self._agent.site(
            state_dir=STATE_DIR,
            smtpd=SMTPD,
            live=True,
            now_s=(self._push + 1) * _LONGER_THAN_ANY_TTL_S,
        )

    def _empty(self) -> None:
        if self.smtpd.queue():
            self.smtpd.ctl("remove", "all")
            self.smtpd.wait_for_queue(0)


def _wanted(number: int, table: RoutingTable) -> dict[str, Any]:
    secret = world.SECRET
    return {
        "push": number,
        "history": "h-parity",
        "revision": number,
        "model_digest": model_digest(table),
        "model": model_document(table),
        "secrets": [
            {
                "label": secret.label,
                "revision": secret.revision,
                "username": secret.username,
                "password": secret.password,
            }
        ],
    }
