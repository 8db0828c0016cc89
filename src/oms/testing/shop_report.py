"""The report about a shop that a failed test prints.

Each message is below the message that caused it, with the time since the shop began. A message that a task sent (such
as the result of a charge) states no cause; the report finds the cause in the table of the saga.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from oms.adapters.memory.store import MemoryStore
from oms.bootstrap.system import SERVICES
from oms.domain.events import EVENTS, RefundEvent
from oms.domain.order import Order
from oms.domain.payment import order_of_key
from oms.domain.payment_refund import PaymentRefund
from oms.domain.saga import SAGA
from oms.domain.values import OrderId
from oms.ports.messages import AnyEvent, Message, MessageId
from oms.ports.stores.rows import DeadLetterState
from oms.testing.shop_view import ShopView

MOST_ORDERS = 20
"""The report shows the newest orders up to this number, and counts the others."""

MOST_LINES = 50
"""The maximum number of lines in each section of the report."""

CAUSES: Mapping[str, frozenset[str]] = {
    event.topic: frozenset(next_event.topic for step in SAGA if event in step.publishes for next_event in step.listens)
    for event in {event for step in SAGA for event in step.publishes}
}
"""The topics that can cause each topic, by the saga."""

_RANK = {event.topic: rank for rank, event in enumerate(EVENTS)}


def story_of(shop: ShopView) -> str:
    """Return the whole report as text."""
    return "\n".join(_Report(shop).lines())


@attrs.frozen
class _Sent:
    """One event of an order, with the number of its copies in the log."""

    message: Message
    sent_at: str
    at: str
    copies: int


class _Report:
    def __init__(self, shop: ShopView) -> None:
        self._shop = shop
        self._evidence = shop.evidence
        self._sent: dict[str, dict[MessageId, _Sent]] = {}
        for message in shop.messages():
            if message.event is not None:
                self._add(message, self._sent.setdefault(message.event.order_id, {}))

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report: faults, orders and their messages, stock, rows, tasks, dead letters."""
        yield f"the shop at {self._time(self._shop.now())}"
        yield from _part("faults", self._faults())
        orders = list(self._evidence.order.all_orders())
        for order in orders[-MOST_ORDERS:]:
            yield from self._order(order)
        if len(orders) > MOST_ORDERS:
            yield f"and {len(orders) - MOST_ORDERS} older orders"
        known = {order.id for order in orders}
        yield from _part("messages about unknown orders", self._of_strangers(known))
        yield from _part("stock", self._stock())
        yield from _part("unsent outbox rows", self._outbox())
        yield from _part("open tasks", self._tasks())
        yield from _part("dead letters", self._parked())

    def _add(self, message: Message, sent: dict[MessageId, _Sent]) -> None:
        known = sent.get(message.id)
        if known is not None:
            sent[message.id] = attrs.evolve(known, copies=known.copies + 1)
            return
        written = dict(message.record.headers).get("ce_time")
        sent_at = written.decode() if written else ""
        at = self._time(datetime.fromisoformat(sent_at)) if sent_at else "?"
        sent[message.id] = _Sent(message, sent_at, at, 1)

    def _faults(self) -> Iterator[str]:
        faults = self._shop.faults
        yield from (f"! {self._time(at):>10}  {words}" for at, words in faults.happened)
        yield from (f"? {'never':>10}  {fault}" for fault in faults.waiting)

    def _order(self, order: Order) -> Iterator[str]:
        reason = f" ({order.reason.value})" if order.reason else ""
        terms = f", {_items(order.terms.items)} for {order.terms.total}" if order.terms else ""
        yield f"order {order.id}: {order.state.value}{reason}{terms}"
        for row in self._evidence.inventory.all_reservations():
            if row.order_id == order.id:
                yield f"  reservation {row.state.value}: {_items(row.items) or 'nothing'}"
        yield from self._money(order)
        yield from _fulfilment(order)
        for name, store in self._shop.stores().items():
            if name not in SERVICES and (document := store.document(name, order.id)) is not None:
                yield f"  document of {name}: {document}"
        kinds = [f"{one.kind} {one.part}".rstrip() for one in self._shop.notifications(order)]
        if kinds:
            yield f"  notifications: {', '.join(kinds)}"
        yield from self._tree(list(self._sent.get(order.id, {}).values()))

    def _money(self, order: Order) -> Iterator[str]:
        for row in self._evidence.payment.all_payments():
            if row.order_id == order.id:
                yield f"  payment {row.state.value}: {self._book(row.order_id)}"
                yield from (f"    refund {_refund_at_payment(refund)}" for refund in row.refunds)

    def _book(self, order_id: OrderId) -> str:
        if self._evidence.book is None:
            return "the gateway has no book"
        book = self._evidence.book.all_entries()
        entries = [entry.kind.value for entry in book if order_of_key(entry.key) == order_id]
        return f"in the gateway's book: {', '.join(entries)}" if entries else "not in the gateway's book"

    def _tree(self, sent: Sequence[_Sent]) -> Iterator[str]:
        """Yield each message below its cause; messages with the same cause by time, then in the order of the saga."""
        sent = sorted(sent, key=lambda one: (one.sent_at, _RANK.get(one.message.record.topic, len(_RANK))))
        ids = {one.message.id for one in sent}
        below: dict[MessageId | None, list[_Sent]] = {}
        for one in sent:
            cause = one.message.cause.message_id
            if cause is None or cause not in ids:
                cause = _likely_cause(one.message, [other.message for other in sent])
            below.setdefault(None if cause == one.message.id else cause, []).append(one)
        yield from _branches(below, None, 0)

    def _of_strangers(self, known: Iterable[str]) -> Iterator[str]:
        unknown = {order: sent for order, sent in self._sent.items() if order not in set(known)}
        for order, sent in unknown.items():
            yield from (f"{one.at:>10}  {one.message.record.topic} of {order}" for one in sent.values())

    def _stock(self) -> Iterator[str]:
        for row in self._evidence.inventory.all_stock():
            yield f"{row.sku}: {row.on_hand} on hand, {row.held} held"
        gate = self._evidence.gate
        if gate is not None:
            epoch = gate.epoch()
            known = ", ".join(f"{sku} {units}" for sku, units in gate.all_available())
            state = "closed" if epoch is None else f"open, epoch {epoch}"
            yield f"the gate is {state}; available: {known or 'nothing'}"

    def _outbox(self) -> Iterator[str]:
        for name, store in self._shop.stores().items():
            for row in store.all_outbox():
                key = row.message.key.decode() if row.message.key else "?"
                yield f"{name}: {row.message.topic} of {key}"

    def _tasks(self) -> Iterator[str]:
        for name, store in self._shop.stores().items():
            for task in store.all_tasks():
                yield f"{name}: {task.kind.value} {task.key}{self._due(store, task)}"

    def _due(self, store: Any, task: Any) -> str:
        """Return the due time of a task if its store is in memory."""
        due_at = store.task_due_at(task) if isinstance(store, MemoryStore) else None
        return f", due at {self._time(due_at)}" if due_at is not None else ""

    def _parked(self) -> Iterator[str]:
        for name, store in self._shop.stores().items():
            for letter in store.all_dead_letters():
                who = f" of {letter.order_id}" if letter.order_id else ""
                state = "" if letter.state is DeadLetterState.PARKED else f", {letter.state.value}"
                why = f"{letter.cause}: {letter.detail}"
                yield f"{name}: {letter.topic}{who}, tried {letter.attempts} times{state}: {why}"

    def _time(self, at: datetime) -> str:
        return f"{(at - self._shop.begun_at).total_seconds():.2f} s"


