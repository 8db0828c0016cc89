"""The acts of `given` that concern shipments and refunds: which method of an aggregate each trigger calls.

Shipments and refunds are numbered: `shipment-1`, `refund-1`. A refund is of one minor unit, unless it cancels all that
is left of an order of which nothing was shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar

from oms.domain.commands import InstructPayment, RefundOrder, ShipOrder
from oms.domain.events import PaymentRefundFailed, PaymentRefundPaid, RefundEvent
from oms.domain.order import Order
from oms.domain.order_table import ORDER_TABLE, OrderTrigger
from oms.domain.payment import Payment, PaymentTrigger
from oms.domain.payment_refund import PaymentRefundState
from oms.domain.refund import WHOLE, Instruction, RefundKind, RefundState
from oms.domain.state_machine import Transition
from oms.domain.terms import Terms
from oms.domain.values import NO_ITEMS, Items, OrderId
from oms.testing import part_samples

ORDER_ID = OrderId("order-1")
AT = datetime(2026, 1, 1, tzinfo=UTC)

E = TypeVar("E", bound=RefundEvent)
Act = Callable[[Any, Terms], Transition[Any]]


def _open_items(order: Order) -> Items:
    return order.fulfilment.open_items(order.agreed.items) if order.terms is not None else NO_ITEMS


def _one_of_several(order: Order, trigger: OrderTrigger, last: OrderTrigger) -> Items | None:
    """Return one open unit; raises `ValueError` if it is the last one, because that is another trigger."""
    open_items = _open_items(order)
    if ORDER_TABLE[order.state][trigger].to is not None and sum(open_items.values()) < 2:
        text = f"{trigger.value!r} needs an order with several open units: this would be {last.value!r}"
        raise ValueError(f"{text}; give it terms with more units")
    return part_samples.one_unit(open_items) or None


def _ship(order: Order, items: Items | None) -> Transition[Order]:
    shipment_id = f"shipment-{len(order.fulfilment.shipments) + 1}"
    return order.ship(ShipOrder(order.id, items), shipment_id, at=AT)


def _refund(order: Order, kind: RefundKind, items: Items | None, amount: Decimal | None) -> Transition[Order]:
    refund_id = f"refund-{len(order.fulfilment.refunds) + 1}"
    return order.refund(RefundOrder(order.id, kind, "given", items, amount), refund_id, at=AT)


def _ship_one(order: Order, _terms: Terms) -> Transition[Order]:
    return _ship(order, _one_of_several(order, OrderTrigger.SHIP, OrderTrigger.SHIP_LAST))


def _cancel_one(order: Order, terms: Terms) -> Transition[Order]:
    items = _one_of_several(order, OrderTrigger.CANCEL_UNITS, OrderTrigger.CANCEL_LAST_UNITS)
    return _refund(order, RefundKind.CANCEL, items, part_samples.smallest_amount(terms).amount)


def _cancel_last(order: Order, terms: Terms) -> Transition[Order]:
    amount = part_samples.smallest_amount(terms).amount if order.fulfilment.shipments else None
    return _refund(order, RefundKind.CANCEL, None, amount)


def _goodwill(order: Order, terms: Terms) -> Transition[Order]:
    return _refund(order, RefundKind.GOODWILL, None, part_samples.smallest_amount(terms).amount)


def _retry(order: Order, _terms: Terms) -> Transition[Order]:
    refusals = order.fulfilment.refusals
    of = refusals[-1].of if refusals else WHOLE
    return order.instruct(InstructPayment(order.id, of, Instruction.RETRY, "given"), part_samples.OPERATOR, at=AT)


def _result(kind: type[E], order: Order, terms: Terms) -> E:
    """Return the result of the oldest refund that is due; of the whole if there is none."""
    due = next((one for one in order.fulfilment.refunds if one.state is RefundState.DUE), None)
    of, amount, items = (due.id, due.amount, due.items) if due is not None else (WHOLE, terms.total, NO_ITEMS)
    refusal = order.fulfilment.refusal(of)
    return kind(order.id, terms.user_id, of, amount, items, refusal.attempt + 1 if refusal is not None else 1)


ORDER: Mapping[Enum, Act] = {
    OrderTrigger.SHIP: _ship_one,
    OrderTrigger.SHIP_LAST: lambda order, _terms: _ship(order, None),
    OrderTrigger.CANCEL_UNITS: _cancel_one,
    OrderTrigger.CANCEL_LAST_UNITS: _cancel_last,
    OrderTrigger.GIVE_BACK: _goodwill,
    OrderTrigger.INSTRUCT: _retry,
    OrderTrigger.REFUND_PAID: lambda order, terms: order.refund_paid(_result(PaymentRefundPaid, order, terms), at=AT),
    OrderTrigger.REFUND_FAILED: lambda order, terms: order.refund_failed(
        _result(PaymentRefundFailed, order, terms), at=AT
    ),
}


def _instruct(payment: Payment, terms: Terms, what: Instruction) -> Transition[Payment]:
    """Follow an instruction about the refund that was refused last; without one, about the refund of the whole."""
    refused = [one for one in payment.refunds if one.state is PaymentRefundState.REFUSED]
    of, attempt = (refused[-1].id, refused[-1].attempt) if refused else (WHOLE, 1)
    return payment.instructed(part_samples.instructed(ORDER_ID, terms, what, of, attempt), at=AT)


PAYMENT: Mapping[Enum, Act] = {
    PaymentTrigger.REFUND_REFUSED: lambda row, _terms: row.refund_refused(part_samples.REFUSED, at=AT),
    PaymentTrigger.RETRY: lambda row, terms: _instruct(row, terms, Instruction.RETRY),
    PaymentTrigger.RESOLVE: lambda row, terms: _instruct(row, terms, Instruction.RESOLVE),
    PaymentTrigger.PART_REFUND: lambda row, terms: row.refund_requested(
        part_samples.refund_requested(ORDER_ID, terms), at=AT
    ),
    PaymentTrigger.SHIPPED: lambda row, _terms: row.shipped(at=AT),
    PaymentTrigger.COMPLETED: lambda row, _terms: row.completed(at=AT),
}
