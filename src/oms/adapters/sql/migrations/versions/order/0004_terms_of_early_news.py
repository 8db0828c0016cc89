"""Early events keep their customer and amount, to be compared with their order when it arrives.

The column is added beside `early`, which a process of the previous version goes on reading and writing: its rows have
no terms, and their events are applied without being compared.
"""

import sqlalchemy as sa
from alembic import op

revision = "order_0004"
down_revision = "order_0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("orders", sa.Column("early_terms", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("orders", "early_terms")
