"""One refund of a payment: its state table, and the attempts at the gateway."""

from __future__ import annotations

from enum import Enum

import attrs

from oms.domain.errors import ImpossibleTransition
from oms.domain.events import OrderRefundRequested, PaymentRefundFailed, PaymentRefundPaid
from oms.domain.money import Money
from oms.domain.refund import RefundState
from oms.domain.state_machine import Cell, Effect, by_state, move, state_table, stay
from oms.domain.tasks import TaskKind
from oms.domain.values import NO_METADATA, Items, Metadata, OrderId, UserId


class PaymentRefundState(Enum):
    """The state of a refund; ABSENT before it was requested."""

    ABSENT = "ABSENT"
    DUE = RefundState.DUE.value
    PAID = RefundState.PAID.value
    REFUSED = RefundState.REFUSED.value


class RefundTrigger(Enum):
    """The triggers of a refund: a request, by whether it moves money; the gateway's answers; instructions."""

    REQUESTED = "order.refund_requested"
    REQUESTED_NOTHING = "order.refund_requested, amount 0"
    PAID = "refund: paid"
    REFUSED = "refund: refused"
    RETRY = "instructed: retry"
    RESOLVE = "instructed: resolve"


REFUND_REFUSED = "the gateway refused a refund"
"""Name of the alert for a refund that the gateway refused."""

S, T = PaymentRefundState, RefundTrigger
_due = move(S.DUE, starts=TaskKind.REFUND)
_paid = move(S.PAID, PaymentRefundPaid)
_refused = move(S.REFUSED, PaymentRefundFailed, alert=REFUND_REFUSED)
_noted: Cell[PaymentRefundState] = stay(Effect.NOTED)
_never: Cell[PaymentRefundState] = stay(Effect.IMPOSSIBLE)

# fmt: off
REFUND_TABLE = state_table(PaymentRefundState, RefundTrigger, {
    T.REQUESTED:         by_state(ABSENT=_due,   DUE=_noted,   PAID=_noted, REFUSED=_noted),
    T.REQUESTED_NOTHING: by_state(ABSENT=_paid,  DUE=_noted,   PAID=_noted, REFUSED=_noted),
    T.PAID:              by_state(ABSENT=_never, DUE=_paid,    PAID=_noted, REFUSED=_paid),
    T.REFUSED:           by_state(ABSENT=_never, DUE=_refused, PAID=_noted, REFUSED=_noted),
    T.RETRY:             by_state(ABSENT=_never, DUE=_noted,   PAID=_noted, REFUSED=_due),
    T.RESOLVE:           by_state(ABSENT=_never, DUE=_noted,   PAID=_noted, REFUSED=_paid),
})
# fmt: on


@attrs.frozen
class PaymentRefund:
    """A refund of a captured payment.

    `attempt` is the number of the present call to the gateway, from 1; it rises only after a definite refusal, so that
    a call without an answer is repeated under the same key. `refused` is the reason that the gateway gave last.
    `outside` is true if an operator resolved the refund.
    """

    id: str
    amount: Money
    items: Items
    metadata: Metadata = NO_METADATA
    state: PaymentRefundState = PaymentRefundState.ABSENT
    attempt: int = 1
    outside: bool = False
    refused: str = ""

    @staticmethod
    def of(event: OrderRefundRequested) -> PaymentRefund:
        """Return the refund of a request, ABSENT still."""
        return PaymentRefund(event.refund_id, event.amount, event.items, event.metadata)

    def key(self, order_id: OrderId) -> str:
        """Return the gateway's idempotency key of the present attempt."""
        return refund_key(order_id, self.id, self.attempt)

    def after(self, trigger: RefundTrigger, refused: str = "") -> tuple[PaymentRefund, Cell[PaymentRefundState]]:
        """Return the refund after a trigger, and the table's cell; raises `ImpossibleTransition`."""
        cell = REFUND_TABLE[self.state][trigger]
        if cell.effect is Effect.IMPOSSIBLE:
            raise ImpossibleTransition("refund", self.state.value, trigger.value)
        if cell.to is None:
            return self, cell
        attempt = self.attempt + (trigger is T.RETRY)
        outside = self.outside or trigger is T.RESOLVE
        reason = refused or self.refused
        return attrs.evolve(self, state=cell.to, attempt=attempt, outside=outside, refused=reason), cell

    def paid(self, order_id: OrderId, user_id: UserId) -> PaymentRefundPaid:
        """Return `payment.refund_paid`."""
        return PaymentRefundPaid(
            order_id, user_id, self.id, self.amount, self.items, self.attempt, self.outside, None, self.metadata
        )

    def failed(self, order_id: OrderId, user_id: UserId) -> PaymentRefundFailed:
        """Return `payment.refund_failed` for the present attempt."""
        return PaymentRefundFailed(
            order_id,
            user_id,
            self.id,
            self.amount,
            self.items,
            self.attempt,
            reason=self.refused or None,
            metadata=self.metadata,
        )


def refund_key(order_id: OrderId, refund_id: str, attempt: int) -> str:
    """Return the gateway's idempotency key of one attempt; an order id contains no slash."""
    return f"oms/{order_id}/refund/{refund_id}/{attempt}"
