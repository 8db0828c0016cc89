"""Room in each page for the next version of a row, on PostgreSQL: pages filled from now on have it."""

from alembic import op

revision = "payment_0003"
down_revision = "payment_0002"


def upgrade() -> None:
    """Set the fill factor."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE payments SET (fillfactor = 40)")


def downgrade() -> None:
    """Restore the previous state."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE payments SET (fillfactor = 85)")
