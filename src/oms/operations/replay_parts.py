"""Replays shipments, refunds and outcomes of payments to the service that published them, and whose record lacks them.

The order service decided by commands, and the payment service by the gateway's answers; neither are in the log. A
repeat publishes an equal message, which the other services know already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from oms.application.orders import OrderWork
from oms.application.payment_work import PaymentWork
from oms.domain.commands import InstructPayment, RefundOrder, ShipOrder
from oms.domain.events import (
    OrderPaymentInstructed,
    OrderRefundRequested,
    OrderShipped,
    PaymentEvent,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundPaid,
    PaymentSucceeded,
    PaymentVoided,
    RefundEvent,
)
from oms.domain.payment import Payment, PaymentState
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.refund import WHOLE
from oms.engine.service import Handler


def ship_again(event: OrderShipped, work: OrderWork) -> None:
    """Add a shipment that the order lacks."""
    order = work[event.order_id]
    if order.terms is None or any(one.id == event.shipment_id for one in order.fulfilment.shipments):
        return
    command = ShipOrder(event.order_id, event.items, event.carrier, event.tracking_number)
    work.save(order.ship(command, event.shipment_id, at=work.now))


def refund_again(event: OrderRefundRequested, work: OrderWork) -> None:
    """Add a refund that the order lacks."""
    order = work[event.order_id]
    if order.terms is None or order.fulfilment.refund(event.refund_id) is not None:
        return
    items, amount = event.items or None, event.amount.amount
    command = RefundOrder(event.order_id, event.kind, event.reason, items, amount, event.restock)
    work.save(order.refund(command, event.refund_id, at=work.now))


def instruct_again(event: OrderPaymentInstructed, work: OrderWork) -> None:
    """Repeat an operator's decision about the last refused attempt of a refund."""
    order = work[event.order_id]
    refusal = order.fulfilment.refusal(event.of)
    if refusal is None or refusal.attempt != event.attempt or refusal.instruction is not None:
        return
    command = InstructPayment(event.order_id, event.of, event.what, event.why)
    work.save(order.instruct(command, event.by, at=work.now))


def ended_again(event: PaymentEvent, work: PaymentWork) -> None:
    """Note the outcome of a call that the payment waits for, so that the gateway isn't called again.

    It may have forgotten the key by now.
    """
    payment = work[event.order_id]
    if (event.user_id, event.amount) != (payment.user_id, payment.total):
        return
    match event, payment.state:
        case PaymentSucceeded(payment_id=str(payment_id)), PaymentState.INITIATED | PaymentState.UNKNOWN:
            work.save(payment.captured(payment_id, at=work.now))
        case PaymentFailed(), PaymentState.INITIATED | PaymentState.UNKNOWN:
            work.save(payment.declined(at=work.now))
        case PaymentVoided(), PaymentState.VOIDING:
            work.save(payment.void_done(at=work.now))
        case PaymentRefunded(), PaymentState.REFUNDING:
            work.save(payment.refund_done(at=work.now))


def refused_again(event: PaymentRefundFailed, work: PaymentWork) -> None:
    """Note that the gateway refused an attempt, so that the operator's decision about it can follow."""
    payment = work[event.order_id]
    if _due(payment, event) is None:
        return
    reason = event.reason or ""
    if event.refund_id != WHOLE:
        work.save(payment.part_refund_refused(event.refund_id, reason, at=work.now))
    elif payment.state is PaymentState.REFUNDING:
        work.save(payment.refund_refused(reason, at=work.now))


def paid_again(event: PaymentRefundPaid, work: PaymentWork) -> None:
    """Note that the gateway paid a refund, so that it isn't called again."""
    payment = work[event.order_id]
    if not event.outside and _due(payment, event) is not None:
        work.save(payment.part_refund_paid(event.refund_id, at=work.now))


def _due(payment: Payment, event: RefundEvent) -> PaymentRefund | None:
    """Return the refund of which an event reports the present attempt, if its outcome isn't known."""
    if payment.total is None:
        return None
    refund = payment.whole_refund if event.refund_id == WHOLE else payment.refund(event.refund_id)
    if refund is None or refund.state is not PaymentRefundState.DUE or refund.attempt != event.attempt:
        return None
    return refund if (event.user_id, event.amount) == (payment.user_id, refund.amount) else None


OF_ORDER: Mapping[str, Handler[OrderWork]] = {
    OrderShipped.topic: cast("Handler[OrderWork]", ship_again),
    OrderRefundRequested.topic: cast("Handler[OrderWork]", refund_again),
    OrderPaymentInstructed.topic: cast("Handler[OrderWork]", instruct_again),
}
OF_PAYMENT: Mapping[str, Handler[PaymentWork]] = {
    PaymentSucceeded.topic: cast("Handler[PaymentWork]", ended_again),
    PaymentFailed.topic: cast("Handler[PaymentWork]", ended_again),
    PaymentVoided.topic: cast("Handler[PaymentWork]", ended_again),
    PaymentRefunded.topic: cast("Handler[PaymentWork]", ended_again),
    PaymentRefundFailed.topic: cast("Handler[PaymentWork]", refused_again),
    PaymentRefundPaid.topic: cast("Handler[PaymentWork]", paid_again),
}
"""The handlers of the events that each service published itself."""
