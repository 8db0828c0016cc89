"""Payments keep their refunds.

A process of the previous version writes payments without them, and leaves those of other payments as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "payment_0006"
down_revision = "payment_0005"


def upgrade() -> None:
    """Add the column."""
    op.add_column("payments", sa.Column("refunds", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("payments", "refunds")
