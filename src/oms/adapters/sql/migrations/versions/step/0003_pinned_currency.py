"""The currency of a store is pinned at its first start."""

import sqlalchemy as sa
from alembic import op

from oms.adapters.sql.core.types import short_text

revision = "step_0003"
down_revision = "step_0002"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "pinned",
        sa.Column("name", short_text(32), nullable=False),
        sa.Column("value", short_text(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pinned")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("pinned")
