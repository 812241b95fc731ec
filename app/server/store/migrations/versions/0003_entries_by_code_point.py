"""Entries are read page by page in the order of code points, on every engine by an index."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Sort keys by octets where the database would sort them by a language.

    PostgreSQL makes the index of the primary key anew; SQLite sorts so already.
    """
    if op.get_context().dialect.name == "postgresql":
        op.execute('ALTER TABLE entries ALTER COLUMN key TYPE text COLLATE "C"')
