"""Orders keep their shipments, their refunds, and the last result of their payment.

A process of the previous version writes orders without them, and leaves those of other orders as they are. A confirmed
order without a result was paid: until this version an order was confirmed only by `payment.success`.
"""

import sqlalchemy as sa
from alembic import op

from oms.adapters.sql.core.types import short_text

revision = "order_0008"
down_revision = "order_0007"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("orders", sa.Column("payment", short_text(16), nullable=True))
    op.add_column("orders", sa.Column("fulfilment", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("orders", "fulfilment")
    op.drop_column("orders", "payment")
