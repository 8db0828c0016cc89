"""The order service: handles commands from customers, and events of the inventory and payment services."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import cast

from oms.domain.commands import CancelOrder, InstructPayment, RefundOrder, ShipOrder
from oms.domain.errors import NotFound
from oms.domain.events import (
    InventoryRejected,
    InventoryReleased,
    InventoryReserved,
    OrderCreated,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundPaid,
    PaymentSucceeded,
    PaymentVoided,
    Reason,
    RefundEvent,
)
from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.order_table import OrderTrigger
from oms.domain.refund import OrderRefund
from oms.domain.shipment import Shipment
from oms.domain.state_machine import HistoryEntry, Transition
from oms.domain.stated_terms import stated_in
from oms.domain.tasks import TaskKind
from oms.domain.terms import Terms
from oms.domain.values import Items, OrderId, UserId
from oms.engine.recorded_changes import IdentityMap, RecordedChanges
from oms.engine.service import Handler, Service
from oms.ports.call_executor import Ended
from oms.ports.clock import Clock
from oms.ports.messages import AnyEvent, Message, MessageId
from oms.ports.stores.order import OrderStore, OrderTransaction
from oms.ports.stores.rows import Postponed, Task
from oms.ports.stores.store import Transaction

GROUP = "order-group"
LATE_TIMERS = "late_timers"
"""Counts deadline timers that changed nothing: the order was no longer in a state in which its deadline runs."""


class OrderWork:
    """Locked orders, and the changes that handlers decide."""

    def __init__(self, transaction: OrderTransaction, now: datetime, deadline_s: float) -> None:
        self.changes = RecordedChanges()
        self.now = now
        self._deadline_s = deadline_s
        self._transaction = transaction
        self._orders: IdentityMap[OrderId, Order] = IdentityMap(lambda order_id: Order(id=order_id))
        self._history: list[tuple[OrderId, HistoryEntry]] = []

    @property
    def deadline_at(self) -> datetime:
        """The time by which an order that is accepted now has to settle."""
        return self.now + timedelta(seconds=self._deadline_s)

    def load(self, events: Sequence[AnyEvent]) -> None:
        """Lock the orders of these events."""
        self.lock({event.order_id for event in events})

    def lock(self, ids: Collection[OrderId]) -> None:
        """Lock orders by id."""
        self._orders.load(self._transaction.lock_orders(ids))

    def __getitem__(self, id: OrderId) -> Order:  # noqa: A002 - the field's name
        return self._orders[id]

    def save(self, transition: Transition[Order]) -> Order:
        """Record a transition; nothing is written before `flush`."""
        order = self.changes.take(transition, transition.aggregate.id)
        self._orders[order.id] = order
        self._history += [(order.id, entry) for entry in transition.history]
        return order

    def flush(self) -> None:
        """Write orders and history."""
        changes = self._orders.changes()
        if changes:
            self._transaction.save_orders(changes, self._history)


def place(work: OrderWork, order_id: OrderId, terms: Terms) -> Order:
    """Accept an order under an id that was made before the transaction."""
    return work.save(work[order_id].place(terms, at=work.now, deadline_at=work.deadline_at))


def adopt_legacy(work: OrderWork, order_id: OrderId, terms: Terms, created_at: datetime | None, detail: str) -> Order:
    """Import an order of the Spring system as LEGACY; an order that exists already stays as it is.

    If `created_at` is None, because the Spring system didn't record it, the present time takes its place.
    """
    transition = work[order_id].imported(terms, at=work.now, created_at=created_at or work.now, detail=detail)
    return work.save(transition)


def resume(work: OrderWork, order_id: OrderId) -> Order:
    """Continue a LEGACY order as if it were placed now."""
    return work.save(work[order_id].resume(at=work.now, deadline_at=work.deadline_at))


def cancel(work: OrderWork, command: CancelOrder, owner: UserId | None) -> Order:
    """Cancel an order; raises `NotFound` if it belongs to another owner."""
    order = work[command.order_id]
    if owner is not None and (order.terms is None or order.terms.user_id != owner):
        raise NotFound("order_not_found", f"there is no order {command.order_id}")
    reason = Reason.OPERATOR if command.by_operator else Reason.CUSTOMER
    return work.save(order.cancel(reason, at=work.now))


def ship(work: OrderWork, command: ShipOrder, shipment_id: str) -> Shipment:
    """Ship units of a confirmed order."""
    return work.save(work[command.order_id].ship(command, shipment_id, at=work.now)).fulfilment.shipments[-1]


def refund(work: OrderWork, command: RefundOrder, refund_id: str) -> OrderRefund:
    """Refund units or money of a confirmed order."""
    return work.save(work[command.order_id].refund(command, refund_id, at=work.now)).fulfilment.refunds[-1]


def instruct(work: OrderWork, command: InstructPayment, by: str) -> Order:
    """Tell the payment service what to do about a refund that the gateway refused."""
    return work.save(work[command.order_id].instruct(command, by, at=work.now))


def created(event: OrderCreated, work: OrderWork) -> None:
    """Note our own `order.created`, or adopt an order of another producer."""
    work.save(work[event.order_id].created(event.terms, at=work.now, deadline_at=work.deadline_at))


def reserved(event: InventoryReserved, work: OrderWork) -> None:
    """Note that the order's stock is held; adopt an unknown order."""
    work.save(work[event.order_id].reserved(event.terms, at=work.now, deadline_at=work.deadline_at))


