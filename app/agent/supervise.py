"""smtpd as the agent's child: started, started again when it dies, its log passed on."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from app.agent import process
from app.agent.control import NotServing
from app.agent.process import Daemon, Identity
from app.observe import event
from app.routing.errors import ControlError

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 30.0
_STOP_LIMIT_S = 10.0
"""smtpd ends in a fraction of a second; one that does not is killed, and never waited for as long
as the whole restart may take."""
_SETTLED_S = 2.0
"""Having run for so long, smtpd has earned a quick start again: what its files let it fail at, it
fails at sooner."""


class Supervise:
    """The control `supervise`; `run` must be running for smtpd to be started again.

    Attributes:
        listeners: are told each line of its log.
    """

    def __init__(self, smtpd: Path, conf: Path) -> None:
        self._argv = [str(smtpd), "-d", "-f", str(conf)]
        self._daemon: Daemon | None = None
        self._identity: Identity | None = None
        self._said = ""
        self._wanted = asyncio.Event()
        self._busy = asyncio.Lock()
        self.listeners: list[Callable[[str], None]] = []

    async def restart(self, limit_s: float) -> None:
        """End smtpd, if it runs, and start it.

        Raises:
            NotServing: it could not be started.
        """
        self._wanted.set()
        async with self._busy:
            await self._stop(min(_STOP_LIMIT_S, limit_s / 3))
            await self._start()

    async def replace(self, known: Identity, limit_s: float) -> None:
        """End the smtpd that is known, and start another; nothing where that has happened already.

        Raises:
            NotServing: it could not be started.
        """
        async with self._busy:
            if self._identity == known and process.identity(known.pid) == known:
                await self._stop(min(_STOP_LIMIT_S, limit_s / 3))
                await self._start()

    async def running(self) -> Identity | None:
        """Our child, if it lives; before the first start, one that an agent before us left."""
        if self._identity is None:
            return self._left_behind()
        now = process.identity(self._identity.pid)
        if now == self._identity:
            return now
        if self._daemon is not None:
            await self._daemon.wait()  # its last words are still on their way
        return None

    def now(self) -> int:
        """In clock ticks after boot."""
        return process.now_ticks()

    def last_words(self) -> str:
        """The last line of its log."""
        return self._said

    async def run(self) -> None:
        """Keep smtpd running until cancelled, then end it."""
        try:
            wait_s = _FIRST_WAIT_S
            while True:
                await self._wanted.wait()
                ran_s = await self._watch()
                wait_s = _FIRST_WAIT_S if ran_s > _SETTLED_S else wait_s
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                await self._start_again()
        finally:
            await asyncio.shield(self._stop(_STOP_LIMIT_S))

    async def _watch(self) -> float:
        """Wait until smtpd has ended by itself, and answer for how long it ran."""
        clock = asyncio.get_running_loop().time
        while True:
            daemon, since = self._daemon, clock()
            if daemon is None:
                return 0.0
            status = await daemon.wait()
            async with self._busy:  # a restart in progress ends it, and starts the next one
                if self._daemon is daemon:
                    self._daemon = None
                    event("smtpd-ended", status=status, said=self._said)
                    return clock() - since

    async def _start_again(self) -> None:
        async with self._busy:
            if self._daemon is not None:
                return
            try:
                await self._start()
            except NotServing as error:
                event("smtpd-not-started", reason=str(error))

    async def _start(self) -> None:
        self._said = ""
        try:
            daemon = await Daemon.start(self._argv, self._heard)
        except ControlError as error:
            raise NotServing(str(error)) from error
        self._daemon, self._identity = daemon, process.identity(daemon.pid)
        if self._identity is None:
            await daemon.wait()  # its last words are still on their way
            raise NotServing(f"smtpd ended as soon as it was started: {self._said}")
        event("smtpd-started", pid=daemon.pid)

    async def _stop(self, limit_s: float) -> None:
        daemon = self._daemon
        if daemon is not None:
            await daemon.stop(limit_s)
            self._daemon = None
            return
        left = self._left_behind()
        if left is not None:
            # Its agent was killed. It served on; it is ended now, since its log has no reader.
            await process.end(left, limit_s)

    def _left_behind(self) -> Identity | None:
        """The smtpd that an agent before us started, and was killed before it could end it.

        Found by what it was started with: an agent may be killed before it can note a pid.
        """
        started_with = self._argv[1:]
        for pid in process.neighbours():
            if process.name(pid) == "smtpd" and process.arguments(pid)[1:] == started_with:
                return process.identity(pid)
        return None

    def _heard(self, line: str) -> None:
        self._said = line
        event("smtpd", said=line)
        for listener in self.listeners:
            listener(line)
