"""smtpd as a unit of systemd: `systemctl restart`, then a look at what the unit's process is.

Everything is asked of systemd and nothing of /proc, which a confined agent need not see.
"""

import time
from pathlib import Path

from app.agent import process
from app.agent.control import NotServing
from app.agent.process import Identity
from app.routing.errors import ControlError

_LOOK_LIMIT_S = 10.0
_SHOWN = (
    "LoadState,ActiveState,SubState,Result,MainPID,ExecMainStartTimestampMonotonic,InvocationID"
)


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
        try:
            done = await process.run([self._systemctl, "restart", self._unit], limit_s)
        except ControlError as error:
            raise NotServing(str(error)) from error
        self._said = done.last_line
        if done.status != 0:
            raise NotServing(f"systemctl restart {self._unit}: {self._said or done.status}")

    async def running(self) -> Identity | None:
        """The main process of the unit."""
        shown = await self._show()
        pid = int(shown.get("MainPID", "0"))
        if shown.get("ActiveState") != "active" or not pid:
            self._said = self._state(shown)
            return None
        started = int(shown.get("ExecMainStartTimestampMonotonic", "0"))
        return Identity(pid, started, shown.get("InvocationID", ""))

    def now(self) -> int:
        """In microseconds of the monotonic clock."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    def last_words(self) -> str:
        """What systemctl said, or the state of the unit."""
        return self._said

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
