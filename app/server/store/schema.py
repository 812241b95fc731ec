"""The tables of the database; the only place that names a column.

Every statement of this package finds its rows by a primary key or by an index declared here.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite keeps none of the zone, so it is put back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy passes it
    ) -> datetime | None:
        """The time in UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy passes it
    ) -> datetime | None:
        """The time, aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _marks() -> tuple[Column[int], Column[datetime], Column[datetime]]:
    return (
        Column("revision", BigInteger, nullable=False),
        Column("created_at", Moment, nullable=False),
        Column("updated_at", Moment, nullable=False),
    )


head = Table(
    "head",
    METADATA,
    Column("id", Integer, CheckConstraint("id = 1", name="single"), primary_key=True),
    # The life of this database: new when it is made and when a backup is put back.
    Column("history", Text, nullable=False),
    # What secrets are sealed to: made once, kept by backups.
    Column("identity", Text, nullable=False),
    Column("key_check", LargeBinary, nullable=False),
    Column("app_version", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("rule_counter", BigInteger, nullable=False),
    Column("push_counter", BigInteger, nullable=False),
    # The checksum of the newest journal row: a journal whose tail is cut off is noticed.
    Column("checksum", Text, nullable=False),
)

relay_maps = Table(
    "relay_maps",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),
    *_marks(),
)

states = Table(
    "states",
    METADATA,
    Column("relay_map", Text, ForeignKey("relay_maps.name"), primary_key=True),
    Column("relay", Text, primary_key=True),
    Column("document", Text, nullable=False),
)

tables = Table(
    "tables",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),
    *_marks(),
)

entries = Table(
    "entries",
    METADATA,
    Column("table_name", Text, ForeignKey("tables.name"), primary_key=True),
    # By code points everywhere: pages are read in this order, by the index of the primary key.
    Column("key", Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True),
    Column("via", Text, nullable=False),
    *_marks(),
)

rules = Table(
    "rules",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),
    *_marks(),
)

credentials = Table(
    "credentials",
    METADATA,
    Column("label", Text, primary_key=True),
    Column("document", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    # The revision that the secret was sealed in: hosts may change without it.
    Column("sealed_at", BigInteger, nullable=False),
    *_marks(),
)

revisions = Table(
    "revisions",
    METADATA,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("author", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", Moment, nullable=False, index=True),
    Column("change_count", Integer, nullable=False),
)

journal = Table(
    "journal",
    METADATA,
    Column(
        "revision",
        BigInteger,
        ForeignKey("revisions.revision", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    # Chance, so that a writer that lost its connection can tell its own commit from another's.
    Column("nonce", Text, nullable=False),
    Column("changes", Text, nullable=False),
    # Changes of many entries, compressed; the changes say which, how long, and their digests.
    Column("packed", LargeBinary),
    Column("previous", Text, nullable=False),
    Column("checksum", Text, nullable=False),
)

mtas = Table(
    "mtas",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("driver", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

reports = Table(
    "reports",
    METADATA,
    Column("mta", Text, ForeignKey("mtas.name", ondelete="CASCADE"), primary_key=True),
    Column("report", Text, nullable=False),
    Column("seen_at", Moment, nullable=False),
)

tokens = Table(
    "tokens",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("mta", Text, ForeignKey("mtas.name", ondelete="CASCADE"), index=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("last_used_at", Moment),
)

pushes = Table(
    "pushes",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("history", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", Moment, nullable=False, index=True),
)

lines = Table(
    "lines",
    METADATA,
    Column("push", BigInteger, ForeignKey("pushes.id", ondelete="CASCADE"), primary_key=True),
    # No foreign key: what was pushed to an MTA is told after the MTA is gone.
    Column("mta", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("reload", Text),
    Column("detail", Text, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("tries", Integer, nullable=False),
    Column("next_try_at", Moment),
    Index(None, "mta", "push"),
    Index(None, "state"),
)
