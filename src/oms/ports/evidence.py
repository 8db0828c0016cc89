"""What the promises are checked against: everything that is on record, read-only, after or during a run."""

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
from oms.ports.stores.rows import DeadLetter, OutboxRow, StoredAnswer


class ServiceEvidence(Protocol):
    """What every service's store can show.

    Rows come sorted by their ids (by code points, as Python sorts), where nothing else is said: those of several
    services are merged.
    """

    @abstractmethod
    def currency(self) -> str | None:
        """The currency that was pinned; None before the service's first start."""

    @abstractmethod
    def at_one_moment(self) -> AbstractContextManager[None]:
        """What is shown in the block is of one moment, whatever the service does meanwhile."""

    def as_of(self) -> datetime | None:
        """The time up to which this record is known to be complete, if it may be behind (a standby); None if not."""
        return None

    @abstractmethod
    def all_inbox(self) -> Iterable[tuple[str, MessageId]]:
        """Each (group, message) that was handled or parked, sorted."""

    @abstractmethod
    def all_outbox(self) -> Iterable[OutboxRow]:
        """Rows that aren't sent yet, in any order."""

    @abstractmethod
    def all_tasks(self) -> Iterable[TaskKey]:
        """Tasks that aren't done yet, in any order."""

    @abstractmethod
    def all_dead_letters(self) -> Iterable[DeadLetter]:
        """Every dead letter, in any state and any order."""


class OrderEvidence(ServiceEvidence, Protocol):
    """The order service's record."""

    @abstractmethod
    def all_orders(self) -> Iterable[Order]:
        """Every order by id, ABSENT ones included."""

    @abstractmethod
    def all_history(self) -> Iterable[tuple[OrderId, HistoryEntry]]:
        """Every history entry, by order and seq."""

    @abstractmethod
    def all_answers(self) -> Iterable[StoredAnswer]:
        """Every kept answer, in any order."""


class InventoryEvidence(ServiceEvidence, Protocol):
    """The inventory service's record."""

    @abstractmethod
    def all_reservations(self) -> Iterable[Reservation]:
        """Every reservation by order."""

    @abstractmethod
    def all_stock(self) -> Iterable[Stock]:
        """Every product by SKU."""

    @abstractmethod
    def all_movements(self) -> Iterable[Movement]:
        """The whole ledger by reference."""


class PaymentEvidence(ServiceEvidence, Protocol):
    """The payment service's record."""

    @abstractmethod
    def all_payments(self) -> Iterable[Payment]:
        """Every payment by order."""


class NotificationEvidence(ServiceEvidence, Protocol):
    """The notification service's record."""

    @abstractmethod
    def all_notifications(self) -> Iterable[tuple[Notification, datetime | None]]:
        """Every notification with the time of its delivery, in any order."""


class LogEvidence(Protocol):
    """The broker's record."""

    @abstractmethod
    def all_records(self) -> Iterable[Record]:
        """Every record that is still kept and was there when the reading began; each partition's in order."""

    def offsets(self, group: str) -> Mapping[TopicPartition, int] | None:  # noqa: ARG002 - the port's name
        """The next offset that a group will read of each partition it joined for; None where it can't be told."""
        return None


class BookKind(Enum):
    """The kind of a book entry: money moved (CAPTURE, REFUND), or a key was blocked (VOID) or declined (DECLINE)."""

    CAPTURE = "CAPTURE"
    REFUND = "REFUND"
    VOID = "VOID"
    DECLINE = "DECLINE"


@attrs.frozen
class BookEntry:
    """One line of the gateway's own book.

    `key` is the key of the charge, also for a refund, whatever key the refund itself has. `amount` is in minor units:
    above 0 for a capture and a refund, 0 for a void and a decline. `at` has a time zone. `currency` is an ISO 4217
    code; None where the book doesn't name it, and then P4 can't compare it.
    """

    key: str
    kind: BookKind
    amount: int
    at: datetime
    currency: str | None = None


@runtime_checkable
class GatewayBook(Protocol):
    """The gateway's own record of the money that it moved, kept apart from the stores of `oms`.

    A gateway that has this method too lets `shop.expect(order).paid(...)` and promise P4 of `oms verify` compare its
    record with the orders. `oms verify` makes the gateway once more, in a process of its own, while others charge: the
    record must be durable, and reading it must not disturb them.
    """

    @abstractmethod
    def all_entries(self) -> Iterable[BookEntry]:
        """Return every entry, in the order in which they were written.

        Return them as a generator, or read them in pages, where there may be many: `oms verify` keeps none in memory.
        Entries of other systems that use the same gateway may be among them.
        """


class GateEvidence(Protocol):
    """What the stock gate remembers. May be read while it is at work: then it is of no single moment."""

    @abstractmethod
    def epoch(self) -> int | None:
        """The epoch that is open; None while it is closed."""

    @abstractmethod
    def all_available(self) -> Iterable[tuple[Sku, int]]:
        """Every known product with the units that it would still sell; may be below 0 after a write-off."""

    @abstractmethod
    def all_answers(self) -> Iterable[tuple[OrderId, GateAnswer, Items]]:
        """Every answer that is kept, with what the order holds (nothing unless HELD); in any order, some twice."""


class StepRecord(ServiceEvidence, Protocol):
    """The record of a shop's own step."""

    @abstractmethod
    def start_offsets(self, group: str) -> Mapping[TopicPartition, int] | None:
        """Where the group began that this step reads by; None where that isn't decided yet."""


@attrs.frozen
class StepEvidence:
    """The record of a shop's own step, and the topics that it handles."""

    record: StepRecord
    topics: Collection[str]


@attrs.frozen
class Evidence:
    """All records of one system. `log`, `book` and `gate` are None where they can't be read, or there is none.

    `whole_book`: the book holds all payments of this system and no others, because the gateway was made with it.
    Otherwise it may have begun after the first orders, and may be another system's as well.
    """

    order: OrderEvidence
    inventory: InventoryEvidence
    payment: PaymentEvidence
    notification: NotificationEvidence
    log: LogEvidence | None = None
    book: GatewayBook | None = None
    gate: GateEvidence | None = None
    steps: Mapping[str, StepEvidence] = attrs.field(factory=dict)
    """By group."""

    unread_steps: Collection[str] = ()
    """Steps that have a record here and aren't among `steps`, by the names of their files or schemas."""

    whole_book: bool = True
