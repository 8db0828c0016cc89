"""The events about parts of an order, as the order service publishes them; equal each time they are made."""

from __future__ import annotations

from collections.abc import Iterator

from oms.domain.events import OrderCompleted, OrderPaymentInstructed, OrderRefundRequested, OrderShipped, PartEvent
from oms.domain.fulfilment import Fulfilment
from oms.domain.lines import concerned
from oms.domain.money import Money
from oms.domain.refund import OrderRefund, Refusal
from oms.domain.shipment import Shipment
from oms.domain.terms import Terms
from oms.domain.values import OrderId


def shipped(order_id: OrderId, terms: Terms, fulfilment: Fulfilment, shipment: Shipment) -> OrderShipped:
    """Return `order.shipped`; the first shipment's has the amount to capture."""
    first = shipment.id == fulfilment.shipments[0].id
    left = Money(terms.total.minor - fulfilment.refunded_before_shipment, terms.total.currency)
    return OrderShipped(
        order_id,
        terms.user_id,
        shipment.id,
        shipment.items,
        concerned(terms.lines, shipment.items),
        shipment.carrier,
        shipment.tracking_number,
        left if first else None,
        terms.metadata,
    )


def refund_requested(order_id: OrderId, terms: Terms, refund: OrderRefund) -> OrderRefundRequested:
    """Return `order.refund_requested`."""
    return OrderRefundRequested(
        order_id,
        terms.user_id,
        refund.id,
        refund.kind,
        refund.items,
        concerned(terms.lines, refund.items),
        refund.restock,
        refund.amount,
        refund.before_shipment,
        refund.reason,
        terms.metadata,
    )


def completed(order_id: OrderId, terms: Terms, fulfilment: Fulfilment) -> OrderCompleted:
    """Return `order.completed`, with the refunds that were requested until then.

    Units are returned, and goodwill is given, after the last shipment as well; those refunds aren't counted, so that
    the event is equal whenever it is made.
    """
    refunded = sum(refund.amount.minor for refund in fulfilment.refunds if not refund.after_completion)
    return OrderCompleted(
        order_id,
        terms.user_id,
        terms.total,
        Money(refunded, terms.total.currency),
        fulfilment.shipped_items,
        terms.metadata,
    )


def instructed(order_id: OrderId, terms: Terms, refusal: Refusal) -> OrderPaymentInstructed:
    """Return `order.payment_instructed`; raises `ValueError` without an instruction about this attempt."""
    if refusal.instruction is None:
        raise ValueError(f"no instruction about refund {refusal.of} of order {order_id}")
    return OrderPaymentInstructed(
        order_id, terms.user_id, refusal.of, refusal.instruction, refusal.attempt, refusal.by, refusal.why
    )


def all_parts(order_id: OrderId, terms: Terms, fulfilment: Fulfilment) -> Iterator[PartEvent]:
    """Yield the events about all parts of an order, as far as its row still has them.

    An instruction is there until a later attempt of the same refund is paid or refused.
    """
    for shipment in fulfilment.shipments:
        yield shipped(order_id, terms, fulfilment, shipment)
    for refund in fulfilment.refunds:
        yield refund_requested(order_id, terms, refund)
    for refusal in fulfilment.refusals:
        if refusal.instruction is not None:
            yield instructed(order_id, terms, refusal)
