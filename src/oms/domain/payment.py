"""The payment of an order: one charge under one key, and how it is undone.

INITIATED means that a call may have been made, so a cancel turns it into VOIDING and never into VOIDED. An unknown
outcome never counts as a failed one. The payment service alone decides between void and refund.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

import attrs

from oms.domain.errors import ImpossibleTransition, TermsMismatch
from oms.domain.events import (
    Event,
    OrderPaymentInstructed,
    OrderRefundRequested,
    PaymentEvent,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundPaid,
    PaymentSucceeded,
    PaymentVoided,
    Reason,
)
from oms.domain.money import Money
from oms.domain.payment_refund import REFUND_REFUSED, PaymentRefund, PaymentRefundState, RefundTrigger
from oms.domain.refund import WHOLE, Instruction
from oms.domain.state_machine import Cell, Effect, Transition, by_state, evolve, move, state_table, stay
from oms.domain.tasks import TaskKind, TaskRequest, composite_key
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
    """The triggers of a payment: events, the gateway's responses, and instructions about the refund of the whole."""

    RESERVED = "inventory.reserved"
    CANCELLING = "order.cancelling"
    CAPTURED = "captured"
    DECLINED = "declined"
    NO_ANSWER = "no answer"
    VOID_DONE = "void: voided"
    VOID_LOST = "void: captured"
    REFUND_DONE = "refund done"
    REFUND_REFUSED = "refund refused"
    RETRY = "instructed: retry the refund"
    RESOLVE = "instructed: resolve the refund"
    PART_REFUND = "order.refund_requested"
    SHIPPED = "order.shipped"
    COMPLETED = "order.completed"


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
_refused = move(S.REFUNDING, PaymentRefundFailed, alert=REFUND_REFUSED)
_refused_after_void = move(S.VOIDED, PaymentRefundFailed, alert=REFUND_REFUSED)
_again = move(S.REFUNDING, starts=TaskKind.REFUND)
_again_after_void = move(S.VOIDED, starts=TaskKind.REFUND)
_part = move(S.CAPTURED)
_noted: Cell[PaymentState] = stay(Effect.NOTED)
_never: Cell[PaymentState] = stay(Effect.IMPOSSIBLE)

