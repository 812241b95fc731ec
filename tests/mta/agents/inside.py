"""Run as a script inside a namespace: does one thing of an agent at a time, each in a fresh fork.

The fork is what makes it quick to kill an agent a hundred times: everything is imported already.
The smtpd that a fork started lives on when the fork ends, as it does when an agent is killed.
"""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from app.agent import main, queue
from app.agent.apply import Applier
from app.agent.generations import Generations, Origin, Staged
from app.agent.live_file import LiveFile
from app.agent.memory import MemoryFile
from app.agent.opensmtpd import OpenSMTPD
from app.agent.prepare import Preparer
from app.agent.prepare_live import LivePreparer
from app.agent.report import Reporter
from app.agent.supervise import Supervise
from app.render.generation import Generation
from app.render.plan import CONF
from app.wire import Wanted

_LIMIT_S = 60


class InPlace(Generations):
    """A pusher as one would write it in a hurry: the new files over the old ones, where they are.

    The tests that kill must catch it, or they would catch nothing.
    """

    _staged: tuple[Generation, Origin] | None = None

    def stage(self, generation: Generation, origin: Origin) -> Staged:
        self._staged = (generation, origin)
        return super().stage(generation, origin)

    def activate(self, number: int) -> None:
        live = self.live()
        if self._staged is None or live is None or live.number == number:
            super().activate(number)
            return
        generation, _ = self._staged
        for file in generation.files:
            with (self.directory(live.number) / file.name).open("wb") as target:
                for line in file.content.splitlines(keepends=True):
                    target.write(line)
                    target.flush()
        super().activate(number)


class Idle(Supervise):
    """A control that says that it has started smtpd anew, and has done nothing."""

    async def restart(self, limit_s: float) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Site:
    """Where and how the agent works; the last four each break it in one way."""

    state_dir: str = "/run/agent"
    smtpd: str = "/usr/sbin/smtpd"
    smtpctl: str = "/usr/sbin/smtpctl"
    conf: str = "/run/bed/smtpd.conf"
    settle_s: float = 0.1
    apply_limit_s: float = 30.0
    now_s: int = 0
    live: bool = False
    in_place: bool = False
    idle: bool = False
    forgetful: bool = False
    unsynced: bool = False


