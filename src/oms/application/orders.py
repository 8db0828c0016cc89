"""The order service: commands from customers, and what inventory and payment answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import cast

from oms.domain.commands import CancelOrder
from oms.domain.errors import NotFound
from oms.domain.events import (
    InventoryRejected,
    InventoryReleased,
    InventoryReserved,
    OrderCreated,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    PaymentVoided,
    Reason,
)
from oms.domain.order import Order, OrderTrigger
from oms.domain.state_machine import HistoryEntry, Transition
from oms.domain.stated_terms import stated_in
from oms.domain.tasks import TaskKind
from oms.domain.values import OrderId, Terms, UserId
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
    """Orders under lock, and what was decided about them."""

    def __init__(self, transaction: OrderTransaction, now: datetime, deadline_s: float) -> None:
        self.changes = RecordedChanges()
        self.now = now
        self._deadline_s = deadline_s
        self._transaction = transaction
        self._orders: IdentityMap[OrderId, Order] = IdentityMap(lambda order_id: Order(id=order_id))
        self._history: list[tuple[OrderId, HistoryEntry]] = []

    @property
    def deadline_at(self) -> datetime:
        """When an order that is accepted now must have ended."""
        return self.now + timedelta(seconds=self._deadline_s)

    def load(self, events: Sequence[AnyEvent]) -> None:
        """Lock the orders of these events."""
        self.lock({event.order_id for event in events})

    def lock(self, ids: Collection[OrderId]) -> None:
        """Lock orders by id."""
        self._orders.load(self._transaction.lock_orders(ids))

    def __getitem__(self, id: OrderId) -> Order:  # noqa: A002 - the field's name
        return self._orders[id]

    def save(self, step: Transition[Order]) -> Order:
        """Keep a step; nothing is written before `flush`."""
        order = self.changes.take(step, step.aggregate.id)
        self._orders[order.id] = order
        self._history += [(order.id, entry) for entry in step.history]
        return order

    def flush(self) -> None:
        """Write orders and history."""
        changes = self._orders.changes()
        if changes:
            self._transaction.save_orders(changes, self._history)


def place(work: OrderWork, order_id: OrderId, terms: Terms) -> Order:
    """Accept an order under an id made before."""
    return work.save(work[order_id].place(terms, at=work.now, deadline_at=work.deadline_at))


def adopt_legacy(work: OrderWork, order_id: OrderId, terms: Terms, created_at: datetime | None, detail: str) -> Order:
    """Keep an order of the system replaced as LEGACY; one that is here already stays as it is.

    `created_at` None: nobody knows when it was placed, so it counts from now.
    """
    step = work[order_id].imported(terms, at=work.now, created_at=created_at or work.now, detail=detail)
    return work.save(step)


def resume(work: OrderWork, order_id: OrderId) -> Order:
    """Have a LEGACY order go on, as if it were placed now."""
    return work.save(work[order_id].resume(at=work.now, deadline_at=work.deadline_at))


def cancel(work: OrderWork, command: CancelOrder, owner: UserId | None) -> Order:
    """End an order cancelled; another owner's is not found."""
    order = work[command.order_id]
    if owner is not None and (order.terms is None or order.terms.user_id != owner):
        raise NotFound("order_not_found", f"there is no order {command.order_id}")
    reason = Reason.OPERATOR if command.by_operator else Reason.CUSTOMER
    return work.save(order.cancel(reason, at=work.now))


def created(event: OrderCreated, work: OrderWork) -> None:
    """Our own order's echo, or a foreign order to adopt."""
    work.save(work[event.order_id].created(event.terms, at=work.now, deadline_at=work.deadline_at))


def reserved(event: InventoryReserved, work: OrderWork) -> None:
    """Its stock is held."""
    work.save(work[event.order_id].reserved(event.terms, at=work.now, deadline_at=work.deadline_at))


def hears(trigger: OrderTrigger) -> Callable[[AnyEvent, OrderWork], None]:
    """A handler for news; its customer and amount, where it names them, must be the order's."""

    def handle(event: AnyEvent, work: OrderWork) -> None:
        work.save(work[event.order_id].hear(trigger, at=work.now, stated=stated_in(event)))

    return handle


ROUTES: Mapping[str, Handler[OrderWork]] = {
    OrderCreated.topic: cast("Handler[OrderWork]", created),
    InventoryReserved.topic: cast("Handler[OrderWork]", reserved),
    InventoryRejected.topic: hears(OrderTrigger.REJECTED),
    InventoryReleased.topic: hears(OrderTrigger.RELEASED),
    PaymentSucceeded.topic: hears(OrderTrigger.PAID),
    PaymentFailed.topic: hears(OrderTrigger.DECLINED),
    PaymentVoided.topic: hears(OrderTrigger.VOIDED),
    PaymentRefunded.topic: hears(OrderTrigger.REFUNDED),
}


def inbox_id(message: Message) -> MessageId:
    """The id under which the inbox keeps a message.

    A message that is compared with its order is a repeat only of one that names the same terms. So a message that
    contradicts the order never takes the place of the true one, which has the same message id.
    """
    stated = stated_in(message.event)
    if stated is None:
        return message.id
    text = f"{stated.user_id} {stated.amount.minor} {stated.amount.currency.code} {dict(stated.items or {})}"
    return MessageId(f"{message.id}.{blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()}")


_DIGEST_BYTES = 12
"""An id has 36 characters, a row of the inbox has room for 64."""


class Deadlines:
    """The timer of an order: nothing to call, only to decide."""

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:  # noqa: ARG002
        """None."""
        return {}

    def load(self, work: OrderWork, tasks: Sequence[Task]) -> None:
        """Lock the orders whose time is over."""
        work.lock({OrderId(task.key) for task in tasks})

    def finish(self, work: OrderWork, ended: Ended[Task]) -> Postponed | None:
        """Let the order decide what its deadline means now."""
        before = work[OrderId(ended.token.key)]
        after = work.save(before.deadline(at=work.now))
        if after.state is before.state:
            work.changes.count(LATE_TIMERS)
            work.changes.note("deadline ignored", order_id=before.id, state=before.state.value)
        return None


def order_service(store: OrderStore, clock: Clock, *, deadline_s: float) -> Service[OrderWork]:
    """The order service over its store; `deadline_s` is what an order has to settle in, in seconds."""

    def open_work(transaction: Transaction) -> OrderWork:
        return OrderWork(cast("OrderTransaction", transaction), clock.now(), deadline_s)

    timers = {TaskKind.DEADLINE: Deadlines()}
    return Service("order", GROUP, store, ROUTES, open_work, timers, counters=(LATE_TIMERS,), inbox_id=inbox_id)
