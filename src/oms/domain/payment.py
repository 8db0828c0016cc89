"""The payment of an order: one charge under one key, and the way back from every doubt.

INITIATED means that a call may have gone out, so a cancel turns it into VOIDING and never into VOIDED. Unknown
is never taken for failed. Payment alone decides between void and refund.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

import attrs

from oms.domain.errors import ImpossibleTransition
from oms.domain.events import Event, PaymentFailed, PaymentRefunded, PaymentSucceeded, PaymentVoided, Reason
from oms.domain.money import Money
from oms.domain.state_machine import Cell, Effect, Transition, evolve, move, row, stay
from oms.domain.tasks import TaskKind, TaskRequest
from oms.domain.values import NO_METADATA, Metadata, OrderId, Terms, UserId


class PaymentState(Enum):
    """Where the money of an order is."""

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
    """What can happen to a payment: two messages, and the gateway's answers."""

    RESERVED = "inventory.reserved"
    CANCELLING = "order.cancelling"
    CAPTURED = "captured"
    DECLINED = "declined"
    NO_ANSWER = "no answer"
    VOID_DONE = "void: voided"
    VOID_LOST = "void: captured"
    REFUND_DONE = "refund done"


S = PaymentState
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
PAYMENT_TABLE: Mapping[PaymentState, Mapping[PaymentTrigger, Cell[PaymentState]]] = {
    S.ABSENT:    row(PaymentTrigger, [_initiated, _tombstone, _never,     _never,    _never,   _never,  _never,     _never]),
    S.INITIATED: row(PaymentTrigger, [_noted,     _voiding,   _captured,  _declined, _unknown, _never,  _never,     _never]),
    S.UNKNOWN:   row(PaymentTrigger, [_noted,     _voiding,   _captured,  _declined, _noted,   _never,  _never,     _never]),
    S.VOIDING:   row(PaymentTrigger, [_noted,     _noted,     _refunding, _voided,   _noted,   _voided, _refunding, _never]),
    S.CAPTURED:  row(PaymentTrigger, [_noted,     _refunding, _noted,     _never,    _noted,   _noted,  _noted,     _never]),
    S.REFUNDING: row(PaymentTrigger, [_noted,     _noted,     _noted,     _never,    _noted,   _noted,  _noted,     _refunded]),
    S.DECLINED:  row(PaymentTrigger, [_noted,     _noted,     _never,     _noted,    _noted,   _noted,  _noted,     _never]),
    S.VOIDED:    row(PaymentTrigger, [_noted,     _noted,     _broken,    _noted,    _noted,   _noted,  _broken,    _noted]),
    S.REFUNDED:  row(PaymentTrigger, [_noted,     _noted,     _noted,     _never,    _noted,   _noted,  _noted,     _noted]),
}
# fmt: on

OPEN = frozenset({S.INITIATED, S.UNKNOWN, S.VOIDING, S.REFUNDING})
"""States in which the service still owes the gateway a question."""

_PUBLISHED_REASON: Mapping[type[Event], Reason] = {PaymentFailed: Reason.PAYMENT_DECLINED}


_KEY_PREFIX = "oms-"


def order_of_key(key: str) -> OrderId | None:
    """The order whose payment has this key at the gateway; None for a key that can't be a payment's of ours."""
    return OrderId(key.removeprefix(_KEY_PREFIX)) if key.startswith(_KEY_PREFIX) else None


@attrs.frozen(kw_only=True, slots=False)
class Payment:
    """The money side of one order; `key` is the gateway's idempotency key, the same for every call."""

    order_id: OrderId
    state: PaymentState = PaymentState.ABSENT
    user_id: UserId | None = None
    total: Money | None = None
    metadata: Metadata = NO_METADATA
    payment_id: str | None = None
    updated_at: datetime | None = None

    @property
    def key(self) -> str:
        """The gateway's idempotency key: made of the order alone, so that no retry can make a second one."""
        return f"{_KEY_PREFIX}{self.order_id}"

    def start(self, terms: Terms, *, at: datetime) -> Transition[Payment]:
        """The stock is held: owe the gateway a charge, unless a cancel was here first."""
        known = self
        if self.state is S.ABSENT:
            known = evolve(self, user_id=terms.user_id, total=terms.total, metadata=terms.metadata)
        return known._on(PaymentTrigger.RESERVED, at)

    def cancel(self, user_id: UserId, total: Money, *, at: datetime) -> Transition[Payment]:
        """The order shall end cancelled: void what may be out, refund what is captured."""
        known = self
        if self.state is S.ABSENT:
            known = evolve(self, user_id=user_id, total=total)
        return known._on(PaymentTrigger.CANCELLING, at)

    def captured(self, payment_id: str, *, at: datetime) -> Transition[Payment]:
        """The gateway took the money."""
        return self._paid(payment_id)._on(PaymentTrigger.CAPTURED, at)

    def declined(self, *, at: datetime) -> Transition[Payment]:
        """The gateway refused, for good: no money moved or will."""
        return self._on(PaymentTrigger.DECLINED, at)

    def unanswered(self, *, at: datetime) -> Transition[Payment]:
        """Nobody knows whether the charge happened; the service asks again by key."""
        return self._on(PaymentTrigger.NO_ANSWER, at)

    def void_done(self, *, at: datetime) -> Transition[Payment]:
        """The gateway promised that no charge under this key can capture any more."""
        return self._on(PaymentTrigger.VOID_DONE, at)

    def void_lost(self, payment_id: str, *, at: datetime) -> Transition[Payment]:
        """The void came too late: the money is captured and must go back."""
        return self._paid(payment_id)._on(PaymentTrigger.VOID_LOST, at)

    def refund_done(self, *, at: datetime) -> Transition[Payment]:
        """The money is back with the customer."""
        return self._on(PaymentTrigger.REFUND_DONE, at)

    def _paid(self, payment_id: str) -> Payment:
        return self if self.payment_id else evolve(self, payment_id=payment_id)

    def _on(self, trigger: PaymentTrigger, at: datetime) -> Transition[Payment]:
        cell = PAYMENT_TABLE[self.state][trigger]
        if cell.effect is Effect.NOTED:
            return Transition(self)
        if cell.to is None:
            raise ImpossibleTransition("payment", self.state.value, trigger.value)
        moved = evolve(self, state=cell.to, updated_at=at)
        events = (moved.event(cell.publishes),) if cell.publishes else ()
        tasks = (TaskRequest(cell.starts, self.order_id),) if cell.starts else ()
        return Transition(moved, events, tasks, alert=cell.alert)

    def event(self, kind: type[Event]) -> Event:
        """The event of this type as this payment publishes it; equal each time."""
        if self.user_id is None or self.total is None:
            raise ImpossibleTransition("payment", self.state.value, "an event before its order")
        make = _MAKE[kind]
        return make(self.order_id, self.user_id, self.total, self.payment_id, _PUBLISHED_REASON.get(make))


_MAKE: Mapping[
    type[Event],
    type[PaymentSucceeded] | type[PaymentFailed] | type[PaymentVoided] | type[PaymentRefunded],
] = {
    PaymentSucceeded: PaymentSucceeded,
    PaymentFailed: PaymentFailed,
    PaymentVoided: PaymentVoided,
    PaymentRefunded: PaymentRefunded,
}
