"""The states of an order, its triggers, and its state table: one cell for every trigger in every state."""

from __future__ import annotations

from enum import Enum

from oms.domain.events import (
    OrderCancelled,
    OrderCancelling,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderPaymentInstructed,
    OrderRefundRequested,
    OrderRejected,
    OrderShipped,
)
from oms.domain.state_machine import Cell, Effect, by_state, move, state_table, stay


class OrderState(Enum):
    """The state of an order.

    `ABSENT`: there is no order yet, though events about it may have arrived. `LEGACY`: imported from the Spring system
    and not resumed; no event of it was published, and it has no deadline. `FULFILLING`: something was shipped or
    refunded, and units are open. `COMPLETED`: every unit was shipped or cancelled.
    """

    ABSENT = "ABSENT"
    LEGACY = "LEGACY"
    CREATED = "CREATED"
    RESERVED = "RESERVED"
    CANCELLING = "CANCELLING"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    FULFILLING = "FULFILLING"
    COMPLETED = "COMPLETED"

    @property
    def settled(self) -> bool:
        """Whether the saga of the order has ended.

        Operators can still cancel, ship and refund a confirmed order, and so on until every unit is shipped or cancelled.
        """
        return self in SETTLED

    @property
    def resting(self) -> bool:
        """Whether nothing has to happen to it: it has ended, or waits until an operator resumes it."""
        return self in SETTLED or self is OrderState.LEGACY


SETTLED = frozenset(
    {
        OrderState.CONFIRMED,
        OrderState.REJECTED,
        OrderState.CANCELLED,
        OrderState.FULFILLING,
        OrderState.COMPLETED,
    }
)

TIMED = (OrderState.CREATED, OrderState.RESERVED)
"""States in which the order's deadline is running."""


class OrderPayment(Enum):
    """The last result of the order's payment that the order service has heard of."""

    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"
    VOIDED = "VOIDED"
    REFUNDED = "REFUNDED"


class OrderTrigger(Enum):
    """An event or command that an order reacts to; the value is the topic or the name of the command."""

    PLACED = "place"
    CREATED = "order.created"
    RESERVED = "inventory.reserved"
    REJECTED = "inventory.rejected"
    RELEASED = "inventory.released"
    PAID = "payment.success"
    DECLINED = "payment.failed"
    VOIDED = "payment.voided"
    REFUNDED = "payment.refunded"
    CUSTOMER_CANCEL = "cancel by customer"
    OPERATOR_CANCEL = "cancel by operator"
    DEADLINE = "deadline"
    IMPORTED = "import"
    RESUMED = "resume"
    SHIP = "ship"
    SHIP_LAST = "ship the last unit"
    CANCEL_UNITS = "cancel units"
    CANCEL_LAST_UNITS = "cancel the last units"
    GIVE_BACK = "refund a return or goodwill"
    INSTRUCT = "instruct payment"
    REFUND_PAID = "payment.refund_paid"
    REFUND_FAILED = "payment.refund_failed"


S, T = OrderState, OrderTrigger
_created = move(S.CREATED, OrderCreated)
_adopted = move(S.CREATED)
_imported = move(S.LEGACY)
_reserved = move(S.RESERVED)
_rejected = move(S.REJECTED, OrderRejected)
_confirmed = move(S.CONFIRMED, OrderConfirmed)
_cancelled = move(S.CANCELLED, OrderCancelled)
_cancelling = move(S.CANCELLING, OrderCancelling)
_shipped = move(S.FULFILLING, OrderShipped)
_shipped_all = move(S.COMPLETED, OrderShipped, OrderCompleted)
_refunded = move(S.FULFILLING, OrderRefundRequested)
_refunded_all = move(S.COMPLETED, OrderRefundRequested, OrderCompleted)
_refunded_later = move(S.COMPLETED, OrderRefundRequested)
_instructed = {state: move(state, OrderPaymentInstructed) for state in S}
_noted: Cell[OrderState] = stay(Effect.NOTED)
_early: Cell[OrderState] = stay(Effect.EARLY)
_never: Cell[OrderState] = stay(Effect.IMPOSSIBLE)
_unknown: Cell[OrderState] = stay(Effect.NOT_FOUND)
_same: Cell[OrderState] = stay(Effect.SAME)
_refused: Cell[OrderState] = stay(Effect.REFUSED)

