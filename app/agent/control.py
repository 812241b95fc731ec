"""How smtpd is started anew and found: the two ways share these words."""

from typing import Protocol

from app.agent.process import Identity
from app.routing.errors import ControlError


class NotServing(ControlError):
    """The MTA was looked at, and does not serve as it should."""

    code = "not-serving"


class Control(Protocol):
    """Runs smtpd, or tells what does."""

    async def restart(self, limit_s: float) -> None:
        """End smtpd if it runs, and start it; that this returns says nothing yet.

        Raises:
            NotServing: it could not even be started.
        """

    async def running(self) -> Identity | None:
        """The first process of smtpd as it is now; None if there is none."""

    def now(self) -> int:
        """The present moment on the clock that `Identity.started` is told by here."""

    def last_words(self) -> str:
        """What smtpd, or what runs it, said last; one line, "" if nothing is known."""
