"""The currency of a store is pinned at its first start.

Existing rows name their currency: that of the newest row is pinned.
"""

import sqlalchemy as sa
from alembic import op

from oms.adapters.sql.core.types import short_text

revision = "notification_0003"
down_revision = "notification_0002"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "pinned",
        sa.Column("name", short_text(32), nullable=False),
        sa.Column("value", short_text(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pinned")),
    )
    op.execute(
        "INSERT INTO pinned (name, value) SELECT 'currency', currency FROM notifications"
        " WHERE currency IS NOT NULL ORDER BY at DESC LIMIT 1"
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("pinned")