class Agent:
    """The parts of an agent, as its composition root puts them together."""

    def __init__(self, site: Site, at: Callable[[str], None]) -> None:
        state_dir = Path(site.state_dir)
        kind = InPlace if site.in_place else Generations
        self.generations = kind(state_dir, main.group_of_mta())
        self.generations.open()
        self.memory = MemoryFile(state_dir)
        self.memory.open()
        smtpd, conf = Path(site.smtpd), Path(site.conf)
        control = (Idle if site.idle else Supervise)(smtpd, conf)
        self.forgetful = site.forgetful
        if site.unsynced:
            os.fsync = lambda fd: None  # noqa: ARG005  it is called by that name
        self.mta = OpenSMTPD(
            smtpd,
            Path(site.smtpctl),
            control,
            conf=conf,
            ours=self.generations.live_link / CONF,
            settle_s=site.settle_s,
        )
        now = (lambda: site.now_s) if site.now_s else (lambda: int(time.time()))
        live = None
        if site.live:
            file = LiveFile(state_dir, main.group_of_mta())
            file.open()
            live = LivePreparer(file)
        self.preparer = Preparer(
            self.generations, self.mta, spool=queue.SPOOL, now_s=now, at=at, live=live
        )
        self.applier = Applier(
            self.generations,
            self.mta,
            self.memory,
            self.preparer,
            limit_s=site.apply_limit_s,
            at=at,
        )

    async def first(self) -> None:
        await self.preparer.first()
        await self.applier.start()

    async def apply(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return asdict(await self.applier.apply(Wanted.model_validate(wanted)))

    async def recover(self) -> dict[str, Any] | None:
        if self.forgetful:
            return None
        ended = await self.applier.recover()
        return None if ended is None else asdict(ended)

    async def tell(self, down: list[list[str]]) -> None:
        """Say which relays are down, as what follows their health does."""
        assert self.preparer.live is not None
        self.preparer.live.file.tell(frozenset((name, relay) for name, relay in down))

    async def look(self) -> dict[str, Any]:
        report = await Reporter(self.generations, self.mta, self.memory, self.preparer.live).look()
        return report.model_dump(mode="json")

    async def aftermath(self) -> dict[str, Any]:
        """What a kill left on the disk, what recovery made of it, and what is seen then."""
        torn = self.torn()
        await self.recover()
        return {"torn": torn, "left": self.left_over(), "report": await self.look()}

    def torn(self) -> list[str]:
        """What is torn on the disk: what smtpd would read, were it started now, is not whole."""
        live = self.generations.live()
        if live is None:
            return ["live points nowhere"]
        changed = [f"{live.number}/{name}" for name in self.generations.drift(live)]
        digest = self.generations.read(live).digest(self.generations.seal)
        return changed + ([] if digest == live.files_digest else ["files digest"])

    def left_over(self) -> list[str]:
        """What should be gone once an agent has recovered."""
        live = self.generations.live()
        number = "" if live is None else str(live.number)
        generations = self.generations.state_dir / "generations"
        found = {path.name for path in generations.iterdir()} - {number, f"{number}.json"}
        usual = {"agent.json", "data", "generations", "live", "lock", "seal.key"}
        found |= {path.name for path in self.generations.state_dir.iterdir()} - usual
        return sorted(found)


class Forks:
    """Does each thing in a fork, killed where asked."""

    def __init__(self) -> None:
        self.site = Site()

    def open(self, **site: Any) -> None:
        self.site = Site(**site)

    def do(
        self,
        what: str,
        kill_at: str = "",
        run_at: dict[str, str] | None = None,
        trace: str = "",
        path: str = "",
        **arguments: Any,
    ) -> dict[str, Any]:
        """One verb of `Agent`; its answer, whether the agent was killed, and what strace(1) saw.

        `trace` is what strace(1) takes for -e, `path` the only file whose calls it looks at.
        `run_at` names commands of sh(1), each with the step before which it is run to its end.
        """
        answer, go = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(answer[0])
            os.read(go[0], 1)
            self._child(what, _At(kill_at, run_at or {}), answer[1], arguments)
        os.close(answer[1])
        os.close(go[0])
        tracer, log = _trace(pid, trace, path) if trace else (None, None)
        os.write(go[1], b"g")
        os.close(go[1])
        with os.fdopen(answer[0], "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(pid, 0)
        if tracer is not None:
            tracer.wait(_LIMIT_S)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return {
            "killed": killed,
            "answer": json.loads(said) if said else None,
            "log": [] if log is None else log.read_text("utf-8", "replace").splitlines(),
        }

    def _child(self, verb: str, at: "_At", answer: int, arguments: dict[str, Any]) -> None:
        async def work() -> None:
            agent = Agent(self.site, at)
            method: Callable[..., Awaitable[object]] = getattr(agent, verb)
            result = await method(**arguments)
            os.write(answer, json.dumps({"result": result, "steps": at.steps}).encode())
            os._exit(0)  # the smtpd that we started is not to be waited for, or killed

        try:
            asyncio.run(work())
        except BaseException as error:  # noqa: BLE001  all of it is the test's to judge
            os.write(answer, json.dumps({"error": repr(error), "steps": at.steps}).encode())
            os._exit(1)


@dataclass
class _At:
    """What happens at the steps of an agent."""

    kill_at: str
    run_at: dict[str, str]
    steps: list[str] = field(default_factory=list)

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if self.kill_at in {step, f"{step}:{self.steps.count(step)}"}:
            os.kill(os.getpid(), signal.SIGKILL)
        if step in self.run_at:
            null = subprocess.DEVNULL  # our own are the channel to the test
            argv = ["sh", "-c", self.run_at[step]]
            subprocess.run(argv, stdin=null, stdout=null, check=True, timeout=_LIMIT_S)


def _trace(pid: int, expression: str, only: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Attach strace(1) to a process; where it writes what it sees, descriptors with their paths."""
    path = Path(f"/run/strace.{pid}")
    argv = ["strace", "-y", "-p", str(pid), "-o", str(path), "-e", expression]
    argv += ["-f", "-P", only] if only else []  # the live file is written by a thread
    tracer = subprocess.Popen(argv, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    said = b""
    while b"attached" not in said:
        ready, _, _ = select.select([tracer.stderr], [], [], _LIMIT_S)
        chunk = os.read(tracer.stderr.fileno(), 4096) if ready else b""
        if not chunk:
            raise RuntimeError(f"strace did not attach: {said!r}")
        said += chunk
    return tracer, path


def serve() -> None:
    """Answer the lines of a `Channel`."""
    os.umask(0o077)
    forks = Forks()
    for line in sys.stdin:
        asked = json.loads(line)
        number, verb = asked.pop("id"), asked.pop("verb")
        try:
            method = forks.open if verb == "open" else forks.do
            answer = {"id": number, "answer": method(**asked)}
        except Exception as error:  # noqa: BLE001  the same
            answer = {"id": number, "error": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