def _likely_cause(message: Message, others: Sequence[Message]) -> MessageId | None:
    """Return the message that can have caused this one, by the saga: about the same refund, if it is about one."""
    causes = CAUSES.get(message.record.topic, frozenset())
    wanted = _instruction_before(message.event) if isinstance(message.event, RefundEvent) else None
    fitting = [
        other for other in others if other.record.topic in causes and _is_about(other.event, message.event, wanted)
    ]
    return min(fitting, key=lambda other: other.record.topic).id if fitting else None


def _instruction_before(event: RefundEvent) -> str | None:
    """Return the part of the instruction that led to this result of a refund; None if the request led to it."""
    if event.outside:
        return f"{event.refund_id}/{event.attempt}"
    return f"{event.refund_id}/{event.attempt - 1}" if event.attempt > 1 else None


def _is_about(cause: AnyEvent | None, event: AnyEvent | None, instruction: str | None) -> bool:
    """Whether `cause` is about the same part as a refund's result; an event about the whole order always fits."""
    if cause is None or not isinstance(event, RefundEvent):
        return True
    return cause.part == (instruction or event.refund_id)


def _fulfilment(order: Order) -> Iterator[str]:
    """Yield the shipments and refunds as the order service knows them."""
    for shipment in order.fulfilment.shipments:
        yield f"  shipment {shipment.id}: {_items(shipment.items)}"
    for refund in order.fulfilment.refunds:
        units = f", {_items(refund.items)}" if refund.items else ""
        restocked = ", restocked" if refund.restock else ""
        state = order.fulfilment.state_of(refund).value
        yield f"  refund {refund.id}: {refund.kind.value}, {refund.amount}{units}{restocked}, {state}"
    for refusal in order.fulfilment.refusals:
        decided = f", {refusal.instruction.value} by {refusal.by}" if refusal.instruction else ""
        yield f"  attempt {refusal.attempt} of refund {refusal.of} was refused: {refusal.reason}{decided}"


def _refund_at_payment(refund: PaymentRefund) -> str:
    outside = " outside of the gateway" if refund.outside else ""
    return f"{refund.id} {refund.state.value}{outside}, attempt {refund.attempt}"


def _branches(below: Mapping[MessageId | None, list[_Sent]], cause: MessageId | None, depth: int) -> Iterator[str]:
    for one in below.get(cause, []):
        copies = f" ({one.copies} times)" if one.copies > 1 else ""
        part = one.message.event.part if one.message.event is not None else ""
        topic = f"{one.message.record.topic} {part}".rstrip()
        yield f"  {one.at:>10}  {'  ' * depth}{topic}{copies}"
        yield from _branches(below, one.message.id, depth + 1)


def _items(items: Mapping[Any, int]) -> str:
    return ", ".join(f"{units} {sku}" for sku, units in sorted(items.items()))


def _part(title: str, found: Iterable[str]) -> Iterator[str]:
    lines = list(found)
    if lines:
        yield title
        yield from (f"  {line}" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"  and {len(lines) - MOST_LINES} more"
