"""The payment service's tasks: calls to the gateway, repeated until there is a definite answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import attrs

from oms.application.extensions.gateway import UnusableGatewayAnswer
from oms.application.payment_work import PaymentWork
from oms.domain.errors import ImpossibleTransition
from oms.domain.payment import Payment, PaymentState
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.refund import WHOLE
from oms.domain.state_machine import Transition
from oms.domain.tasks import key_fields, order_of
from oms.domain.text import storable_text
from oms.domain.values import OrderId
from oms.engine.retries import next_try
from oms.engine.service import NOT_CALLED
from oms.ports.call_executor import Ended
from oms.ports.extensions import (
    Authorised,
    Captured,
    Charge,
    Declined,
    Lookup,
    LookupOf,
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
from oms.ports.stores.payment import PaymentStore
from oms.ports.stores.rows import Postponed, Task

R = TypeVar("R")

ALERT_EVERY_ATTEMPTS = 10
"""Number of attempts from one alert to the next. The first ten take about two minutes: a back-off of 0.25 s doubles."""

FIRST_ATTEMPTS = 2
"""Number of attempts (first call, first look-up) that raise an alert at once if only a person can correct the error."""


@attrs.frozen
class GatewayTask(ABC):
    """A call to the gateway for each payment that needs it, repeated until there is a definite answer."""

    store: PaymentStore
    gateway: PaymentGateway
    wanted: Collection[PaymentState]
    """The states of a payment in which the call is still needed; in any other state the task is done."""

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:
        """Return a call for each payment that still needs it."""
        payments = self.store.payments({_order(task) for task in tasks})
        owed = [(task, payments.get(_order(task))) for task in tasks]
        return {
            task.key: self._call(task, payment)
            for task, payment in owed
            if payment is not None and self._needs(task, payment)
        }

    def load(self, work: PaymentWork, tasks: Sequence[Task]) -> None:
        """Lock the payments of these tasks."""
        work.lock({_order(task) for task in tasks})

    def _needs(self, task: Task, payment: Payment) -> bool:  # noqa: ARG002
        """Whether the payment still needs the call of this task."""
        return payment.state in self.wanted

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
        if not self._needs(task, work[_order(task)]):
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
            "order_id": _order(task),
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
        payment = work[_order(ended.token)]
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
        payment = work[_order(ended.token)]
        if isinstance(ended.answer, Voided):
            work.save(payment.void_done(at=work.now))
            return None
        if isinstance(ended.answer, Captured):
            work.save(payment.void_lost(ended.answer.payment_id, at=work.now))
            return None
        return self._again(work, ended)


@attrs.frozen
class Refunds(GatewayTask):
    """Task REFUND: gives captured money back: the whole of a cancelled order, or one refund of a part.

    After a call without an answer, the refund is looked up under the same key; unless the look-up gives the answer,
    the call is repeated under the same key.
    """

    def _needs(self, task: Task, payment: Payment) -> bool:
        refund = _refund_of(task, payment)
        if refund.id == WHOLE and payment.state not in self.wanted:
            return False
        return refund.state is PaymentRefundState.DUE

    def _call(self, task: Task, payment: Payment) -> Callable[[], object]:
        refund = _refund_of(task, payment)
        about: dict[str, object] = {
            "key": payment.refund_key(refund),
            "amount": refund.amount,
            "charge_key": payment.key,
            "payment_id": payment.payment_id,
        }
        if task.repeat:
            lookup = _request(Lookup, payment, **about, of=LookupOf.REFUND)
            return lambda: self.gateway.lookup(lookup)
        request = _request(Refund, payment, **about)
        return lambda: self.gateway.refund(request)

    def finish(self, work: PaymentWork, ended: Ended[Task]) -> Postponed | None:
        """End with `Refunded` or `Declined`; other outcomes are looked up or repeated."""
        payment = work[_order(ended.token)]
        if ended.answer is NOT_CALLED:
            return None
        refund = _refund_of(ended.token, payment)
        if isinstance(ended.answer, Refunded):
            work.save(_paid(payment, refund, work.now))
            return None
        if isinstance(ended.answer, Declined):
            reason = storable_text(ended.answer.reason)
            work.changes.note("Refund refused", order_id=payment.order_id, refund=refund.id, reason=reason)
            work.save(_refused(payment, refund, reason, work.now))
            return None
        return self._next_call(work, ended)

    def _next_call(self, work: PaymentWork, ended: Ended[Task]) -> Postponed | None:
        """Look up a call that may have been sent; after a look-up that doesn't help, repeat the call."""
        looked_up = ended.token.repeat
        not_sent = isinstance(ended.answer, NotAttempted) and not looked_up
        again = self._again(work, ended, afresh=not_sent or (looked_up and ended.error is not None))
        if again is None or not (looked_up and isinstance(ended.answer, UnknownCharge | Captured | Authorised)):
            return again
        return Postponed(ended.token, work.now, afresh=True, note="unknown refund: refund again, same key")


def _refund_of(task: Task, payment: Payment) -> PaymentRefund:
    """Return the refund that a task is about: the whole if the key is the order's id."""
    fields = key_fields(task.key)
    if fields is None:
        return payment.whole_refund
    refund = payment.refund(str(fields[1]))
    if refund is None:
        raise ImpossibleTransition("payment", payment.state.value, f"a call about refund {fields[1]}")
    return refund


def _paid(payment: Payment, refund: PaymentRefund, at: datetime) -> Transition[Payment]:
    return payment.refund_done(at=at) if refund.id == WHOLE else payment.part_refund_paid(refund.id, at=at)


def _refused(payment: Payment, refund: PaymentRefund, reason: str, at: datetime) -> Transition[Payment]:
    if refund.id == WHOLE:
        return payment.refund_refused(reason, at=at)
    return payment.part_refund_refused(refund.id, reason, at=at)


def _order(task: Task) -> OrderId:
    """Return the order of a gateway task."""
    return OrderId(order_of(task.kind, task.key) or task.key)


def _request(kind: Callable[..., R], payment: Payment, **about: object) -> R:
    """Make the request of one call about a payment: of its charge, unless `about` has another key and amount.

    Raises `ValueError` for a payment without terms.
    """
    if payment.user_id is None or payment.total is None:
        raise ValueError(f"the payment of {payment.order_id} has no terms")
    fields: dict[str, object] = {"key": payment.key, "amount": payment.total, **about}
    return kind(order_id=payment.order_id, user_id=payment.user_id, metadata=payment.metadata, **fields)


def _detail(ended: Ended[Task]) -> str:
    """Return the reason why there is no usable answer, for operators."""
    if ended.error is not None:
        return f"{type(ended.error).__name__}: {storable_text(ended.error)}"
    match ended.answer:
        case Pending(detail) | NotAttempted(detail) | Unanswered(detail) | Declined(detail) if detail:
            return f"{type(ended.answer).__name__}: {detail}"
        case answer:
            return type(answer).__name__
