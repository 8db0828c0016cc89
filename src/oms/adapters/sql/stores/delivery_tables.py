"""The tables that every service has for reliable delivery."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

from oms.adapters.sql.core.types import Instant, short_text
from oms.ports import limits

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
}

SHORT_LIVED = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_cost_delay": 0, "vacuum_truncate": "false"}
"""PostgreSQL's storage parameters of tables whose rows are deleted soon: vacuumed early and at full speed, and never
locked in order to be truncated."""

HALF_FULL = {"fillfactor": 50}
"""PostgreSQL keeps half of each page free for the next versions of its rows. An update that changes no indexed column
then stays in its page (a HOT update)."""


class Tables:
    """The delivery tables: inbox, outbox, tasks, dead letters, attempt counters, owners of leases, pinned settings."""

    def __init__(self) -> None:
        self.metadata = MetaData(naming_convention=NAMING)
        self.inbox = _inbox(self.metadata)
        self.outbox = _outbox(self.metadata)
        self.tasks = _tasks(self.metadata)
        self.dead_letters = _dead_letters(self.metadata)
        self.attempts = _attempts(self.metadata)
        self.owners = _owners(self.metadata)
        self.pinned = _pinned(self.metadata)


class KeyedTables(Tables):
    """The delivery tables of a service whose commands carry idempotency keys."""

    def __init__(self) -> None:
        super().__init__()
        self.responses = _responses(self.metadata)


def _inbox(metadata: MetaData) -> Table:
    """The messages that each consumer group has handled."""
    return Table(
        "inbox",
        metadata,
        Column("consumer", short_text(limits.ID), primary_key=True),
        Column("message_id", short_text(limits.ID), primary_key=True),
        Column("at", Instant, nullable=False, index=True),  # purge
        sqlite_with_rowid=False,
    )


def _outbox(metadata: MetaData) -> Table:
    """Committed messages that aren't published yet."""
    return Table(
        "outbox",
        metadata,
        Column("id", short_text(limits.TOKEN), primary_key=True),
        Column("topic", short_text(limits.TOPIC), nullable=False),
        Column("key", LargeBinary),
        Column("value", LargeBinary, nullable=False),
        Column("headers", Text, nullable=False),
        Column("leased_until", Instant, nullable=False),
        Column("at", Instant, nullable=False),
        Column("owner", short_text(limits.TOKEN)),
        Index("ix_outbox_leased_until", "leased_until", "at"),  # sweep, next due, backlog
        postgresql_with=SHORT_LIVED,
    )


def _tasks(metadata: MetaData) -> Table:
    """Tasks: outside calls and deadlines."""
    return Table(
        "tasks",
        metadata,
        # The key comes first: with a primary key that begins with the kind, the planner may not use `due_at`.
        Column("key", short_text(limits.TASK_KEY), primary_key=True),
        Column("kind", short_text(limits.STATE), primary_key=True),
        Column("payload", Text, nullable=False),
        Column("due_at", Instant, nullable=False),
        Column("lease", short_text(limits.TOKEN)),
        Column("attempts", Integer, nullable=False),
        Column("created_at", Instant, nullable=False),
        Column("called_at", Instant),
        Column("note", Text, nullable=False),
        Column("trace", short_text(limits.TRACE)),
        Column("owner", short_text(limits.TOKEN)),
        # In the order of claims, so that a long backlog is never sorted. Without the key: with statistics of a time
        # when the table was empty, the planner would look keys up here and scan the whole index for each.
        Index("ix_tasks_due_at", "due_at"),
        postgresql_with=SHORT_LIVED,
    )


def _dead_letters(metadata: MetaData) -> Table:
    """Messages and tasks that couldn't be handled."""
    return Table(
        "dead_letters",
        metadata,
        Column("id", short_text(limits.TOKEN), primary_key=True),
        Column("consumer", short_text(limits.ID), nullable=False),
        Column("message_id", short_text(limits.TASK_KEY), nullable=False),
        Column("topic", short_text(limits.TOPIC), nullable=False),
        Column("part", Integer, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("key", LargeBinary),
        Column("value", LargeBinary),
        Column("headers", Text, nullable=False),
        Column("cause", short_text(limits.CAUSE), nullable=False),
        Column("detail", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("parked_at", Instant, nullable=False),
        Column("state", short_text(limits.STATE), nullable=False),
        Column("order_id", short_text(limits.ID)),
        Index("ix_dead_letters_state_parked_at", "state", "parked_at"),
    )


def _attempts(metadata: MetaData) -> Table:
    """How often a batch that begins at a position was begun, for each partition."""
    return Table(
        "attempts",
        metadata,
        Column("consumer", short_text(limits.ID), primary_key=True),
        Column("topic", short_text(limits.TOPIC), primary_key=True),
        Column("part", Integer, primary_key=True),
        Column("position", BigInteger, nullable=False),
        Column("tries", Integer, nullable=False),
        postgresql_with=HALF_FULL,
    )


def _owners(metadata: MetaData) -> Table:
    """The processes that may hold leases, by instance; `adapters/sql/postgres/registration.py` alone writes rows."""
    return Table(
        "owners",
        metadata,
        Column("instance", short_text(limits.INSTANCE), primary_key=True),
        Column("slot", Integer, primary_key=True, autoincrement=False),
        Column("owner", short_text(limits.TOKEN), nullable=False),
        Column("server_started_at", Instant, nullable=False),
        Column("registered_at", Instant, nullable=False),
    )


def _pinned(metadata: MetaData) -> Table:
    """Settings that never change, and values that are kept beside them."""
    return Table(
        "pinned",
        metadata,
        Column("name", short_text(32), primary_key=True),
        Column("value", short_text(64), nullable=False),
    )


def _responses(metadata: MetaData) -> Table:
    """The responses to idempotency keys."""
    return Table(
        "idempotency",
        metadata,
        Column("key", short_text(limits.KEY), primary_key=True),
        Column("scope", short_text(limits.SCOPE), primary_key=True),
        Column("fingerprint", short_text(limits.FINGERPRINT), nullable=False),
        Column("body", Text, nullable=False),
        Column("at", Instant, nullable=False, index=True),  # purge
    )
