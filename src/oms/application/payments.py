"""The payment service: charges orders at the gateway, and voids or refunds the charge of a cancelled order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar, cast

import attrs

from oms.application.extensions.gateway import CheckedGateway, UnusableGatewayAnswer
from oms.domain.events import Event, InventoryReserved, OrderCancelling, PaymentFailed, PaymentSucceeded
from oms.domain.payment import Payment, PaymentState
from oms.domain.state_machine import Transition
from oms.domain.tasks import TaskKind
from oms.domain.text import storable_text
from oms.domain.values import OrderId
from oms.engine.recorded_changes import IdentityMap, RecordedChanges
from oms.engine.retries import next_try
from oms.engine.service import NOT_CALLED, Executor, Handler, Service
from oms.ports.call_executor import Ended
from oms.ports.clock import Clock
from oms.ports.extensions import (
    Authorised,
    Captured,
    Charge,
    Declined,
    Lookup,
    NotAttempted,
    PaymentGateway,
    Pending,
    Refund,
    Refunded,
    Unanswered,
    UnknownCharge,
    Void,
    Voided,
)
from oms.ports.messages import AnyEvent
from oms.ports.stores.payment import PaymentStore, PaymentTransaction
from oms.ports.stores.rows import Postponed, Task
from oms.ports.stores.store import Transaction
from oms.ports.telemetry import Telemetry

GROUP = "payment-group"

R = TypeVar("R")

ALERT_EVERY_ATTEMPTS = 10
"""Number of attempts from one alert to the next. The first ten take about two minutes: a back-off of 0.25 s doubles."""

FIRST_ATTEMPTS = 2
"""Number of attempts (first call, first look-up) that raise an alert at once if only a person can correct the error."""

_NOTES: Mapping[type[Event], str] = {PaymentSucceeded: "Payment success", PaymentFailed: "Payment failed"}


class PaymentWork:
    """Locked payments, and the changes that handlers decide."""

    def __init__(self, transaction: PaymentTransaction, now: datetime) -> None:
        self.changes = RecordedChanges()
        self.now = now
        self._transaction = transaction
        self._payments: IdentityMap[OrderId, Payment] = IdentityMap(lambda order_id: Payment(order_id=order_id))

    def load(self, events: Sequence[AnyEvent]) -> None:
        """Lock the payments of these events' orders."""
        self.lock({event.order_id for event in events})

    def lock(self, ids: Collection[OrderId]) -> None:
        """Lock payments by order."""
        self._payments.load(self._transaction.lock_payments(ids))

    def __getitem__(self, order_id: OrderId) -> Payment:
        return self._payments[order_id]

    def save(self, transition: Transition[Payment]) -> Payment:
        """Record a transition; nothing is written before `flush`."""
        payment = self.changes.take(transition, transition.aggregate.order_id)
        self._payments[payment.order_id] = payment
        for event in transition.events:
            note = _NOTES.get(type(event), event.topic)
            self.changes.note(note, order_id=payment.order_id)
        return payment

    def flush(self) -> None:
        """Write payments."""
        changes = self._payments.changes()
        if changes:
            self._transaction.save_payments(changes)


def reserved(event: InventoryReserved, work: PaymentWork) -> None:
    """Start the payment of an order whose stock is held: its row now, the charge as a task after the commit."""
    work.save(work[event.order_id].start(event.terms, at=work.now))


def cancelling(event: OrderCancelling, work: PaymentWork) -> None:
    """Undo the payment of an order that is being cancelled, with one of `voided`, `failed` and `refunded` as result."""
    work.save(work[event.order_id].cancel(event.user_id, event.total, at=work.now))


ROUTES: Mapping[str, Handler[PaymentWork]] = {
    InventoryReserved.topic: cast("Handler[PaymentWork]", reserved),
    OrderCancelling.topic: cast("Handler[PaymentWork]", cancelling),
}


@attrs.frozen
class GatewayTask(ABC):
    """A call to the gateway for each payment that needs it, repeated until there is a definite answer."""

    store: PaymentStore
    gateway: PaymentGateway
    wanted: Collection[PaymentState]
    """The states of a payment in which the call is still needed; in any other state the task is done."""

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:
        """Return a call for each payment that still needs it."""
        payments = self.store.payments({OrderId(task.key) for task in tasks})
        owed = [(task, payments.get(OrderId(task.key))) for task in tasks]
        return {
            task.key: self._call(task, payment)
            for task, payment in owed
            if payment is not None and payment.state in self.wanted
        }

    def load(self, work: PaymentWork, tasks: Sequence[Task]) -> None:
        """Lock the payments of these tasks."""
        work.lock({OrderId(task.key) for task in tasks})

    @abstractmethod
    def _call(self, task: Task, payment: Payment) -> Callable[[], object]:
        """Return the gateway call for a payment."""

    @abstractmethod
    def finish(self, work: PaymentWork, ended: Ended[Task]) -> Postponed | None:
        """Apply the gateway's answer, or postpone the task."""

    def _again(self, work: PaymentWork, ended: Ended[Task], *, afresh: bool = False) -> Postponed | None:
        """Repeat the call later, without limit, while the payment needs it. The stock stays held meanwhile.

        `afresh` makes the next call a first one again, not a look-up.
        """
        task = ended.token
        if work[OrderId(task.key)].state not in self.wanted:
            return None
        self._alert_if_due(work, ended)
        note = type(ended.error or ended.answer).__name__
        return Postponed(task, next_try(work.now, task.attempts), afresh=afresh, note=note)

    def _alert_if_due(self, work: PaymentWork, ended: Ended[Task]) -> None:
        """Raise an alert every `ALERT_EVERY_ATTEMPTS` attempts, and at the first ones if a person is needed."""
        task = ended.token
        is_first = task.attempts <= FIRST_ATTEMPTS and self._needs_a_person(ended)
        if task.attempts % ALERT_EVERY_ATTEMPTS and not is_first:
            return
        fields = {
            "order_id": task.key,
            "task": task.kind.value,
            "attempts": task.attempts,
            "detail": _detail(ended),
        }
        work.changes.alerts.append(("payment without an answer", fields))

    def _needs_a_person(self, ended: Ended[Task]) -> bool:
        """Whether every repeat will fail until a person corrects the gateway's code or account."""
        return isinstance(ended.error, UnusableGatewayAnswer)