# fmt: off
PAYMENT_TABLE = state_table(PaymentState, PaymentTrigger, {
    T.RESERVED:       by_state(ABSENT=_initiated, INITIATED=_noted,    UNKNOWN=_noted,    VOIDING=_noted,     CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_noted, VOIDED=_noted,              REFUNDED=_noted),
    T.CANCELLING:     by_state(ABSENT=_tombstone, INITIATED=_voiding,  UNKNOWN=_voiding,  VOIDING=_noted,     CAPTURED=_refunding, REFUNDING=_noted,    DECLINED=_noted, VOIDED=_noted,              REFUNDED=_noted),
    T.CAPTURED:       by_state(ABSENT=_never,     INITIATED=_captured, UNKNOWN=_captured, VOIDING=_refunding, CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_never, VOIDED=_broken,             REFUNDED=_noted),
    T.DECLINED:       by_state(ABSENT=_never,     INITIATED=_declined, UNKNOWN=_declined, VOIDING=_voided,    CAPTURED=_never,     REFUNDING=_never,    DECLINED=_noted, VOIDED=_noted,              REFUNDED=_never),
    T.NO_ANSWER:      by_state(ABSENT=_never,     INITIATED=_unknown,  UNKNOWN=_noted,    VOIDING=_noted,     CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_noted, VOIDED=_noted,              REFUNDED=_noted),
    T.VOID_DONE:      by_state(ABSENT=_never,     INITIATED=_never,    UNKNOWN=_never,    VOIDING=_voided,    CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_noted, VOIDED=_noted,              REFUNDED=_noted),
    T.VOID_LOST:      by_state(ABSENT=_never,     INITIATED=_never,    UNKNOWN=_never,    VOIDING=_refunding, CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_noted, VOIDED=_broken,             REFUNDED=_noted),
    T.REFUND_DONE:    by_state(ABSENT=_never,     INITIATED=_never,    UNKNOWN=_never,    VOIDING=_never,     CAPTURED=_never,     REFUNDING=_refunded, DECLINED=_never, VOIDED=_noted,              REFUNDED=_noted),
    T.REFUND_REFUSED: by_state(ABSENT=_never,     INITIATED=_never,    UNKNOWN=_never,    VOIDING=_never,     CAPTURED=_never,     REFUNDING=_refused,  DECLINED=_never, VOIDED=_refused_after_void, REFUNDED=_noted),
    T.RETRY:          by_state(ABSENT=_never,     INITIATED=_noted,    UNKNOWN=_noted,    VOIDING=_noted,     CAPTURED=_noted,     REFUNDING=_again,    DECLINED=_noted, VOIDED=_again_after_void,   REFUNDED=_noted),
    T.RESOLVE:        by_state(ABSENT=_never,     INITIATED=_noted,    UNKNOWN=_noted,    VOIDING=_noted,     CAPTURED=_noted,     REFUNDING=_refunded, DECLINED=_noted, VOIDED=_refunded,           REFUNDED=_noted),
    T.PART_REFUND:    by_state(ABSENT=_never,     INITIATED=_never,    UNKNOWN=_never,    VOIDING=_never,     CAPTURED=_part,      REFUNDING=_never,    DECLINED=_never, VOIDED=_never,              REFUNDED=_never),
    T.SHIPPED:        by_state(ABSENT=_never,     INITIATED=_never,    UNKNOWN=_never,    VOIDING=_noted,     CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_never, VOIDED=_noted,              REFUNDED=_noted),
    T.COMPLETED:      by_state(ABSENT=_never,     INITIATED=_never,    UNKNOWN=_never,    VOIDING=_noted,     CAPTURED=_noted,     REFUNDING=_noted,    DECLINED=_never, VOIDED=_noted,              REFUNDED=_noted),
})
# fmt: on

OPEN = frozenset({S.INITIATED, S.UNKNOWN, S.VOIDING, S.REFUNDING})
"""States in which the outcome of a call to the gateway is still awaited."""

_PUBLISHED_REASON: Mapping[type[Event], Reason] = {PaymentFailed: Reason.PAYMENT_DECLINED}


_KEY_PREFIX, _PARTS_PREFIX = "oms-", "oms/"


def order_of_key(key: str) -> OrderId | None:
    """Return the order whose payment has this key at the gateway; None for a key of another system."""
    if key.startswith(_PARTS_PREFIX):
        return OrderId(key.split("/")[1])
    return OrderId(key.removeprefix(_KEY_PREFIX)) if key.startswith(_KEY_PREFIX) else None


