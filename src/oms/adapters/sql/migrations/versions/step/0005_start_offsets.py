"""A step's store keeps the offsets at which its group began."""

import sqlalchemy as sa
from alembic import op

from oms.adapters.sql.core.types import short_text

revision = "step_0005"
down_revision = "step_0004"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "start_offsets",
        sa.Column("consumer", short_text(64), nullable=False),
        sa.Column("offsets", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", name=op.f("pk_start_offsets")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("start_offsets")
