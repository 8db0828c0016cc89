"""Read access to all stored records of a system, against which the promises are checked, after or during a run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from enum import Enum
from typing import Protocol, runtime_checkable

import attrs

from oms.domain.order import Order
from oms.domain.payment import Payment
from oms.domain.reservation import Reservation
from oms.domain.state_machine import HistoryEntry
from oms.domain.stock import Movement, Stock
from oms.domain.tasks import TaskKey
from oms.domain.values import Items, OrderId, Sku
from oms.ports.broker import TopicPartition
from oms.ports.extensions import Notification
from oms.ports.gate import GateAnswer
from oms.ports.messages import MessageId, Record
from oms.ports.stores.rows import DeadLetter, OutboxRow, StoredResponse


class ServiceEvidence(Protocol):
    """The records that every service's store has.

    Each method returns rows sorted by their ids (by code points, as Python sorts) unless its description says
    otherwise. The order matters because the reader merges the rows of several services.
    """

    @abstractmethod
    def currency(self) -> str | None:
        """Return the ISO 4217 code of the pinned currency; None before the service's first start."""

    @abstractmethod
    def at_one_moment(self) -> AbstractContextManager[None]:
        """Return a context in which all reads see one consistent snapshot, while the service may continue to write."""

    def as_of(self) -> datetime | None:
        """Return the time up to which the records are complete, if they may lag behind (a standby); otherwise None."""
        return None

    @abstractmethod
    def all_inbox(self) -> Iterable[tuple[str, MessageId]]:
        """Return each (group, message id) that was handled or parked, sorted."""

    @abstractmethod
    def all_outbox(self) -> Iterable[OutboxRow]:
        """Return the rows that aren't published yet, in any order."""

    @abstractmethod
    def all_tasks(self) -> Iterable[TaskKey]:
        """Return the tasks that aren't done yet, in any order."""

    @abstractmethod
    def all_dead_letters(self) -> Iterable[DeadLetter]:
        """Return the dead letters of every state, in any order."""


class OrderEvidence(ServiceEvidence, Protocol):
    """The order service's records."""

    @abstractmethod
    def all_orders(self) -> Iterable[Order]:
        """Return every order by id, including orders in state ABSENT."""

    @abstractmethod
    def all_history(self) -> Iterable[tuple[OrderId, HistoryEntry]]:
        """Return every history entry, by order id and `seq`."""

    @abstractmethod
    def all_responses(self) -> Iterable[StoredResponse]:
        """Return every stored response to an idempotency key, in any order."""


class InventoryEvidence(ServiceEvidence, Protocol):
    """The inventory service's records."""

    @abstractmethod
    def all_reservations(self) -> Iterable[Reservation]:
        """Return every reservation by order id."""

    @abstractmethod
    def all_stock(self) -> Iterable[Stock]:
        """Return the stock of every product by SKU."""

    @abstractmethod
    def all_movements(self) -> Iterable[Movement]:
        """Return all rows of the ledger by reference."""


class PaymentEvidence(ServiceEvidence, Protocol):
    """The payment service's records."""

    @abstractmethod
    def all_payments(self) -> Iterable[Payment]:
        """Return every payment by order id."""


class NotificationEvidence(ServiceEvidence, Protocol):
    """The notification service's records."""

    @abstractmethod
    def all_notifications(self) -> Iterable[tuple[Notification, datetime | None]]:
        """Return every notification with the time of its delivery (None: not delivered yet), in any order."""


class LogEvidence(Protocol):
    """The records of the message log."""

    @abstractmethod
    def all_records(self) -> Iterable[Record]:
        """Return every record that the log still has and had when the reading began, by offset in each partition."""

    def offsets(self, group: str) -> Mapping[TopicPartition, int] | None:  # noqa: ARG002 - for subclasses
        """Return the next offset that a group reads in each of its partitions; None if this log can't report it."""
        return None


class BookKind(Enum):
    """The kind of a book entry: CAPTURE and REFUND move money; VOID blocks a key; DECLINE records a declined charge."""

    CAPTURE = "CAPTURE"
    REFUND = "REFUND"
    VOID = "VOID"
    DECLINE = "DECLINE"


@attrs.frozen
class BookEntry:
    """One line of the gateway's own book.

    `key` is the key of the charge. This applies to a refund too, even if the refund has a key of its own. `amount` is
    in minor units: above 0 for a capture and a refund, 0 for a void and a decline. `at` has a time zone. `currency` is
    an ISO 4217 code; None if the book doesn't record it, and then promise P4 doesn't compare currencies.

    `refund_key` is the key of a refund's own call; None if the book doesn't record it, and for entries of other kinds.
    Without it, promise P4 finds a refund that was paid twice only by the sum of the order's refunds.
    """

    key: str
    kind: BookKind
    amount: int
    at: datetime
    currency: str | None = None
    refund_key: str | None = None


@runtime_checkable
class GatewayBook(Protocol):
    """The gateway's own record of the money that it moved, kept apart from the stores of `oms`.

    If a gateway also implements this protocol, `shop.expect(order).paid(...)` and promise P4 of `oms verify` compare
    its record with the orders. `oms verify` creates the gateway again in its own process while other processes charge:
    the record must be durable, and reading it must not disturb them.
    """

    @abstractmethod
    def all_entries(self) -> Iterable[BookEntry]:
        """Return every entry, in the order in which they were written.

        If there may be many, return a generator that reads them in pages: `oms verify` keeps none in memory. The
        entries may include those of other systems that use the same gateway.
        """


class GateEvidence(Protocol):
    """The contents of the stock gate. A read while the gate is in use doesn't see one consistent snapshot."""

    @abstractmethod
    def epoch(self) -> int | None:
        """Return the open epoch; None while the gate is closed."""

    @abstractmethod
    def all_available(self) -> Iterable[tuple[Sku, int]]:
        """Return every known product with the units that the gate would still sell; below 0 after some write-offs."""

    @abstractmethod
    def all_answers(self) -> Iterable[tuple[OrderId, GateAnswer, Items]]:
        """Return every stored answer with the items that the order holds (none unless HELD).

        The answers are in any order, and some may occur twice.
        """


class StepRecord(ServiceEvidence, Protocol):
    """The records of a user's own step."""

    @abstractmethod
    def start_offsets(self, group: str) -> Mapping[TopicPartition, int] | None:
        """Return the offsets at which the step's consumer group began; None if they aren't decided yet."""


@attrs.frozen
class StepEvidence:
    """The records of a user's own step, and the topics that it handles."""

    record: StepRecord
    topics: Collection[str]


@attrs.frozen
class Evidence:
    """All records of one system. `log`, `book` and `gate` are None if they can't be read or don't exist.

    `whole_book` is true if the book holds all payments of this system and no others, because the system made the
    gateway. Otherwise the book may have begun after the first orders, and may hold entries of other systems.
    """

    order: OrderEvidence
    inventory: InventoryEvidence
    payment: PaymentEvidence
    notification: NotificationEvidence
    log: LogEvidence | None = None
    book: GatewayBook | None = None
    gate: GateEvidence | None = None
    steps: Mapping[str, StepEvidence] = attrs.field(factory=dict)
    """By consumer group."""

    unread_steps: Collection[str] = ()
    """Steps that have a store and aren't among `steps`, by the names of their files or schemas."""

    whole_book: bool = True
