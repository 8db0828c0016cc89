"""The first tables of the notification store."""

import sqlalchemy as sa
from alembic import op

from oms.adapters.sql.core.types import Instant, short_text

revision = "notification_0001"
down_revision = None

_CHURNING = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_cost_delay": 0, "vacuum_truncate": "false"}


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "attempts",
        sa.Column("consumer", short_text(64), nullable=False),
        sa.Column("topic", short_text(128), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "topic", "part", name=op.f("pk_attempts")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", short_text(36), nullable=False),
        sa.Column("consumer", short_text(64), nullable=False),
        sa.Column("message_id", short_text(200), nullable=False),
        sa.Column("topic", short_text(128), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("cause", short_text(128), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("parked_at", Instant(), nullable=False),
        sa.Column("state", short_text(16), nullable=False),
        sa.Column("order_id", short_text(64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_index("ix_dead_letters_state_parked_at", "dead_letters", ["state", "parked_at"], unique=False)
    op.create_table(
        "inbox",
        sa.Column("consumer", short_text(64), nullable=False),
        sa.Column("message_id", short_text(64), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "message_id", name=op.f("pk_inbox")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_inbox_at"), "inbox", ["at"], unique=False)
    op.create_table(
        "notifications",
        sa.Column("id", short_text(200), nullable=False),
        sa.Column("order_id", short_text(64), nullable=False),
        sa.Column("kind", short_text(128), nullable=False),
        sa.Column("user_id", short_text(64), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", short_text(3), nullable=False),
        sa.Column("reason", short_text(32), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=True),
        sa.Column("sent_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint("order_id", "kind", name=op.f("uq_notifications_order_id_kind")),
        postgresql_with={"fillfactor": 85},
    )
    op.create_table(
        "outbox",
        sa.Column("id", short_text(36), nullable=False),
        sa.Column("topic", short_text(128), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("leased_until", Instant(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        postgresql_with=_CHURNING,
    )
    op.create_index("ix_outbox_leased_until", "outbox", ["leased_until", "at"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("key", short_text(200), nullable=False),
        sa.Column("kind", short_text(16), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("lease", short_text(36), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("called_at", Instant(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("trace", short_text(64), nullable=True),
        sa.PrimaryKeyConstraint("key", "kind", name=op.f("pk_tasks")),
        postgresql_with=_CHURNING,
    )
    op.create_index("ix_tasks_due_at", "tasks", ["due_at", "key"], unique=False)


def downgrade() -> None:
    """Drop the tables."""
    op.drop_index("ix_tasks_due_at", table_name="tasks")
    op.drop_table("tasks")
    op.drop_index("ix_outbox_leased_until", table_name="outbox")
    op.drop_table("outbox")
    op.drop_table("notifications")
    op.drop_index(op.f("ix_inbox_at"), table_name="inbox")
    op.drop_table("inbox")
    op.drop_index("ix_dead_letters_state_parked_at", table_name="dead_letters")
    op.drop_table("dead_letters")
    op.drop_table("attempts")
