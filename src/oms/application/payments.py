"""The payment service: charges orders at the gateway, voids or refunds cancelled ones, and refunds parts of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from oms.application.extensions.gateway import CheckedGateway
from oms.application.gateway_tasks import Charges, Refunds, Voids
from oms.application.payment_work import PaymentWork
from oms.domain.events import (
    InventoryReserved,
    OrderCancelling,
    OrderCompleted,
    OrderPaymentInstructed,
    OrderRefundRequested,
    OrderShipped,
)
from oms.domain.payment import PaymentState
from oms.domain.tasks import TaskKind
from oms.engine.service import Executor, Handler, Service
from oms.ports.clock import Clock
from oms.ports.extensions import PaymentGateway
from oms.ports.stores.payment import PaymentStore, PaymentTransaction
from oms.ports.stores.store import Transaction
from oms.ports.telemetry import Telemetry

GROUP = "payment-group"


def reserved(event: InventoryReserved, work: PaymentWork) -> None:
    """Start the payment of an order whose stock is held: its row now, the charge as a task after the commit."""
    work.save(work[event.order_id].start(event.terms, at=work.now))


def cancelling(event: OrderCancelling, work: PaymentWork) -> None:
    """Undo the payment of an order that is being cancelled, with one of `voided`, `failed` and `refunded` as result."""
    work.save(work[event.order_id].cancel(event.user_id, event.total, at=work.now))


def shipped(event: OrderShipped, work: PaymentWork) -> None:
    """Check that the payment of a shipped order is captured."""
    work.save(work[event.order_id].shipped(at=work.now))


def completed(event: OrderCompleted, work: PaymentWork) -> None:
    """Check that the payment of a completed order is captured."""
    work.save(work[event.order_id].completed(at=work.now))


def refund_requested(event: OrderRefundRequested, work: PaymentWork) -> None:
    """Start a refund: its row now, the call as a task after the commit."""
    work.save(work[event.order_id].refund_requested(event, at=work.now))


def instructed(event: OrderPaymentInstructed, work: PaymentWork) -> None:
    """Retry or resolve a refund that the gateway refused."""
    work.save(work[event.order_id].instructed(event, at=work.now))


ROUTES: Mapping[str, Handler[PaymentWork]] = {
    InventoryReserved.topic: cast("Handler[PaymentWork]", reserved),
    OrderCancelling.topic: cast("Handler[PaymentWork]", cancelling),
    OrderShipped.topic: cast("Handler[PaymentWork]", shipped),
    OrderCompleted.topic: cast("Handler[PaymentWork]", completed),
    OrderRefundRequested.topic: cast("Handler[PaymentWork]", refund_requested),
    OrderPaymentInstructed.topic: cast("Handler[PaymentWork]", instructed),
}


def payment_service(
    store: PaymentStore, clock: Clock, gateway: PaymentGateway, telemetry: Telemetry, *, settle_window_s: float
) -> Service[PaymentWork]:
    """Make the payment service. The gateway's answers are checked; `settle_window_s` is that of `Charges`."""

    def open_work(transaction: Transaction) -> PaymentWork:
        return PaymentWork(cast("PaymentTransaction", transaction), clock.now())

    state = PaymentState
    gateway = CheckedGateway(gateway, telemetry)
    executors: Mapping[TaskKind, Executor[PaymentWork]] = {
        TaskKind.CHARGE: Charges(store, gateway, (state.INITIATED, state.UNKNOWN), settle_window_s),
        TaskKind.VOID: Voids(store, gateway, (state.VOIDING,)),
        TaskKind.REFUND: Refunds(store, gateway, (state.REFUNDING, state.VOIDED)),
    }
    return Service("payment", GROUP, store, ROUTES, open_work, executors, extension="gateway")