def refund_of_key(key: str) -> str | None:
    """Return the id of the refund that was called under this key of the gateway; None for a key of another form."""
    if key.startswith(_KEY_PREFIX):
        return WHOLE
    match key.split("/"):
        case ["oms", _, "refund", refund_id, _]:
            return refund_id
    return None


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
    refunds: tuple[PaymentRefund, ...] = ()

    @property
    def key(self) -> str:
        """The gateway's idempotency key of charge, void and the first refund of the whole.

        It is made of the order id alone, so that a repeated call has the same key.
        """
        return f"{_KEY_PREFIX}{self.order_id}"

    def refund(self, refund_id: str) -> PaymentRefund | None:
        """Return a refund by its id. That of the whole (`WHOLE`) is stored from its first refusal on."""
        return next((one for one in self.refunds if one.id == refund_id), None)

    @property
    def whole_refund(self) -> PaymentRefund:
        """The refund that undoes the payment of a cancelled order."""
        return self.refund(WHOLE) or PaymentRefund(WHOLE, self._total, {}, self.metadata, PaymentRefundState.DUE)

    def refund_key(self, refund: PaymentRefund) -> str:
        """Return the gateway's idempotency key of the present attempt of a refund."""
        first_of_whole = refund.id == WHOLE and refund.attempt == 1
        return self.key if first_of_whole else refund.key(self.order_id)

    @property
    def _total(self) -> Money:
        if self.total is None:
            raise ImpossibleTransition("payment", self.state.value, "a refund before its order")
        return self.total

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
        """Note that the whole was refunded."""
        whole = self.refund(WHOLE)
        known = self._with(whole.after(RefundTrigger.PAID)[0]) if whole is not None else self
        return _apply(known, PaymentTrigger.REFUND_DONE, at)

    def refund_refused(self, reason: str, *, at: datetime) -> Transition[Payment]:
        """Note that the gateway refused to refund the whole: an operator has to decide what happens next."""
        if PAYMENT_TABLE[self.state][PaymentTrigger.REFUND_REFUSED].to is None:
            return _apply(self, PaymentTrigger.REFUND_REFUSED, at)
        refused, cell = self.whole_refund.after(RefundTrigger.REFUSED, reason)
        if cell.to is None:  # refused or paid before
            return Transition(self)
        transition = _apply(self._with(refused), PaymentTrigger.REFUND_REFUSED, at)
        return attrs.evolve(transition, alert_fields=_about(refused))

    def refund_requested(self, event: OrderRefundRequested, *, at: datetime) -> Transition[Payment]:
        """Start a refund of a part; nothing is paid by the gateway for an amount of 0.

        Raises `TermsMismatch` if the customer is another one, or if all refunds together exceed the total.
        """
        if PAYMENT_TABLE[self.state][PaymentTrigger.PART_REFUND].to is None:
            return _apply(self, PaymentTrigger.PART_REFUND, at)
        known = self.refund(event.refund_id)
        if known is None:
            self._check(event)
        trigger = RefundTrigger.REQUESTED if event.amount.minor else RefundTrigger.REQUESTED_NOTHING
        return self._apply_part(known or PaymentRefund.of(event), trigger, at)

    def part_refund_paid(self, refund_id: str, *, at: datetime) -> Transition[Payment]:
        """Note that the gateway paid a refund."""
        return self._apply_part(self._known(refund_id), RefundTrigger.PAID, at)

    def part_refund_refused(self, refund_id: str, reason: str, *, at: datetime) -> Transition[Payment]:
        """Note that the gateway refused a refund for good: an operator has to decide what happens next."""
        return self._apply_part(self._known(refund_id), RefundTrigger.REFUSED, at, reason)

    def instructed(self, event: OrderPaymentInstructed, *, at: datetime) -> Transition[Payment]:
        """Retry or resolve a refused refund; an instruction about another attempt than the last one changes nothing."""
        retry = event.what is Instruction.RETRY
        refund = self.refund(event.of)
        if refund is None:
            raise ImpossibleTransition("payment", self.state.value, f"an instruction about refund {event.of}")
        if refund.attempt != event.attempt or refund.state is not PaymentRefundState.REFUSED:
            return Transition(self)
        trigger = RefundTrigger.RETRY if retry else RefundTrigger.RESOLVE
        if event.of != WHOLE:
            return self._apply_part(refund, trigger, at)
        decided, _ = refund.after(trigger)
        return _apply(self._with(decided), PaymentTrigger.RETRY if retry else PaymentTrigger.RESOLVE, at)

    def shipped(self, *, at: datetime) -> Transition[Payment]:
        """Handle `order.shipped`: the money is captured already."""
        return _apply(self, PaymentTrigger.SHIPPED, at)

    def completed(self, *, at: datetime) -> Transition[Payment]:
        """Handle `order.completed`."""
        return _apply(self, PaymentTrigger.COMPLETED, at)

    def _known(self, refund_id: str) -> PaymentRefund:
        refund = self.refund(refund_id)
        if refund is None:
            raise ImpossibleTransition("payment", self.state.value, f"an answer about refund {refund_id}")
        return refund

    def _check(self, event: OrderRefundRequested) -> None:
        total = self._total
        refunds = sum(refund.amount.minor for refund in self.refunds) + event.amount.minor
        wrong = event.user_id != self.user_id or event.amount.currency != total.currency
        if wrong or refunds > total.minor:
            said = f"refund {event.refund_id} of {event.amount} to {event.user_id}"
            raise TermsMismatch(f"{said} doesn't fit the payment of {self.order_id}: {total} of {self.user_id}")

    def _with(self, refund: PaymentRefund) -> Payment:
        kept = tuple(one for one in self.refunds if one.id != refund.id)
        return evolve(self, refunds=(*kept, refund))

    def _apply_part(
        self, refund: PaymentRefund, trigger: RefundTrigger, at: datetime, refused: str = ""
    ) -> Transition[Payment]:
        """Apply the cell of the refund's own table."""
        after, cell = refund.after(trigger, refused)
        if cell.to is None:
            return Transition(self)
        moved = evolve(self._with(after), updated_at=at)
        events = tuple(moved.refund_event(kind, after) for kind in cell.publishes)
        key = composite_key(self.order_id, refund.id)
        tasks = (TaskRequest(cell.starts, key),) if cell.starts else ()
        return Transition(moved, events, tasks, alert=cell.alert, alert_fields=_about(after))

    def _paid(self, payment_id: str) -> Payment:
        return self if self.payment_id else evolve(self, payment_id=payment_id)

    def event(self, kind: type[Event]) -> Event:
        """Return the event of this type as this payment publishes it; it is equal each time."""
        if kind is PaymentRefundFailed:
            return self.refund_event(kind, self.whole_refund)
        if not issubclass(kind, PaymentEvent):
            raise TypeError(f"a payment publishes no {kind.__name__}")
        if self.user_id is None or self.total is None:
            raise ImpossibleTransition("payment", self.state.value, "an event before its order")
        return kind(self.order_id, self.user_id, self.total, self.payment_id, _PUBLISHED_REASON.get(kind))

    def refund_event(self, kind: type[Event], refund: PaymentRefund) -> Event:
        """Return the event of this type about a refund; it is equal each time."""
        user_id = self.user_id or UserId("")
        paid = kind is PaymentRefundPaid
        return refund.paid(self.order_id, user_id) if paid else refund.failed(self.order_id, user_id)

    def part_events(self) -> tuple[Event, ...]:
        """Return the events about the present states of the refunds; equal each time."""
        return tuple(
            self.refund_event(kind, refund)
            for refund in self.refunds
            for kind in _PUBLISHED_IN.get(refund.state, ())
            if not (refund.id == WHOLE and kind is PaymentRefundPaid)
        )


_PUBLISHED_IN: Mapping[PaymentRefundState, tuple[type[Event], ...]] = {
    PaymentRefundState.PAID: (PaymentRefundPaid,),
    PaymentRefundState.REFUSED: (PaymentRefundFailed,),
}


def _about(refund: PaymentRefund) -> Mapping[str, str]:
    """Return what an alert says about a refund."""
    return {"refund": refund.id, "attempt": str(refund.attempt), "reason": refund.refused}


def _apply(payment: Payment, trigger: PaymentTrigger, at: datetime) -> Transition[Payment]:
    """Apply the table's cell for this trigger in the payment's state."""
    cell = PAYMENT_TABLE[payment.state][trigger]
    if cell.effect is Effect.NOTED:
        return Transition(payment)
    if cell.to is None:
        raise ImpossibleTransition("payment", payment.state.value, trigger.value)
    moved = evolve(payment, state=cell.to, updated_at=at)
    events = tuple(moved.event(kind) for kind in cell.publishes)
    tasks = (TaskRequest(cell.starts, payment.order_id),) if cell.starts else ()
    return Transition(moved, events, tasks, alert=cell.alert)
