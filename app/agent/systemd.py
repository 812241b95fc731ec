"""smtpd as a unit of systemd: `systemctl restart`, then a look at what the unit's process is."""

from pathlib import Path

from app.agent import process
from app.agent.control import NotServing
from app.agent.process import Identity
from app.routing.errors import ControlError

_LOOK_LIMIT_S = 10.0
_SHOWN = "LoadState,ActiveState,SubState,Result,MainPID,ExecMainStartTimestampMonotonic"


class Systemd:
    """The control `systemd`. systemd starts smtpd again by itself if its unit says so."""

    def __init__(self, unit: str, systemctl: Path = Path("/usr/bin/systemctl")) -> None:
        self._unit = unit
        self._systemctl = str(systemctl)
        self._said = ""

    async def restart(self, limit_s: float) -> None:
        """Start the unit's process anew.

        Raises:
            NotServing: systemd could not.
        """
        # Several pushes in a few seconds are no fault of smtpd's: they must not meet the limit on
        # starts. What it says to a unit that never failed does not matter.
        await self._ask("reset-failed", self._unit)
        before = await self._start_of_unit()
        try:
            done = await process.run([self._systemctl, "restart", self._unit], limit_s)
        except ControlError as error:
            raise NotServing(str(error)) from error
        self._said = done.last_line
        if done.status != 0:
            raise NotServing(f"systemctl restart {self._unit}: {self._said or done.status}")
        if await self._start_of_unit() == before:
            raise NotServing(f"systemctl restart {self._unit} ended, and nothing was started")

    async def running(self) -> Identity | None:
        """The main process of the unit."""
        shown = await self._show()
        pid = int(shown.get("MainPID", "0"))
        if shown.get("ActiveState") != "active" or not pid:
            self._said = self._state(shown)
            return None
        return process.identity(pid)

    def last_words(self) -> str:
        """What systemctl said, or the state of the unit."""
        return self._said

    async def _start_of_unit(self) -> str:
        """When the unit's present process was started, in microseconds of the monotonic clock."""
        return (await self._show()).get("ExecMainStartTimestampMonotonic", "0")

    async def _show(self) -> dict[str, str]:
        text = await self._ask("show", f"--property={_SHOWN}", self._unit)
        pairs = (line.partition("=") for line in text.splitlines())
        return {name: value for name, _, value in pairs}

    async def _ask(self, *arguments: str) -> str:
        try:
            return (await process.run([self._systemctl, *arguments], _LOOK_LIMIT_S)).output
        except ControlError as error:
            raise NotServing(str(error)) from error

    def _state(self, shown: dict[str, str]) -> str:
        words = [shown.get(name, "") for name in ("ActiveState", "SubState", "Result")]
        if shown.get("LoadState") == "not-found":
            return f"systemd knows no unit {self._unit}"
        return f"{self._unit} is {', '.join(word for word in words if word)}"
