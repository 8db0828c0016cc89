"""Reservations keep the restocks of refunds, whose ledger rows have longer references.

A process of the previous version writes reservations without them, and leaves those of others as they are.
"""

import sqlalchemy as sa
from alembic import op

from oms.adapters.sql.core.types import short_text

revision = "inventory_0005"
down_revision = "inventory_0004"


def upgrade() -> None:
    """Add the column, and widen the other one. SQLite ignores the length of a column; its store checks it."""
    op.add_column("reservations", sa.Column("restocks", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("stock_ledger", "reference", type_=short_text(101), existing_nullable=False)


def downgrade() -> None:
    """Drop the column. References stay as long as they are, which the previous version doesn't mind."""
    op.drop_column("reservations", "restocks")
