"""The payment of an order: one charge under one key, and how it is undone.

INITIATED means that a call may have been made, so a cancel turns it into VOIDING and never into VOIDED. An unknown
outcome never counts as a failed one. The payment service alone decides between void and refund.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

import attrs

from oms.domain.errors import ImpossibleTransition
from oms.domain.events import (
    Event,
    PaymentEvent,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    PaymentVoided,
    Reason,
)
from oms.domain.money import Money
from oms.domain.state_machine import Cell, Effect, Transition, by_state, evolve, move, state_table, stay
from oms.domain.tasks import TaskKind, TaskRequest
from oms.domain.terms import Terms
from oms.domain.values import NO_METADATA, Metadata, OrderId, UserId


class PaymentState(Enum):
    """The state of an order's payment."""

    ABSENT = "ABSENT"
    INITIATED = "INITIATED"
    UNKNOWN = "UNKNOWN"
    VOIDING = "VOIDING"
    CAPTURED = "CAPTURED"
    REFUNDING = "REFUNDING"
    DECLINED = "DECLINED"
    VOIDED = "VOIDED"
    REFUNDED = "REFUNDED"


class PaymentTrigger(Enum):
    """The triggers of a payment: two events, and the gateway's responses."""

    RESERVED = "inventory.reserved"
    CANCELLING = "order.cancelling"
    CAPTURED = "captured"
    DECLINED = "declined"
    NO_ANSWER = "no answer"
    VOID_DONE = "void: voided"
    VOID_LOST = "void: captured"
    REFUND_DONE = "refund done"


S, T = PaymentState, PaymentTrigger
_initiated = move(S.INITIATED, starts=TaskKind.CHARGE)
_tombstone = move(S.VOIDED, PaymentVoided)
_voiding = move(S.VOIDING, starts=TaskKind.VOID)
_captured = move(S.CAPTURED, PaymentSucceeded)
_declined = move(S.DECLINED, PaymentFailed)
_unknown = move(S.UNKNOWN)
_refunding = move(S.REFUNDING, starts=TaskKind.REFUND)
_voided = move(S.VOIDED, PaymentVoided)
_refunded = move(S.REFUNDED, PaymentRefunded)
_broken = move(S.VOIDED, starts=TaskKind.REFUND, alert="the gateway captured a payment that it had voided")
_noted: Cell[PaymentState] = stay(Effect.NOTED)
_never: Cell[PaymentState] = stay(Effect.IMPOSSIBLE)

# fmt: off
PAYMENT_TABLE = state_table(PaymentState, PaymentTrigger, {
    T.RESERVED:    by_state(ABSENT=_initiated, INITIATED=_noted,    UNKNOWN=_noted,    VOIDING=_noted,     CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_noted, VOIDED=_noted,  REFUNDED=_noted),
    T.CANCELLING:  by_state(ABSENT=_tombstone, INITIATED=_voiding,  UNKNOWN=_voiding,  VOIDING=_noted,     CAPTURED=_refunding, REFUNDING=_noted,    DECLINED=_noted, VOIDED=_noted,  REFUNDED=_noted),
    T.CAPTURED:    by_state(ABSENT=_never,     INITIATED=_captured, UNKNOWN=_captured, VOIDING=_refunding, CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_never, VOIDED=_broken, REFUNDED=_noted),
    T.DECLINED:    by_state(ABSENT=_never,     INITIATED=_declined, UNKNOWN=_declined, VOIDING=_voided,    CAPTURED=_never,     REFUNDING=_never,    DECLINED=_noted, VOIDED=_noted,  REFUNDED=_never),
    T.NO_ANSWER:   by_state(ABSENT=_never,     INITIATED=_unknown,  UNKNOWN=_noted,    VOIDING=_noted,     CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_noted, VOIDED=_noted,  REFUNDED=_noted),
    T.VOID_DONE:   by_state(ABSENT=_never,     INITIATED=_never,    UNKNOWN=_never,    VOIDING=_voided,    CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_noted, VOIDED=_noted,  REFUNDED=_noted),
    T.VOID_LOST:   by_state(ABSENT=_never,     INITIATED=_never,    UNKNOWN=_never,    VOIDING=_refunding, CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_noted, VOIDED=_broken, REFUNDED=_noted),
    T.REFUND_DONE: by_state(ABSENT=_never,     INITIATED=_never,    UNKNOWN=_never,    VOIDING=_never,     CAPTURED=_never,     REFUNDING=_refunded, DECLINED=_never, VOIDED=_noted,  REFUNDED=_noted),
})
# fmt: on

