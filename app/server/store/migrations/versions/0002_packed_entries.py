"""The journal keeps changes of many entries compressed, beside the others."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; earlier rows have nothing in it."""
    op.add_column("journal", sa.Column("packed", sa.LargeBinary()))
