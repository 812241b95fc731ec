"""The log of a unit of systemd, followed as it is written."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from app.agent.process import Daemon
from app.observe import event
from app.routing.errors import ControlError

_PAUSE_S = 5.0
_STOP_LIMIT_S = 2.0


async def follow(
    unit: str,
    heard: Callable[[str], None],
    *,
    journalctl: Path = Path("/usr/bin/journalctl"),
    pause_s: float = _PAUSE_S,
) -> None:
    """Pass every new line on until cancelled; what is said between two journalctl is lost.

    Args:
        unit: whose log.
        heard: takes each line, without what the journal puts before it.
        journalctl: the program.
        pause_s: before it is started again.
    """
    argv = [str(journalctl), "-f", "-o", "cat", "-n", "0", "-u", unit]
    while True:
        try:
            child = await Daemon.start(argv, heard)
        except ControlError as error:
            event("journal-not-followed", logging.WARNING, reason=str(error))
        else:
            try:
                status = await child.wait()
            finally:
                await asyncio.shield(child.stop(_STOP_LIMIT_S))
            event("journal-ended", logging.WARNING, status=status)
        await asyncio.sleep(pause_s)
