"""What the table program says on standard error."""

import contextlib
import os
import select
import time
from collections.abc import Callable

_SAY_EVERY_S = 1.0


class Log:
    """Lines on standard error, one a second of each cause at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, cause: str, what: str) -> None:
        """Write a line, unless one of the same cause was written within a second."""
        now = self._clock()
        last, kept_back = self._said.get(cause, (-_SAY_EVERY_S, 0))
        # Who does not read what we say must not stop us: then it is kept back as well.
        if now - last < _SAY_EVERY_S or not _takes_more(2):
            self._said[cause] = (last, kept_back + 1)
            return
        self._said[cause] = (now, 0)
        more = f" ({kept_back} more of this)" if kept_back else ""
        with contextlib.suppress(OSError):
            os.write(2, f"table-relaymap: {what}{more}\n".encode())


def _takes_more(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(state & select.POLLOUT for _, state in poll.poll(0))