# fmt: off
ORDER_TABLE = state_table(OrderState, OrderTrigger, {
    T.PLACED:            by_state(ABSENT=_created,  LEGACY=_never,      CREATED=_never,      RESERVED=_never,      CANCELLING=_never,                    CONFIRMED=_never,        REJECTED=_never,   CANCELLED=_never,                   FULFILLING=_never,                    COMPLETED=_never),
    T.CREATED:           by_state(ABSENT=_adopted,  LEGACY=_noted,      CREATED=_noted,      RESERVED=_noted,      CANCELLING=_noted,                    CONFIRMED=_noted,        REJECTED=_noted,   CANCELLED=_noted,                   FULFILLING=_noted,                    COMPLETED=_noted),
    T.RESERVED:          by_state(ABSENT=_reserved, LEGACY=_reserved,   CREATED=_reserved,   RESERVED=_noted,      CANCELLING=_noted,                    CONFIRMED=_noted,        REJECTED=_never,   CANCELLED=_noted,                   FULFILLING=_noted,                    COMPLETED=_noted),
    T.REJECTED:          by_state(ABSENT=_early,    LEGACY=_rejected,   CREATED=_rejected,   RESERVED=_never,      CANCELLING=_noted,                    CONFIRMED=_never,        REJECTED=_noted,   CANCELLED=_noted,                   FULFILLING=_never,                    COMPLETED=_never),
    T.RELEASED:          by_state(ABSENT=_early,    LEGACY=_noted,      CREATED=_noted,      RESERVED=_noted,      CANCELLING=_noted,                    CONFIRMED=_noted,        REJECTED=_noted,   CANCELLED=_noted,                   FULFILLING=_noted,                    COMPLETED=_noted),
    T.PAID:              by_state(ABSENT=_early,    LEGACY=_confirmed,  CREATED=_confirmed,  RESERVED=_confirmed,  CANCELLING=_noted,                    CONFIRMED=_noted,        REJECTED=_never,   CANCELLED=_noted,                   FULFILLING=_noted,                    COMPLETED=_noted),
    T.DECLINED:          by_state(ABSENT=_early,    LEGACY=_cancelled,  CREATED=_cancelled,  RESERVED=_cancelled,  CANCELLING=_cancelled,                CONFIRMED=_never,        REJECTED=_never,   CANCELLED=_noted,                   FULFILLING=_never,                    COMPLETED=_never),
    T.VOIDED:            by_state(ABSENT=_early,    LEGACY=_never,      CREATED=_never,      RESERVED=_never,      CANCELLING=_cancelled,                CONFIRMED=_never,        REJECTED=_never,   CANCELLED=_noted,                   FULFILLING=_noted,                    COMPLETED=_noted),
    T.REFUNDED:          by_state(ABSENT=_early,    LEGACY=_never,      CREATED=_never,      RESERVED=_never,      CANCELLING=_cancelled,                CONFIRMED=_never,        REJECTED=_never,   CANCELLED=_noted,                   FULFILLING=_noted,                    COMPLETED=_noted),
    T.CUSTOMER_CANCEL:   by_state(ABSENT=_unknown,  LEGACY=_refused,    CREATED=_cancelling, RESERVED=_cancelling, CANCELLING=_same,                     CONFIRMED=_refused,      REJECTED=_refused, CANCELLED=_same,                    FULFILLING=_refused,                  COMPLETED=_refused),
    T.OPERATOR_CANCEL:   by_state(ABSENT=_unknown,  LEGACY=_cancelling, CREATED=_cancelling, RESERVED=_cancelling, CANCELLING=_same,                     CONFIRMED=_cancelling,   REJECTED=_refused, CANCELLED=_same,                    FULFILLING=_refused,                  COMPLETED=_refused),
    T.DEADLINE:          by_state(ABSENT=_noted,    LEGACY=_noted,      CREATED=_cancelling, RESERVED=_cancelling, CANCELLING=_noted,                    CONFIRMED=_noted,        REJECTED=_noted,   CANCELLED=_noted,                   FULFILLING=_noted,                    COMPLETED=_noted),
    T.IMPORTED:          by_state(ABSENT=_imported, LEGACY=_same,       CREATED=_same,       RESERVED=_same,       CANCELLING=_same,                     CONFIRMED=_same,         REJECTED=_same,    CANCELLED=_same,                    FULFILLING=_same,                     COMPLETED=_same),
    T.RESUMED:           by_state(ABSENT=_unknown,  LEGACY=_created,    CREATED=_same,       RESERVED=_same,       CANCELLING=_refused,                  CONFIRMED=_same,         REJECTED=_refused, CANCELLED=_refused,                 FULFILLING=_same,                     COMPLETED=_same),
    T.SHIP:              by_state(ABSENT=_unknown,  LEGACY=_refused,    CREATED=_refused,    RESERVED=_refused,    CANCELLING=_refused,                  CONFIRMED=_shipped,      REJECTED=_refused, CANCELLED=_refused,                 FULFILLING=_shipped,                  COMPLETED=_refused),
    T.SHIP_LAST:         by_state(ABSENT=_unknown,  LEGACY=_refused,    CREATED=_refused,    RESERVED=_refused,    CANCELLING=_refused,                  CONFIRMED=_shipped_all,  REJECTED=_refused, CANCELLED=_refused,                 FULFILLING=_shipped_all,              COMPLETED=_refused),
    T.CANCEL_UNITS:      by_state(ABSENT=_unknown,  LEGACY=_refused,    CREATED=_refused,    RESERVED=_refused,    CANCELLING=_refused,                  CONFIRMED=_refunded,     REJECTED=_refused, CANCELLED=_refused,                 FULFILLING=_refunded,                 COMPLETED=_refused),
    T.CANCEL_LAST_UNITS: by_state(ABSENT=_unknown,  LEGACY=_refused,    CREATED=_refused,    RESERVED=_refused,    CANCELLING=_refused,                  CONFIRMED=_refunded_all, REJECTED=_refused, CANCELLED=_refused,                 FULFILLING=_refunded_all,             COMPLETED=_refused),
    T.GIVE_BACK:         by_state(ABSENT=_unknown,  LEGACY=_refused,    CREATED=_refused,    RESERVED=_refused,    CANCELLING=_refused,                  CONFIRMED=_refunded,     REJECTED=_refused, CANCELLED=_refused,                 FULFILLING=_refunded,                 COMPLETED=_refunded_later),
    T.INSTRUCT:          by_state(ABSENT=_unknown,  LEGACY=_refused,    CREATED=_refused,    RESERVED=_refused,    CANCELLING=_instructed[S.CANCELLING], CONFIRMED=_refused,      REJECTED=_refused, CANCELLED=_instructed[S.CANCELLED], FULFILLING=_instructed[S.FULFILLING], COMPLETED=_instructed[S.COMPLETED]),
    T.REFUND_PAID:       by_state(ABSENT=_never,    LEGACY=_never,      CREATED=_never,      RESERVED=_never,      CANCELLING=_noted,                    CONFIRMED=_never,        REJECTED=_never,   CANCELLED=_noted,                   FULFILLING=_noted,                    COMPLETED=_noted),
    T.REFUND_FAILED:     by_state(ABSENT=_never,    LEGACY=_never,      CREATED=_never,      RESERVED=_never,      CANCELLING=_noted,                    CONFIRMED=_never,        REJECTED=_never,   CANCELLED=_noted,                   FULFILLING=_noted,                    COMPLETED=_noted),
})
# fmt: on
