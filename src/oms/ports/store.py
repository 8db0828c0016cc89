"""The record: one store a service, with its inbox, outbox, tasks and dead letters beside its aggregates.

Every write is a `Transaction` of few, bulk calls: begin, claim the inbox, load and lock, flush, commit. Rows are
locked in one order (orders, payments or reservations, products, each sorted), so transactions wait for each
other and don't deadlock. All methods raise `Retryable` where the whole may be done again (deadlock, lost
connection, a row that another transaction inserted first), `Permanent` for a value that can't be stored;
`commit` also raises `OutcomeUnknown`. What is written may reach the database with the next call that answers
something, and at the latest with the commit; so may its error. A store's time is its own (the database's clock).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import attrs

from oms.domain.order import Order
from oms.domain.payment import Payment
from oms.domain.reservation import Reservation
from oms.domain.state_machine import HistoryEntry
from oms.domain.stock import Movement, Stock
from oms.domain.tasks import TaskKey, TaskKind, TaskRequest
from oms.domain.text import storable_text
from oms.domain.values import Items, OrderId, Sku, UserId
from oms.ports import limits
from oms.ports.broker import TopicPartition
from oms.ports.extensions import Notification
from oms.ports.messages import Headers, MessageId, Outgoing

A = TypeVar("A")


@attrs.frozen
class OutboxRow:
    """A message that a committed transaction owes to the log. Leased from birth to whoever committed it."""

    id: str
    message: Outgoing
    leased_until: datetime | None = None


@attrs.frozen
class Task:
    """A claimed task. `lease` is the fencing token by which it is finished.

    `attempts` counts the claims, this one included. `called_at` is when the call under way was first claimed: a
    task whose `repeat` is true was claimed before and its call may have gone out: its outcome is unknown.
    """

    kind: TaskKind
    key: str
    payload: str
    lease: str
    attempts: int
    created_at: datetime
    called_at: datetime
    repeat: bool
    trace: str | None = None
    id: TaskKey = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: TaskKey(self.kind, self.key), takes_self=True)
    )
    """Kind and key."""


@attrs.frozen
class Postponed:
    """A claimed task that isn't done: due again later. `afresh` forgets that a call went out."""

    task: Task
    due_at: datetime
    afresh: bool = False
    note: str = attrs.field(default="", converter=storable_text)


class DeadLetterState(Enum):
    """What became of a dead letter."""

    PARKED = "PARKED"
    REDRIVEN = "REDRIVEN"
    DISCARDED = "DISCARDED"


def _group(text: object) -> str:
    return storable_text(text, limits.ID)


def _message_id(text: object) -> str:
    return storable_text(text, limits.TASK_KEY)


def _topic(text: object) -> str:
    return storable_text(text, limits.TOPIC)


def _cause(text: object) -> str:
    return storable_text(text, limits.CAUSE)


def _order_id(text: object) -> str | None:
    return None if text is None else storable_text(text, limits.ID)


def _storable_names(headers: Headers) -> Headers:
    return tuple((storable_text(name, limits.HEADER), value) for name, value in headers)


@attrs.frozen
class DeadLetter:
    """A message (or a task: `topic` is then `task:<kind>`) that couldn't be handled, with all it takes to redo it.

    Its texts may come from anywhere, such as the error of a shop's own code. They are made storable here, so that no
    text can keep a store from taking a dead letter.
    """

    id: str
    group: str = attrs.field(converter=_group)
    message_id: str = attrs.field(converter=_message_id)
    topic: str = attrs.field(converter=_topic)
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = attrs.field(converter=_storable_names)
    cause: str = attrs.field(converter=_cause)
    detail: str = attrs.field(converter=storable_text)
    attempts: int
    parked_at: datetime
    state: DeadLetterState = DeadLetterState.PARKED
    order_id: str | None = attrs.field(default=None, converter=_order_id)


@attrs.frozen
class DeadLetterSummary:
    """A dead letter without its content (key, value, headers): what a list shows."""

    id: str
    group: str
    topic: str
    partition: int
    offset: int
    cause: str
    detail: str
    attempts: int
    parked_at: datetime
    state: DeadLetterState
    order_id: str | None


def summary_of(letter: DeadLetter) -> DeadLetterSummary:
    """The summary of a dead letter."""
    return DeadLetterSummary(**{field.name: getattr(letter, field.name) for field in attrs.fields(DeadLetterSummary)})


