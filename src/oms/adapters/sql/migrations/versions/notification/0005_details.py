"""Notifications of shipments and refunds keep the units, lines and parcel that they are about.

A process of the previous version writes notifications without them.
"""

import sqlalchemy as sa
from alembic import op

revision = "notification_0005"
down_revision = "notification_0004"


def upgrade() -> None:
    """Add the column."""
    op.add_column("notifications", sa.Column("details", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("notifications", "details")
