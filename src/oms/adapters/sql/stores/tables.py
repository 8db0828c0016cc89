"""The tables of each service: the delivery tables of all, and the service's own."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    text,
)

from oms.adapters.sql.core.types import Instant, short_text
from oms.adapters.sql.stores.delivery_tables import HALF_FULL, KeyedTables, Tables
from oms.ports import limits

CREATED = text("state = 'CREATED'")
HELD = text("state = 'HELD'")
"""Conditions of partial indexes. A query uses the index only with this same text, with the value in it."""

# PostgreSQL keeps room in each page for the next versions of its rows; see `HALF_FULL`.
_FOR_ONE_UPDATE = {"fillfactor": 85}
_FOR_LONGER_ROWS = {"fillfactor": 40}
"""A payment's second version is longer than its first."""


def _partial_index(name: str, column: str, condition: TextClause) -> Index:
    return Index(name, column, sqlite_where=condition, postgresql_where=condition)


class OrderTables(KeyedTables):
    """Orders and their history."""

    def __init__(self) -> None:
        super().__init__()
        self.orders = _orders(self.metadata)
        self.history = _history(self.metadata)


class InventoryTables(KeyedTables):
    """Stock, its ledger, reservations, and the gate's epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.stock = _stock(self.metadata)
        self.ledger = _ledger(self.metadata)
        self.reservations = _reservations(self.metadata)
        self.gate = _gate(self.metadata)


class PaymentTables(Tables):
    """Payments."""

    def __init__(self) -> None:
        super().__init__()
        self.payments = _payments(self.metadata)


class NotificationTables(Tables):
    """Notifications."""

    def __init__(self) -> None:
        super().__init__()
        self.notifications = _notifications(self.metadata)


class StepTables(Tables):
    """The documents and start offsets of a user's own step."""

    def __init__(self) -> None:
        super().__init__()
        self.documents = _documents(self.metadata)
        self.start_offsets = _start_offsets(self.metadata)


def _orders(metadata: MetaData) -> Table:
    """The state and the terms of each order."""
    return Table(
        "orders",
        metadata,
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
        Column("lines", Text),
        Column("payment", short_text(limits.STATE)),
        Column("fulfilment", Text),
        Index("ix_orders_user_id_created_at", "user_id", "created_at", "id"),
        Index("ix_orders_created_at", "created_at", "id"),
        _partial_index("ix_orders_unanswered", "created_at", CREATED),  # backlog
        # For one of an order's three updates: the others change `state`, which is indexed.
        postgresql_with=HALF_FULL,
    )


def _history(metadata: MetaData) -> Table:
    """The transitions of each order."""
    return Table(
        "order_history",
        metadata,
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


def _stock(metadata: MetaData) -> Table:
    """Units on hand and held of each product."""
    return Table(
        "stock",
        metadata,
        Column("sku", short_text(limits.ID), primary_key=True),
        Column("on_hand", BigInteger, nullable=False),
        Column("held", BigInteger, nullable=False),
        CheckConstraint("0 <= held AND held <= on_hand", name="bounds"),
        postgresql_with=HALF_FULL,
    )


def _ledger(metadata: MetaData) -> Table:
    """Every change of stock, with its reference."""
    return Table(
        "stock_ledger",
        metadata,
        Column("reference", short_text(limits.REFERENCE), primary_key=True),
        Column("sku", short_text(limits.ID), primary_key=True),
        Column("kind", short_text(limits.STATE), primary_key=True),
        Column("on_hand", BigInteger, nullable=False),
        Column("held", BigInteger, nullable=False),
        Column("at", Instant, nullable=False),
        sqlite_with_rowid=False,
    )


def _reservations(metadata: MetaData) -> Table:
    """The state and the items of each order's reservation."""
    return Table(
        "reservations",
        metadata,
        Column("order_id", short_text(limits.ID), primary_key=True),
        Column("state", short_text(limits.STATE), nullable=False),
        Column("items", Text, nullable=False),
        Column("updated_at", Instant),
        Column("restocks", Text),
        _partial_index("ix_reservations_held", "state", HELD),  # fold
    )


def _gate(metadata: MetaData) -> Table:
    """One row: the epoch of the stock gate."""
    return Table(
        "gate",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("epoch", Integer, nullable=False),
    )


def _payments(metadata: MetaData) -> Table:
    """The state and the terms of each order's payment."""
    return Table(
        "payments",
        metadata,
        Column("order_id", short_text(limits.ID), primary_key=True),
        Column("state", short_text(limits.STATE), nullable=False),
        Column("user_id", short_text(limits.ID)),
        Column("total_minor", BigInteger),
        Column("currency", short_text(limits.CURRENCY)),
        Column("metadata", Text, nullable=False),
        Column("payment_id", short_text(limits.ID)),
        Column("updated_at", Instant),
        Column("refunds", Text),
        postgresql_with=_FOR_LONGER_ROWS,
    )


def _notifications(metadata: MetaData) -> Table:
    """One row for each order and kind of notification; for shipments and refunds, `kind` is `topic/part`."""
    return Table(
        "notifications",
        metadata,
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
        Column("details", Text),
        UniqueConstraint("order_id", "kind"),
        postgresql_with=_FOR_ONE_UPDATE,
    )


def _documents(metadata: MetaData) -> Table:
    """A step's documents, by consumer group and key."""
    return Table(
        "documents",
        metadata,
        Column("consumer", short_text(limits.ID), primary_key=True),
        Column("key", short_text(limits.DOCUMENT_KEY), primary_key=True),
        Column("body", Text, nullable=False),
    )


def _start_offsets(metadata: MetaData) -> Table:
    """The offsets at which a consumer group began."""
    return Table(
        "start_offsets",
        metadata,
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
