"""Leases name the process that holds them, so that its successor can release them.

A process of the previous version writes leases without an owner; they expire as before.
"""

import sqlalchemy as sa
from alembic import op

from oms.adapters.sql.core.types import Instant, short_text

revision = "payment_0005"
down_revision = "payment_0004"


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("outbox", sa.Column("owner", short_text(36)))
    op.add_column("tasks", sa.Column("owner", short_text(36)))
    op.create_table(
        "owners",
        sa.Column("instance", short_text(255), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("owner", short_text(36), nullable=False),
        sa.Column("server_started_at", Instant(), nullable=False),
        sa.Column("registered_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "slot", name=op.f("pk_owners")),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("owners")
    op.drop_column("tasks", "owner")
    op.drop_column("outbox", "owner")
