"""With what a look at a relay logs in, where looks are to: as the routing in force has it."""

from app.agent.health import Target
from app.agent.live_file import LiveFile
from app.routing.credential import may_log_in
from app.routing.live_file import Structure


class Logins:
    """The logins of the live file, for relays that smtpd would log in to.

    Args:
        file: where they are.
    """

    def __init__(self, file: LiveFile) -> None:
        self._file = file
        self._known: tuple[tuple[str, int], Structure] | None = None

    def of(self, target: Target) -> tuple[str, str] | None:
        """User and password to try; None where there are none, or where they must not be sent.

        Raises:
            NotLive: the file is none that an agent wrote.
        """
        url = target.url
        if url.credential is None or not url.tls.mandatory:
            return None
        structure = self._newest()
        if not may_log_in(structure.credentials, url, verified=target.verify is not False):
            return None
        login = structure.logins.get(url.credential)
        return None if login is None else (login.username, login.password)

    def _newest(self) -> Structure:
        meta, known = self._file.meta(), self._known
        state = (meta.history, meta.structure)
        if known is None or known[0] != state:
            known = self._known = (state, self._file.structure())
        return known[1]
