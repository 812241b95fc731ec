"""Brings a database to the schema of this program, by Alembic, or refuses to touch it."""

import os
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from app.server.store.refusals import DatabaseNewer, DatabaseRefused

SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x72656C61  # "rela": of PostgreSQL's advisory locks, the one that migrating takes


def migrate(engine: Engine, file: Path | None, scripts: Path = SCRIPTS) -> None:
    """Make the schema, or bring it up to date; an SQLite file is first copied beside itself.

    Args:
        engine: that writes.
        file: of an SQLite database; None where no copy is wanted.
        scripts: the folder of migrations.

    Raises:
        DatabaseNewer: it holds a schema that this program does not know.
        DatabaseRefused: it holds tables, and none of them ours.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts))
    directory = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        at = present(connection, directory)
    if at == directory.get_current_head():
        return
    if at is not None and file is not None:
        copy_beside(file, at)
    with engine.begin() as connection:
        one_at_a_time(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def one_at_a_time(connection: Connection) -> None:
    """Let others that start on this database wait until the transaction ends, as SQLite does."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def present(connection: Connection, scripts: ScriptDirectory) -> str | None:
    """The migration that the database is at; None where there is nothing yet."""
    at = MigrationContext.configure(connection).get_current_revision()
    if at is None:
        if inspect(connection).has_table("head"):
            raise DatabaseRefused("the database holds tables that are not those of this program")
        return None
    if at not in {script.revision for script in scripts.walk_revisions()}:
        written_by = connection.execute(text("SELECT app_version FROM head")).scalar()
        raise DatabaseNewer(written_by or "of a later day")
    return at


def copy_beside(file: Path, present: str) -> Path:
    """Copy an SQLite database, whole, to a new file of mode 0600 in its folder; that file."""
    copy = file.with_name(f"{file.name}.before-migration-from-{present}")
    for number in count(2):
        try:
            os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            break
        except FileExistsError:
            copy = file.with_name(f"{file.name}.before-migration-from-{present}.{number}")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy
