"""The tables of each service: the same delivery tables for all, and the service's own beside them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    text,
)

from oms.adapters.sql.core.types import Instant, short_text
from oms.ports import limits

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
}

CREATED = text("state = 'CREATED'")
HELD = text("state = 'HELD'")
"""Conditions of partial indexes: a query has to use the very same text, with the value in it."""

CHURNING = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_cost_delay": 0, "vacuum_truncate": "false"}
"""On PostgreSQL, tables whose rows soon go: cleaned early and at full speed, and never locked to be made shorter."""

SENT = {"fillfactor": 85}
ROOM = {"fillfactor": 50}
PAID = {"fillfactor": 40}
"""On PostgreSQL, room in each page for the next version of a row: where no index has a column that changes, an update
stays in its page. So do one of an order's three updates (the others change `state`, which an index asks for), those of
the few rows that every batch writes, and that of a payment, whose second version is longer."""


def _where(name: str, column: str, condition: TextClause) -> Index:
    return Index(name, column, sqlite_where=condition, postgresql_where=condition)


class Tables:
    """The delivery tables: inbox, outbox, tasks, dead letters, attempt counters; and settings that never change."""

    def __init__(self) -> None:
        self.metadata = MetaData(naming_convention=NAMING)
        self.inbox = Table(
            "inbox",
            self.metadata,
            Column("consumer", short_text(limits.ID), primary_key=True),
            Column("message_id", short_text(limits.ID), primary_key=True),
            Column("at", Instant, nullable=False, index=True),  # purge
            sqlite_with_rowid=False,
        )
        self.outbox = Table(
            "outbox",
            self.metadata,
            Column("id", short_text(limits.TOKEN), primary_key=True),
            Column("topic", short_text(limits.TOPIC), nullable=False),
            Column("key", LargeBinary),
            Column("value", LargeBinary, nullable=False),
            Column("headers", Text, nullable=False),
            Column("leased_until", Instant, nullable=False),
            Column("at", Instant, nullable=False),
            Column("owner", short_text(limits.TOKEN)),
            Index("ix_outbox_leased_until", "leased_until", "at"),  # sweep, next due, backlog
            postgresql_with=CHURNING,
        )
        self.tasks = Table(
            "tasks",
            self.metadata,
            # The key comes first: a primary key that begins with the kind lures the planner away from `due_at`.
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
            # In the order of claims: a long backlog is never sorted. Not the key as well: a server that has counted
            # the table when it was empty would look keys up here, going through all of the index for each.
            Index("ix_tasks_due_at", "due_at"),
            postgresql_with=CHURNING,
        )
        self.dead_letters = Table(
            "dead_letters",
            self.metadata,
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
        self.attempts = Table(
            "attempts",
            self.metadata,
            Column("consumer", short_text(limits.ID), primary_key=True),
            Column("topic", short_text(limits.TOPIC), primary_key=True),
            Column("part", Integer, primary_key=True),
            Column("position", BigInteger, nullable=False),
            Column("tries", Integer, nullable=False),
            postgresql_with=ROOM,
        )
        # The processes that may hold leases, by instance; only PostgreSQL has rows here (`registration.py`).
        self.owners = Table(
            "owners",
            self.metadata,
            Column("instance", short_text(limits.INSTANCE), primary_key=True),
            Column("slot", Integer, primary_key=True, autoincrement=False),
            Column("owner", short_text(limits.TOKEN), nullable=False),
            Column("server_started_at", Instant, nullable=False),
            Column("registered_at", Instant, nullable=False),
        )
        self.pinned = Table(
            "pinned",
            self.metadata,
            Column("name", short_text(32), primary_key=True),
            Column("value", short_text(64), nullable=False),
        )


class KeyedTables(Tables):
    """With the answers that idempotency keys were given."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = Table(
            "idempotency",
            self.metadata,
            Column("key", short_text(limits.KEY), primary_key=True),
            Column("scope", short_text(limits.SCOPE), primary_key=True),
            Column("fingerprint", short_text(limits.FINGERPRINT), nullable=False),
            Column("body", Text, nullable=False),
            Column("at", Instant, nullable=False, index=True),  # purge
        )


class OrderTables(KeyedTables):
    """Orders and their history."""

    def __init__(self) -> None:
        super().__init__()
        self.orders = Table(
            "orders",
            self.metadata,
            Column("id", short_text(limits.ID), primary_key=True),
            Column("state", short_text(limits.STATE), nullable=False),
            Column("version", Integer, nullable=False),
            Column("user_id", short_text(limits.ID)),
            Column("total_minor", BigInteger),
            Column("currency", short_text(limits.CURRENCY)),
            Column("items", Text),
            Column("metadata", Text),
            Column("created_at", Instant),
            Column("updated_at", Instant),
            Column("deadline_at", Instant),
            Column("reason", short_text(limits.REASON)),
            Column("early", Text, nullable=False),
            Column("early_terms", Text),
            Index("ix_orders_user_id_created_at", "user_id", "created_at", "id"),
            Index("ix_orders_created_at", "created_at", "id"),
            _where("ix_orders_unanswered", "created_at", CREATED),  # backlog
            postgresql_with=ROOM,
        )
        self.history = Table(
            "order_history",
            self.metadata,
            # No foreign key: orders are never removed, and PostgreSQL spent more on the check than on the row.
            Column("order_id", short_text(limits.ID), primary_key=True),
            Column("seq", Integer, primary_key=True),
            Column("at", Instant, nullable=False),
            Column("trigger", short_text(limits.REASON), nullable=False),
            Column("before", short_text(limits.STATE), nullable=False),
            Column("after", short_text(limits.STATE), nullable=False),
            Column("detail", Text, nullable=False),
            sqlite_with_rowid=False,
        )


class InventoryTables(KeyedTables):
    """Stock, its ledger, reservations, and the gate's epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.stock = Table(
            "stock",
            self.metadata,
            Column("sku", short_text(limits.ID), primary_key=True),
            Column("on_hand", BigInteger, nullable=False),
            Column("held", BigInteger, nullable=False),
            CheckConstraint("0 <= held AND held <= on_hand", name="bounds"),
            postgresql_with=ROOM,
        )
        self.ledger = Table(
            "stock_ledger",
            self.metadata,
            Column("reference", short_text(limits.ID), primary_key=True),
            Column("sku", short_text(limits.ID), primary_key=True),
            Column("kind", short_text(limits.STATE), primary_key=True),
            Column("on_hand", BigInteger, nullable=False),
            Column("held", BigInteger, nullable=False),
            Column("at", Instant, nullable=False),
            sqlite_with_rowid=False,
        )
        self.reservations = Table(
            "reservations",
            self.metadata,
            Column("order_id", short_text(limits.ID), primary_key=True),
            Column("state", short_text(limits.STATE), nullable=False),
            Column("items", Text, nullable=False),
            Column("updated_at", Instant),
            _where("ix_reservations_held", "state", HELD),  # fold
        )
        self.gate = Table(
            "gate",
            self.metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("epoch", Integer, nullable=False),
        )


class PaymentTables(Tables):
    """Payments."""

    def __init__(self) -> None:
        super().__init__()
        self.payments = Table(
            "payments",
            self.metadata,
            Column("order_id", short_text(limits.ID), primary_key=True),
            Column("state", short_text(limits.STATE), nullable=False),
            Column("user_id", short_text(limits.ID)),
            Column("total_minor", BigInteger),
            Column("currency", short_text(limits.CURRENCY)),
            Column("metadata", Text, nullable=False),
            Column("payment_id", short_text(limits.ID)),
            Column("updated_at", Instant),
            postgresql_with=PAID,
        )


class NotificationTables(Tables):
    """Notifications."""

    def __init__(self) -> None:
        super().__init__()
        self.notifications = Table(
            "notifications",
            self.metadata,
            Column("id", short_text(limits.TASK_KEY), primary_key=True),
            Column("order_id", short_text(limits.ID), nullable=False),
            Column("kind", short_text(limits.TOPIC), nullable=False),
            Column("user_id", short_text(limits.ID), nullable=False),
            Column("total_minor", BigInteger, nullable=False),
            Column("currency", short_text(limits.CURRENCY), nullable=False),
            Column("reason", short_text(limits.REASON)),
            Column("metadata", Text, nullable=False),
            Column("at", Instant),
            Column("sent_at", Instant),
            UniqueConstraint("order_id", "kind"),
            postgresql_with=SENT,
        )


class StepTables(Tables):
    """The documents of a shop's own step."""

    def __init__(self) -> None:
        super().__init__()
        self.documents = Table(
            "documents",
            self.metadata,
            Column("consumer", short_text(limits.ID), primary_key=True),
            Column("key", short_text(limits.DOCUMENT_KEY), primary_key=True),
            Column("body", Text, nullable=False),
        )
        self.start_offsets = Table(
            "start_offsets",
            self.metadata,
            Column("consumer", short_text(limits.ID), primary_key=True),
            Column("offsets", Text, nullable=False),
        )


ORDER = OrderTables()
INVENTORY = InventoryTables()
PAYMENT = PaymentTables()
NOTIFICATION = NotificationTables()
STEP = StepTables()

KINDS: dict[str, Tables] = {
    "order": ORDER,
    "inventory": INVENTORY,
    "payment": PAYMENT,
    "notification": NOTIFICATION,
    "step": STEP,
}


def kind_of(name: str) -> str:
    """Return the kind of store that a name belongs to: one of the four services, else a step."""
    return name if name in KINDS else "step"
