"""Looks at a database and its key, says why it would not be opened, and changes nothing."""

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from app.server.store import engines
from app.server.store.migrate import SCRIPTS, present
from app.server.store.opening import check_key, has_life, refuse_damaged, translated
from app.server.store.sealing import Seal, read_key


def examine(url: str, key_file: Path) -> bool:
    """Whether there is a database; where there is none, `open` would make it.

    Raises:
        DatabaseRefused: `open` would refuse it; see the subclasses for why.
        StorageDamaged: it is no database, or a torn one.
        StorageTrouble: it cannot be reached now.
    """
    parsed = engines.parse_url(url)
    file = engines.sqlite_path(parsed)
    if file is not None and not file.exists():
        return False
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    engine = engines.reading(parsed)
    try:
        with translated(), engine.connect() as connection:
            refuse_damaged(connection)
            if not has_life(connection):
                return False
            present(connection, ScriptDirectory.from_config(config))
            check_key(connection, Seal(read_key(key_file)))
    finally:
        engine.dispose()
    return True
