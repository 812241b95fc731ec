"""Run as a script inside a namespace: smtpd as a child, and the agent's health beside it.

The table program's part is played by a file of relays: those that are down are left out of it.
"""

import asyncio
import dataclasses
import json
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from app.agent import process
from app.agent.dialogue import Fails
from app.agent.health import InUse, Pace
from app.agent.health_loop import HealthLoop, Rhythm
from app.agent.probe import Prober
from app.agent.smtpctl import Smtpctl
from app.agent.supervise import Supervise
from app.routing.errors import ControlError
from app.routing.relay_url import parse_relay_url

CONF = Path("/run/bed/smtpd.conf")
LOG = Path("/run/bed/smtpd.log")
SMTPCTL = Path("/usr/sbin/smtpctl")


class Beside:
    """An agent's health beside its smtpd."""

    def __init__(self) -> None:
        self.control = Supervise(Path("/usr/sbin/smtpd"), CONF)
        self.smtpctl = Smtpctl(SMTPCTL)
        self.pool: dict[tuple[str, str], str] = {}
        self.table = Path("/run/bed/pool")
        self.health: HealthLoop | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self, relays: list[list[str]], pace: dict[str, float]) -> None:
        """Start smtpd, and what looks after the relays: each a map, a name and a URL."""
        self.control.listeners.append(self._keep)
        self.health = HealthLoop(
            Prober(limit_s=5.0, leave_out=(ip_network("192.0.2.0/24"),)),
            self.smtpctl,
            self._tell,
            pace=Pace(**pace),  # type: ignore[arg-type]
            rhythm=Rhythm(measure_s=0.1, sweep_s=0.2, again_s=0.2),
        )
        self.control.listeners.append(self.health.heard)
        await self.control.restart(30)
        self._go(self.control.run())
        while (await process.run([str(SMTPCTL), "show", "stats"], 10)).status != 0:  # noqa: ASYNC110  it is no event
            await asyncio.sleep(0.05)
        self.pool = {(relay_map, name): url for relay_map, name, url in relays}
        self.health.use(
            InUse(relay_map, name, parse_relay_url(url), verify=False)
            for relay_map, name, url in relays
        )
        self._go(self.health.run())

    async def seen(self) -> list[dict[str, Any]]:
        assert self.health is not None
        return [seen.model_dump(mode="json") for seen in self.health.seen()]

    async def check(self, relay: list[str], login: list[str]) -> dict[str, Any]:
        assert self.health is not None
        user, password = login
        found = await self.health.check(relay[0], relay[1], (user, password))
        return {"state": found.state, "cause": found.cause, "reply": found.reply}

    async def schedule(self, envelope: str) -> bool:
        return await self.smtpctl.schedule(envelope)

    async def loads(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(load) for load in await self.smtpctl.loads()]

    async def _tell(self, down: frozenset[tuple[str, str]]) -> None:
        """Leave them out, unless none would be left."""
        left = [url for name, url in self.pool.items() if name not in down]
        if self.table.exists() and left:
            self.table.write_text("# @list\n" + "".join(f"{url}\n" for url in left))
            await process.run([str(SMTPCTL), "update", "table", "pool"], 10)

    def _keep(self, line: str) -> None:
        with LOG.open("a") as log:
            log.write(f"{line}\n")

    def _go(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(lambda done: done.cancelled() or done.result())


async def serve() -> None:
    """Answer the lines of a `Channel`."""
    beside = Beside()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        number, verb = asked.pop("id"), asked.pop("verb")
        try:
            answer = {"id": number, "answer": await getattr(beside, verb)(**asked)}
        except (ControlError, Fails) as error:
            answer = {"id": number, "error": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for task in beside.tasks:
        task.cancel()
    await asyncio.gather(*beside.tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(serve())
