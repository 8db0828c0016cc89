"""A refund of a payment: its table, and the keys of its attempts."""

from __future__ import annotations

import pytest

from oms.domain.errors import ImpossibleTransition
from oms.domain.money import Currency, Money
from oms.domain.payment_refund import REFUND_TABLE, PaymentRefund, PaymentRefundState, RefundTrigger
from oms.domain.state_machine import Effect
from oms.domain.values import OrderId

DUE = PaymentRefund("r-1", Money.of(3, Currency.of("USD")), {}, state=PaymentRefundState.DUE)


@pytest.mark.parametrize("state", PaymentRefundState)
@pytest.mark.parametrize("trigger", RefundTrigger)
def test_a_refund_does_what_its_cell_says(state: PaymentRefundState, trigger: RefundTrigger) -> None:
    cell = REFUND_TABLE[state][trigger]
    refund = PaymentRefund("r-1", DUE.amount, {}, state=state)
    if cell.effect is Effect.IMPOSSIBLE:
        with pytest.raises(ImpossibleTransition):
            refund.after(trigger)
        return
    after, found = refund.after(trigger)
    assert found is cell
    assert after.state is (cell.to or state)


def test_only_a_retry_after_a_refusal_has_a_new_key() -> None:
    refused, _ = DUE.after(RefundTrigger.REFUSED, "no funds")
    assert (DUE.key(OrderId("o")), refused.key(OrderId("o"))) == ("oms/o/refund/r-1/1",) * 2
    again, _ = refused.after(RefundTrigger.RETRY)
    assert again.key(OrderId("o")) == "oms/o/refund/r-1/2"
