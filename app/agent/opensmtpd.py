"""OpenSMTPD beside us: its version, its own check, updates of tables, and whether it serves."""

import asyncio
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.agent import operator_file, process
from app.agent.control import Control, NotServing
from app.agent.operator_file import Declared, Listener
from app.agent.process import Identity
from app.routing.errors import ControlError

_VERSION = re.compile(r"OpenSMTPD (\d+)\.(\d+)(\S*)")
_ASK_LIMIT_S = 10.0
_BANNER_LIMIT_S = 10.0
_PAUSE_S = 0.05


class Unanswered(ControlError):
    """smtpd's own programs did not answer, so nothing can be said about it."""

    code = "unanswered"
    temporary = True


class CheckRefused(ControlError):
    """smtpd's own check does not take the configuration."""

    code = "check-refused"


@dataclass(frozen=True, slots=True)
class Version:
    """Of OpenSMTPD: as it says it, such as "6.8.0p2", and the part that counts."""

    text: str
    number: tuple[int, int]


class OpenSMTPD:
    """The MTA of this machine.

    Args:
        conf: the operator's file.
        ours: what it includes of us.
        settle_s: for so long it must have served after a start, seen again and again.
    """

    def __init__(
        self,
        smtpd: Path,
        smtpctl: Path,
        control: Control,
        *,
        conf: Path,
        ours: Path,
        settle_s: float = 1.0,
    ) -> None:
        self.conf = conf
        self.ours = ours
        self.control = control
        self._smtpd = str(smtpd)
        self._smtpctl = str(smtpctl)
        self._settle_s = settle_s

    def declared(self) -> Declared:
        """What the operator's file declares, without what it includes of us.

        Raises:
            OSError: it cannot be read.
        """
        return operator_file.read(self.conf, self.ours)

    async def version(self) -> Version:
        """What version it is.

        Raises:
            Unanswered: it does not say.
        """
        try:
            said = (await process.run([self._smtpd, "-h"], _ASK_LIMIT_S)).output
        except ControlError as error:
            raise Unanswered(str(error)) from error
        found = _VERSION.search(said)
        if found is None:
            raise Unanswered(f"{self._smtpd} -h names no version of OpenSMTPD")
        major, minor, rest = found.groups()
        return Version(f"{major}.{minor}{rest}", (int(major), int(minor)))

    async def check(self, conf: Path, limit_s: float) -> None:
        """Let smtpd check a configuration.

        Raises:
            CheckRefused: with its own words.
            NotStarted, TookTooLong: it could not say.
        """
        done = await process.run([self._smtpd, "-n", "-f", str(conf)], limit_s)
        if done.status != 0:
            lines = done.output.splitlines()
            raise CheckRefused(f"smtpd refuses it: {'; '.join(lines[:3]) or done.status}")

    async def update_table(self, table: str, limit_s: float) -> None:
        """Let smtpd read the file of a table again.

        Raises:
            NotServing: it says no, or nothing. A yes says only that it could open the file.
        """
        try:
            done = await process.run([self._smtpctl, "update", "table", table], limit_s)
        except ControlError as error:
            raise NotServing(str(error)) from error
        if done.status != 0:
            raise NotServing(f"smtpctl update table {table}: {done.last_line or done.status}")

    async def is_serving(self) -> bool:
        """Whether smtpd's processes answer now.

        Raises:
            Unanswered: nobody could be asked.
        """
        try:
            if await self.control.running() is None:
                return False
            done = await process.run([self._smtpctl, "show", "stats"], _ASK_LIMIT_S)
        except ControlError as error:
            raise Unanswered(str(error)) from error
        return done.status == 0

    async def is_process(self, known: Identity) -> bool:
        """Whether this very process is the one that runs."""
        try:
            return await self.control.running() == known
        except NotServing:
            return False

    async def serving(self) -> Identity:
        """The process that serves mail now, having been asked on its control socket and by SMTP.

        Raises:
            NotServing: none does.
        """
        found = await self.control.running()
        if found is None:
            raise NotServing(f"smtpd does not run: {self.control.last_words() or 'not a word'}")
        try:
            done = await process.run([self._smtpctl, "show", "stats"], _ASK_LIMIT_S)
        except ControlError as error:
            raise NotServing(str(error)) from error
        if done.status != 0:
            raise NotServing(f"smtpctl show stats: {done.last_line or done.status}")
        listeners = self.declared().listeners
        await _answered([each for each in listeners if each.greets] or listeners)
        return found

    async def settled(self, not_before: int, other_than: Identity | None) -> Identity:
        """The process that serves, and goes on serving for the time that a start takes to fail.

        Args:
            not_before: it must have been started at or after this moment of the control's clock.
            other_than: the process that it must not be.

        Raises:
            NotServing: it ended, or is the old one. Silence is waited out: the caller has a limit.
        """
        clock = asyncio.get_running_loop().time
        first = await self._started(not_before, other_than)
        since: float | None = None
        while since is None or clock() - since < self._settle_s:
            await self._refuse_other(first)
            try:
                await self.serving()
            except NotServing:
                await self._refuse_other(first)  # who has ended answers nothing: say the former
                if since is not None:
                    raise
            else:
                since = clock() if since is None else since
            await asyncio.sleep(_PAUSE_S)
        return first

    async def _refuse_other(self, first: Identity) -> None:
        """Raises NotServing unless this process runs still."""
        if await self.control.running() != first:
            raise NotServing(f"smtpd ended: {self.control.last_words() or 'without a word'}")

    async def _started(self, not_before: int, other_than: Identity | None) -> Identity:
        found = await self.control.running()
        if found is None:
            raise NotServing(f"smtpd ended: {self.control.last_words() or 'without a word'}")
        if found == other_than or found.started < not_before:
            raise NotServing("the smtpd that runs is the one from before")
        return found


async def _answered(listeners: Sequence[Listener]) -> None:
    """One of them answers: an interface may have got addresses that smtpd did not find there.

    Raises:
        NotServing: none does, as the first one says.
    """
    first: NotServing | None = None
    for listener in listeners:
        try:
            return await _greeted(listener)
        except NotServing as error:
            first = first or error
    if first is not None:
        raise first
    return None


async def _greeted(listener: Listener) -> None:
    """Connect to a listener and wait for its greeting (RFC 5321 4.2), where it speaks first.

    Raises:
        NotServing: nobody is there, or it is no greeting.
    """
    where = f"{listener.host} port {listener.port}"
    try:
        async with asyncio.timeout(_BANNER_LIMIT_S):
            reader, writer = await asyncio.open_connection(listener.host, listener.port)
            line = await reader.readline() if listener.greets else b"220"
            with contextlib.suppress(ConnectionError):
                writer.write(b"QUIT\r\n" if listener.greets else b"")
                writer.close()
                await writer.wait_closed()
    except (OSError, ValueError, TimeoutError) as error:
        raise NotServing(f"nobody answers on {where}") from error
    if not line.startswith(b"220"):
        raise NotServing(f"no greeting on {where}")
