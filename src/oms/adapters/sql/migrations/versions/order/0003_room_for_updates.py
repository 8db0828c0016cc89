"""Room in each page for the next version of a row, on PostgreSQL: pages filled from now on have it."""

from alembic import op

revision = "order_0003"
down_revision = "order_0002"


def upgrade() -> None:
    """Set the fill factor."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE orders SET (fillfactor = 50)")


def downgrade() -> None:
    """Restore the previous state."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE orders RESET (fillfactor)")
