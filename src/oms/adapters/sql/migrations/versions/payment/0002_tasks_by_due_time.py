"""Tasks are indexed by due time alone, so that only the primary key serves to find one by its key."""

from alembic import op

revision = "payment_0002"
down_revision = "payment_0001"


def upgrade() -> None:
    """Index tasks without the key."""
    op.drop_index("ix_tasks_due_at", table_name="tasks")
    op.create_index("ix_tasks_due_at", "tasks", ["due_at"], unique=False)


def downgrade() -> None:
    """Restore the previous state."""
    op.drop_index("ix_tasks_due_at", table_name="tasks")
    op.create_index("ix_tasks_due_at", "tasks", ["due_at", "key"], unique=False)