@attrs.frozen
class Charges(GatewayTask):
    """Task CHARGE: charges a payment; after an earlier call, it looks the charge up under the same key instead."""

    settle_window_s: float = 10.0
    """Time after the charge in which `UnknownCharge` counts as an unknown outcome, in seconds."""

    def _call(self, task: Task, payment: Payment) -> Callable[[], object]:
        if task.repeat:
            lookup = _request(Lookup, payment, payment_id=payment.payment_id)
            return lambda: self.gateway.lookup(lookup)
        charge = _request(Charge, payment)
        return lambda: self.gateway.charge(charge)

    def finish(self, work: PaymentWork, ended: Ended[Task]) -> Postponed | None:
        """End with `Captured` or `Declined`. A charge not attempted is made later; other outcomes are unknown."""
        payment = work[OrderId(ended.token.key)]
        answer = ended.answer
        if isinstance(answer, Captured):
            work.save(payment.captured(answer.payment_id, at=work.now))
            return None
        if isinstance(answer, Declined):
            work.changes.note("Payment declined", order_id=payment.order_id, reason=answer.reason)
            work.save(payment.declined(at=work.now))
            return None
        if answer is NOT_CALLED:
            return None
        if isinstance(answer, NotAttempted) and not ended.token.repeat:  # else only a look-up wasn't attempted
            return self._again(work, ended, afresh=True)
        work.save(payment.unanswered(at=work.now))
        again = self._again(work, ended)
        if again is None or not isinstance(answer, UnknownCharge):
            return again
        settled_at = ended.token.called_at + timedelta(seconds=self.settle_window_s)
        if work.now >= settled_at:
            return Postponed(ended.token, work.now, afresh=True, note="unknown charge: charge again, same key")
        return attrs.evolve(again, due_at=min(again.due_at, settled_at))  # no back-off delays the end of the window

    def _needs_a_person(self, ended: Ended[Task]) -> bool:
        return super()._needs_a_person(ended) or isinstance(ended.answer, Authorised)


@attrs.frozen
class Voids(GatewayTask):
    """Task VOID: makes a later capture impossible, or finds that the money is already captured."""

    def _call(self, task: Task, payment: Payment) -> Callable[[], object]:  # noqa: ARG002
        void = _request(Void, payment, payment_id=payment.payment_id)
        return lambda: self.gateway.void(void)

    def finish(self, work: PaymentWork, ended: Ended[Task]) -> Postponed | None:
        """End with `Voided` or `Captured`; other outcomes are unknown."""
        payment = work[OrderId(ended.token.key)]
        if isinstance(ended.answer, Voided):
            work.save(payment.void_done(at=work.now))
            return None
        if isinstance(ended.answer, Captured):
            work.save(payment.void_lost(ended.answer.payment_id, at=work.now))
            return None
        return self._again(work, ended)


@attrs.frozen
class Refunds(GatewayTask):
    """Task REFUND: gives captured money back."""

    def _call(self, task: Task, payment: Payment) -> Callable[[], object]:  # noqa: ARG002
        refund = _request(Refund, payment, charge_key=payment.key, payment_id=payment.payment_id)
        return lambda: self.gateway.refund(refund)

    def finish(self, work: PaymentWork, ended: Ended[Task]) -> Postponed | None:
        """End with `Refunded`; other outcomes are repeated."""
        payment = work[OrderId(ended.token.key)]
        if isinstance(ended.answer, Refunded):
            work.save(payment.refund_done(at=work.now))
            return None
        return self._again(work, ended)

    def _needs_a_person(self, ended: Ended[Task]) -> bool:
        return super()._needs_a_person(ended) or isinstance(ended.answer, Declined)


def _request(kind: Callable[..., R], payment: Payment, **more: object) -> R:
    """Make the request of one call about a payment; `ValueError` for a payment without terms."""
    if payment.user_id is None or payment.total is None:
        raise ValueError(f"the payment of {payment.order_id} has no terms")
    return kind(
        key=payment.key,
        order_id=payment.order_id,
        user_id=payment.user_id,
        amount=payment.total,
        metadata=payment.metadata,
        **more,
    )


def _detail(ended: Ended[Task]) -> str:
    """Return the reason why there is no usable answer, for operators."""
    if ended.error is not None:
        return f"{type(ended.error).__name__}: {storable_text(ended.error)}"
    match ended.answer:
        case Pending(detail) | NotAttempted(detail) | Unanswered(detail) | Declined(detail) if detail:
            return f"{type(ended.answer).__name__}: {detail}"
        case answer:
            return type(answer).__name__


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
