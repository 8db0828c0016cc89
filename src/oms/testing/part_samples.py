"""Sample events about shipments and refunds, for tests of one aggregate or one step without a system around it."""

from __future__ import annotations

from oms.domain.events import (
    OrderCompleted,
    OrderPaymentInstructed,
    OrderRefundRequested,
    OrderShipped,
    PaymentRefundFailed,
    PaymentRefundPaid,
)
from oms.domain.lines import concerned
from oms.domain.money import Money
from oms.domain.refund import Instruction, RefundKind
from oms.domain.terms import Terms
from oms.domain.values import NO_ITEMS, Items, OrderId

SHIPMENT_ID, REFUND_ID, OPERATOR = "shipment-1", "refund-1", "operator-1"
REFUSED = "the gateway refused"


def one_unit(items: Items) -> Items:
    """Return one unit of the first product."""
    return {next(iter(items)): 1} if items else NO_ITEMS


def smallest_amount(terms: Terms) -> Money:
    """Return one minor unit in the currency of an order."""
    return Money(1, terms.total.currency)


def shipped(order_id: OrderId, terms: Terms) -> OrderShipped:
    """Return `order.shipped` of all units, in the first shipment of an order."""
    return OrderShipped(
        order_id,
        terms.user_id,
        SHIPMENT_ID,
        terms.items,
        concerned(terms.lines, terms.items),
        capture_amount=terms.total,
        metadata=terms.metadata,
    )


def refund_requested(order_id: OrderId, terms: Terms) -> OrderRefundRequested:
    """Return `order.refund_requested` that cancels and restocks one unit, for one minor unit of money."""
    items = one_unit(terms.items)
    return OrderRefundRequested(
        order_id,
        terms.user_id,
        REFUND_ID,
        RefundKind.CANCEL,
        items,
        concerned(terms.lines, items),
        restock=True,
        amount=smallest_amount(terms),
        before_shipment=True,
        reason="cancelled",
        metadata=terms.metadata,
    )


def completed(order_id: OrderId, terms: Terms) -> OrderCompleted:
    """Return `order.completed` of an order whose units were all shipped."""
    nothing = Money(0, terms.total.currency)
    return OrderCompleted(order_id, terms.user_id, terms.total, nothing, terms.items, terms.metadata)


def instructed(
    order_id: OrderId, terms: Terms, what: Instruction = Instruction.RETRY, of: str = REFUND_ID, attempt: int = 1
) -> OrderPaymentInstructed:
    """Return `order.payment_instructed`."""
    return OrderPaymentInstructed(order_id, terms.user_id, of, what, attempt, OPERATOR, "decided")


def refund_paid(order_id: OrderId, terms: Terms) -> PaymentRefundPaid:
    """Return `payment.refund_paid` for the refund of `refund_requested`."""
    return PaymentRefundPaid(
        order_id, terms.user_id, REFUND_ID, smallest_amount(terms), one_unit(terms.items), 1, metadata=terms.metadata
    )


def refund_failed(order_id: OrderId, terms: Terms) -> PaymentRefundFailed:
    """Return `payment.refund_failed` for the refund of `refund_requested`."""
    amount, items = smallest_amount(terms), one_unit(terms.items)
    return PaymentRefundFailed(
        order_id, terms.user_id, REFUND_ID, amount, items, 1, reason=REFUSED, metadata=terms.metadata
    )