OPEN = frozenset({S.INITIATED, S.UNKNOWN, S.VOIDING, S.REFUNDING})
"""States in which the outcome of a call to the gateway is still awaited."""

_PUBLISHED_REASON: Mapping[type[Event], Reason] = {PaymentFailed: Reason.PAYMENT_DECLINED}


_KEY_PREFIX = "oms-"


def order_of_key(key: str) -> OrderId | None:
    """Return the order whose payment has this key at the gateway; None for a key of another system."""
    return OrderId(key.removeprefix(_KEY_PREFIX)) if key.startswith(_KEY_PREFIX) else None


@attrs.frozen(kw_only=True, slots=False)
class Payment:
    """The payment of one order. Its methods return the `Transition` to save, and never change the payment in place."""

    order_id: OrderId
    state: PaymentState = PaymentState.ABSENT
    user_id: UserId | None = None
    total: Money | None = None
    metadata: Metadata = NO_METADATA
    payment_id: str | None = None
    updated_at: datetime | None = None

    @property
    def key(self) -> str:
        """The gateway's idempotency key of every call: made of the order id alone, so that a retry has the same one."""
        return f"{_KEY_PREFIX}{self.order_id}"

    def start(self, terms: Terms, *, at: datetime) -> Transition[Payment]:
        """Start a charge when the stock is held, unless the order was cancelled before."""
        known = self
        if self.state is S.ABSENT:
            known = evolve(self, user_id=terms.user_id, total=terms.total, metadata=terms.metadata)
        return _apply(known, PaymentTrigger.RESERVED, at)

    def cancel(self, user_id: UserId, total: Money, *, at: datetime) -> Transition[Payment]:
        """Cancel: void a charge that may have been made, refund a captured one."""
        known = self
        if self.state is S.ABSENT:
            known = evolve(self, user_id=user_id, total=total)
        return _apply(known, PaymentTrigger.CANCELLING, at)

    def captured(self, payment_id: str, *, at: datetime) -> Transition[Payment]:
        """Note that the gateway captured the money."""
        return _apply(self._paid(payment_id), PaymentTrigger.CAPTURED, at)

    def declined(self, *, at: datetime) -> Transition[Payment]:
        """Note that the gateway declined permanently: no money has moved or will move."""
        return _apply(self, PaymentTrigger.DECLINED, at)

    def unanswered(self, *, at: datetime) -> Transition[Payment]:
        """Note that the outcome of the charge is unknown; the service looks it up by key."""
        return _apply(self, PaymentTrigger.NO_ANSWER, at)

    def void_done(self, *, at: datetime) -> Transition[Payment]:
        """Note the gateway's promise that no charge under this key can capture any more."""
        return _apply(self, PaymentTrigger.VOID_DONE, at)

    def void_lost(self, payment_id: str, *, at: datetime) -> Transition[Payment]:
        """Note that the void came too late: the money is captured and must be refunded."""
        return _apply(self._paid(payment_id), PaymentTrigger.VOID_LOST, at)

    def refund_done(self, *, at: datetime) -> Transition[Payment]:
        """Note that the money was refunded."""
        return _apply(self, PaymentTrigger.REFUND_DONE, at)

    def _paid(self, payment_id: str) -> Payment:
        return self if self.payment_id else evolve(self, payment_id=payment_id)

    def event(self, kind: type[Event]) -> Event:
        """Return the event of this type as this payment publishes it; it is equal each time."""
        if not issubclass(kind, PaymentEvent):
            raise TypeError(f"a payment publishes no {kind.__name__}")
        if self.user_id is None or self.total is None:
            raise ImpossibleTransition("payment", self.state.value, "an event before its order")
        return kind(self.order_id, self.user_id, self.total, self.payment_id, _PUBLISHED_REASON.get(kind))


def _apply(payment: Payment, trigger: PaymentTrigger, at: datetime) -> Transition[Payment]:
    """Apply the table's cell for this trigger in the payment's state."""
    cell = PAYMENT_TABLE[payment.state][trigger]
    if cell.effect is Effect.NOTED:
        return Transition(payment)
    if cell.to is None:
        raise ImpossibleTransition("payment", payment.state.value, trigger.value)
    moved = evolve(payment, state=cell.to, updated_at=at)
    events = (moved.event(cell.publishes),) if cell.publishes else ()
    tasks = (TaskRequest(cell.starts, payment.order_id),) if cell.starts else ()
    return Transition(moved, events, tasks, alert=cell.alert)
