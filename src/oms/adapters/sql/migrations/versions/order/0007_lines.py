"""Orders keep the lines and charges that their caller stated.

A process of the previous version writes orders without them, and leaves those of other orders as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "order_0007"
down_revision = "order_0006"


def upgrade() -> None:
    """Add the column."""
    op.add_column("orders", sa.Column("lines", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("orders", "lines")