def refund_paid(event: PaymentRefundPaid, work: OrderWork) -> None:
    """Note that a refund was paid."""
    work.save(work[event.order_id].refund_paid(event, at=work.now))


def refund_failed(event: PaymentRefundFailed, work: OrderWork) -> None:
    """Note that the gateway refused a refund."""
    work.save(work[event.order_id].refund_failed(event, at=work.now))


def applies(trigger: OrderTrigger) -> Callable[[AnyEvent, OrderWork], None]:
    """Return a handler that applies a trigger; customer and amount of the event, if present, must be the order's."""

    def handle(event: AnyEvent, work: OrderWork) -> None:
        work.save(work[event.order_id].hear(trigger, at=work.now, stated=stated_in(event)))

    return handle


ROUTES: Mapping[str, Handler[OrderWork]] = {
    OrderCreated.topic: cast("Handler[OrderWork]", created),
    InventoryReserved.topic: cast("Handler[OrderWork]", reserved),
    InventoryRejected.topic: applies(OrderTrigger.REJECTED),
    InventoryReleased.topic: applies(OrderTrigger.RELEASED),
    PaymentSucceeded.topic: applies(OrderTrigger.PAID),
    PaymentFailed.topic: applies(OrderTrigger.DECLINED),
    PaymentVoided.topic: applies(OrderTrigger.VOIDED),
    PaymentRefunded.topic: applies(OrderTrigger.REFUNDED),
    PaymentRefundPaid.topic: cast("Handler[OrderWork]", refund_paid),
    PaymentRefundFailed.topic: cast("Handler[OrderWork]", refund_failed),
}


def inbox_id(message: Message) -> MessageId:
    """Return the id under which the inbox keeps a message.

    For messages that are compared with their order, it depends on the terms that the message states. So a forged
    message that contradicts the order isn't mistaken for a repeat of the true message, which has the same message id.
    """
    stated = stated_in(message.event)
    if stated is not None:
        return _with_digest(message.id, stated.user_id, stated.amount, stated.items or {})
    if isinstance(message.event, RefundEvent):
        return _with_digest(message.id, message.event.user_id, message.event.amount, message.event.items)
    return message.id


def _with_digest(name: MessageId, user_id: UserId, amount: Money, items: Items) -> MessageId:
    text = f"{user_id} {amount.minor} {amount.currency.code} {dict(items)}"
    return MessageId(f"{name}.{blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()}")


_DIGEST_BYTES = 12
"""A message id has 36 characters, and the inbox's column 64: room for a point and 24 hexadecimal digits."""


class Deadlines:
    """Task DEADLINE: the timer of an order; it makes no outside call."""

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:  # noqa: ARG002
        """Return no calls."""
        return {}

    def load(self, work: OrderWork, tasks: Sequence[Task]) -> None:
        """Lock the orders whose deadlines have passed."""
        work.lock({OrderId(task.key) for task in tasks})

    def finish(self, work: OrderWork, ended: Ended[Task]) -> Postponed | None:
        """Apply the deadline to the order in its present state."""
        before = work[OrderId(ended.token.key)]
        after = work.save(before.deadline(at=work.now))
        if after.state is before.state:
            work.changes.count(LATE_TIMERS)
            work.changes.note("deadline ignored", order_id=before.id, state=before.state.value)
        return None


def order_service(store: OrderStore, clock: Clock, *, deadline_s: float) -> Service[OrderWork]:
    """Make the order service; `deadline_s` is the time in which an order has to settle, in seconds."""

    def open_work(transaction: Transaction) -> OrderWork:
        return OrderWork(cast("OrderTransaction", transaction), clock.now(), deadline_s)

    timers = {TaskKind.DEADLINE: Deadlines()}
    return Service("order", GROUP, store, ROUTES, open_work, timers, counters=(LATE_TIMERS,), inbox_id=inbox_id)