@attrs.frozen
class Delivery:
    """What a transaction owes beside its aggregates; flushed in bulk. `ended` goes before `tasks`."""

    outbox: Sequence[OutboxRow] = ()
    tasks: Sequence[TaskRequest] = ()
    ended: Sequence[TaskKey] = ()
    postponed: Sequence[Postponed] = ()
    parked: Sequence[DeadLetter] = ()


@attrs.frozen
class StoredAnswer:
    """What an idempotency key was answered with: `body` is the command's result as JSON."""

    scope: str
    key: str
    fingerprint: str
    body: str


class Transaction(Protocol):
    """One unit of work. Leaving the `with` block without `commit` rolls back."""

    @abstractmethod
    def claim_inbox(self, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
        """Mark messages as handled by `group`; those returned are new, the others had their effect before.

        Waits for a concurrent transaction that claims the same.
        """

    @abstractmethod
    def finish_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        """Remove the tasks whose lease is still ours; those returned are done by us and by nobody else."""

    @abstractmethod
    def held_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        """Lock the tasks whose lease is still ours, and leave them."""

    @abstractmethod
    def lock_dead_letters(self, ids: Collection[str]) -> Sequence[DeadLetter]:
        """The dead letters with these ids, locked; unknown ids are left out."""

    @abstractmethod
    def mark_dead_letters(self, ids: Collection[str], state: DeadLetterState) -> None:
        """Change the state of dead letters."""

    @abstractmethod
    def park_again(self, letters: Sequence[DeadLetter]) -> None:
        """Write dead letters over the locked ones with the same ids."""

    @abstractmethod
    def flush(self, delivery: Delivery) -> None:
        """Write outbox rows, tasks (a second one of the same kind and key is ignored) and dead letters."""

    @abstractmethod
    def commit(self) -> None:
        """Make it durable; `OutcomeUnknown` where that can't be told."""

    @abstractmethod
    def rollback(self) -> None:
        """Undo everything; harmless after `commit`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rollback()


class KeyedTransaction(Transaction, Protocol):
    """A transaction of commands that carry idempotency keys."""

    @abstractmethod
    def find_answers(self, keys: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], StoredAnswer]:
        """The answers kept under (scope, key), as far as there are any within their time (24 h)."""

    @abstractmethod
    def save_answers(self, answers: Sequence[StoredAnswer]) -> None:
        """Keep answers; `Retryable` where another transaction kept one under the same key first."""


class OrderTransaction(KeyedTransaction, Protocol):
    """The order service's unit of work."""

    @abstractmethod
    def lock_orders(self, ids: Collection[OrderId]) -> Mapping[OrderId, Order]:
        """The orders with these ids, locked in sorted order; absent ones are left out."""

    @abstractmethod
    def save_orders(
        self,
        changes: Sequence[tuple[Order, Order]],
        history: Sequence[tuple[OrderId, HistoryEntry]],
    ) -> None:
        """Write (before, after) pairs: version 0 before is an insert, else an update where version is before's.

        `Retryable` where another transaction was first.
        """


class InventoryTransaction(KeyedTransaction, Protocol):
    """The inventory service's unit of work."""

    @abstractmethod
    def gate_epoch(self) -> int:
        """The ledger's epoch, shared-locked until the end of the transaction."""

    @abstractmethod
    def lock_gate(self) -> int:
        """The ledger's epoch, locked alone: nobody records a take until the end of the transaction."""

    @abstractmethod
    def set_gate_epoch(self, epoch: int) -> None:
        """Write the epoch."""

    @abstractmethod
    def lock_reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        """The reservations of these orders, locked in sorted order; absent ones are left out."""

    @abstractmethod
    def lock_stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        """The stock of these products, locked in sorted order; unknown ones are left out."""

    @abstractmethod
    def introduce_stock(self, levels: Mapping[Sku, int]) -> None:
        """Insert products that aren't there with so many units on hand, and a DEFAULT ledger row where not 0."""

    @abstractmethod
    def save_reservations(self, changes: Sequence[tuple[Reservation, Reservation]]) -> None:
        """Write (before, after) pairs; ABSENT before is an insert. `Retryable` where another was first."""

    @abstractmethod
    def move_stock(self, movements: Sequence[Movement]) -> None:
        """Append ledger rows, and change stock by one summed update a product."""

    @abstractmethod
    def fold(self) -> tuple[Mapping[Sku, Stock], Mapping[OrderId, Items]]:
        """All stock, and the items of every HELD reservation."""


class PaymentTransaction(Transaction, Protocol):
    """The payment service's unit of work."""

    @abstractmethod
    def lock_payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        """The payments of these orders, locked in sorted order; absent ones are left out."""

    @abstractmethod
    def save_payments(self, changes: Sequence[tuple[Payment, Payment]]) -> None:
        """Write (before, after) pairs; ABSENT before is an insert. `Retryable` where another was first."""


class NotificationTransaction(Transaction, Protocol):
    """The notification service's unit of work."""

    @abstractmethod
    def record_notifications(self, notifications: Sequence[Notification], *, delivered: bool = False) -> None:
        """Insert rows, one for each (order, kind), as `delivered` now or not yet; those that exist are left."""

    @abstractmethod
    def mark_notified(self, ids: Collection[str]) -> None:
        """They were delivered now."""


class StepTransaction(Transaction, Protocol):
    """The unit of work of a user's own steps: one JSON document for each (group, key)."""

    @abstractmethod
    def lock_documents(self, group: str, keys: Collection[str]) -> Mapping[str, str]:
        """The documents, locked in sorted order; absent ones are left out."""

    @abstractmethod
    def save_documents(self, group: str, changes: Sequence[tuple[str, str | None, str]]) -> None:
        """Write (key, before, after); None before is an insert. `Retryable` where another was first."""


@attrs.frozen
class Backlog:
    """Work that waits in a store: since when, and how much of it."""

    oldest_outbox_at: datetime | None
    outbox: int
    tasks_due: int
    parked: int
    oldest_open_at: datetime | None = None
    """Order service: when the oldest order was created that inventory hasn't answered for."""


class Store(Protocol):
    """What every service's store does beside its transactions. Each method is a transaction of its own."""

    @abstractmethod
    def begin(self) -> Transaction:
        """Start a transaction; the services' stores return their own kind."""

    @abstractmethod
    def start_attempts(self, group: str, first: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Note the first offset of a batch for each partition before it is handled, and how often it began there.

        1 the first time, and after a batch that began elsewhere; more where one began at the same offset before.
        Survives the death of the process, not necessarily of the machine.
        """

    @abstractmethod
    def clear_attempts(self, group: str, partitions: Collection[TopicPartition]) -> None:
        """Forget the counters of partitions that are given back in good order."""

    @abstractmethod
    def claim_tasks(self, kinds: Collection[TaskKind], limit: int, lease_s: float) -> Sequence[Task]:
        """Lease due tasks, the longest due first; skips those another holds."""

    @abstractmethod
    def claim_outbox(self, limit: int, lease_s: float, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        """Lease outbox rows whose lease has expired, whatever their id; skips those another holds.

        Rows of the topics `without` are left as they are.
        """

    @abstractmethod
    def mark_sent(self, ids: Collection[str]) -> None:
        """The broker reported these as delivered: remove them."""

    @abstractmethod
    def return_outbox(self, ids: Collection[str]) -> None:
        """Give the leases of rows back: somebody else may send them now."""

    @abstractmethod
    def dead_letters(
        self, state: DeadLetterState | None = None, *, limit: int = 100, offset: int = 0
    ) -> Sequence[DeadLetterSummary]:
        """Summaries of the dead letters in this state (None: any), the oldest first. Reads no content."""

    @abstractmethod
    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - the field's name
        """One dead letter with its content; None if there is none with this id."""

    @abstractmethod
    def next_due(self, without: Collection[str] = ()) -> datetime | None:
        """When the next task or outbox lease falls due (may be in the past); None where there is none.

        Leases of rows of the topics `without` don't count.
        """

    @abstractmethod
    def backlog(self) -> Backlog:
        """What waits here."""

    @abstractmethod
    def purge(self, older_than: datetime, *, keys_older_than: datetime, limit: int) -> int:
        """Remove at most `limit` inbox rows, idempotency keys and ended dead letters from before; how many."""

    @abstractmethod
    def first_handled(self, group: str) -> datetime | None:
        """When a group handled the oldest message that the inbox still knows; None where it knows none."""

    @abstractmethod
    def currency(self) -> str | None:
        """Return the ISO 4217 code of the currency that all amounts of this store are in; None before it is pinned."""

    @abstractmethod
    def pin_currency(self, code: str) -> str:
        """Keep the currency for ever unless one is kept already; return the one that is kept now.

        Where several processes pin at once, all of them return the same currency.
        """

    def register(self, instance: str) -> int:  # noqa: ARG002 - a store without leases of others has nothing to release
        """Make this process known as the owner of its leases, and release those of its predecessors; how many.

        Called once, before anything is claimed. A predecessor is a process that was registered under the same
        `instance` and is proven to have ended. The leases of a process that lives, or may live, stay as they are, also
        where it is registered under the same instance. `Retryable` where the store can't be reached.
        """
        return 0

    def keep_registration(self) -> None:
        """Register again where the registration was lost, as with a connection; to be called every few seconds."""
        return

    @abstractmethod
    def ping(self) -> None:
        """Raise unless the store answers."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""


@attrs.frozen
class Page(Generic[A]):
    """One page of a listing, `number` from 0; `total` counts all of it."""

    content: tuple[A, ...]
    number: int
    size: int
    total: int


class OrderStore(Store, Protocol):
    """The order service's record."""

    @abstractmethod
    def begin(self) -> OrderTransaction: ...

    @abstractmethod
    def join(self, connection: object, committing: Callable[[], None] = lambda: None) -> OrderTransaction:
        """A transaction within the caller's own SQL transaction on `connection`.

        Its `commit` sends everything, and the caller's commit makes it durable. `rollback` undoes nothing: the caller
        does. Calls `committing` on the caller's thread when the caller is about to commit, and never after a rollback.
        `Permanent`, before anything is written, for a connection that can't be joined: one in autocommit mode, of
        another database, of an async engine, without the rights to write orders, or where the store has no SQL.
        """

    @abstractmethod
    def order(self, id: OrderId, owner: UserId | None) -> Order | None:  # noqa: A002 - the field's name
        """A committed order of this owner (None: any owner's); None also while it is ABSENT."""

    @abstractmethod
    def orders(self, owner: UserId | None, number: int, size: int) -> Page[Order]:
        """A page of the owner's orders, the newest first."""

    @abstractmethod
    def timeline(self, id: OrderId, owner: UserId | None) -> Sequence[HistoryEntry] | None:  # noqa: A002
        """The history of an order by `seq`; None where there is no such order of this owner."""

    @abstractmethod
    def answer(self, scope: str, key: str) -> StoredAnswer | None:
        """The committed answer under an idempotency key, if there is one within its time; locks nothing."""


class InventoryStore(Store, Protocol):
    """The inventory service's record."""

    @abstractmethod
    def begin(self) -> InventoryTransaction: ...

    @abstractmethod
    def reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        """Committed reservations, without locks."""

    @abstractmethod
    def stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        """Committed stock, without locks."""

    @abstractmethod
    def stock_page(self, number: int, size: int) -> Page[Stock]:
        """A page of all products, by sku."""

    @abstractmethod
    def default_stock(self) -> str | None:
        """Return `OMS_DEFAULT_STOCK` as it was at the first start (empty text: none); None before it was recorded."""

    @abstractmethod
    def record_default_stock(self, text: str) -> None:
        """Record `OMS_DEFAULT_STOCK` of the first start, unless a value is recorded already."""


class PaymentStore(Store, Protocol):
    """The payment service's record."""

    @abstractmethod
    def begin(self) -> PaymentTransaction: ...

    @abstractmethod
    def payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        """Committed payments, without locks."""


class NotificationStore(Store, Protocol):
    """The notification service's record."""

    @abstractmethod
    def begin(self) -> NotificationTransaction: ...

    @abstractmethod
    def notifications_by_id(self, ids: Collection[str]) -> Mapping[str, Notification]:
        """The committed notifications with these ids, without locks."""

    @abstractmethod
    def notifications(self, order: OrderId) -> Sequence[tuple[Notification, datetime | None]]:
        """An order's notifications with the time each was delivered, by kind."""


class StepStore(Store, Protocol):
    """The record of a user's own steps."""

    @abstractmethod
    def begin(self) -> StepTransaction: ...

    @abstractmethod
    def document(self, group: str, key: str) -> str | None:
        """A committed document, without locks."""

    @abstractmethod
    def start_offsets(self, group: str) -> Mapping[TopicPartition, int] | None:
        """The offsets at which a group began, which may be none; None before they are pinned."""

    @abstractmethod
    def pin_start_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Keep these offsets for ever unless some are kept already; return those that are kept now.

        Where several processes pin at once, all of them return the same offsets.
        """
