"""Why a database is not opened: each a fact, with what to do about it."""

from pathlib import Path

from app.routing.errors import ControlError


class DatabaseRefused(ControlError):
    """The database is not opened, and nothing in it was changed."""

    code = "database-refused"


class DatabaseNewer(DatabaseRefused):
    """The database was written by a newer version of this program."""

    code = "database-newer"

    def __init__(self, written_by: str) -> None:
        super().__init__(
            f"version {written_by} wrote this database, which is newer than this program: start"
            " that version, or restore a backup made by this one"
        )
        self.written_by = written_by


class SealingKeyMissing(DatabaseRefused):
    """There is a database, and not the key that its secrets are sealed with."""

    code = "sealing-key-missing"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is no sealing key at {path}, and without it the credentials of this database"
            " cannot be opened: put the key back where it was"
        )


class SealingKeyWrong(DatabaseRefused):
    """The key is not the one that the database's secrets are sealed with."""

    code = "sealing-key-wrong"

    def __init__(self) -> None:
        super().__init__(
            "the sealing key is not the one that this database was made with: put the right one"
            " in its place"
        )


class SealingKeyRefused(DatabaseRefused):
    """The key file is not as it must be."""

    code = "sealing-key-refused"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"the sealing key {path} is not used: {why}")
