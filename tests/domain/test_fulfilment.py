"""Units and money of an order after its confirmation."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from oms.domain.commands import RefundOrder, ShipOrder
from oms.domain.errors import Conflict
from oms.domain.fulfilment import Fulfilment
from oms.domain.money import Currency, Money
from oms.domain.part_events import all_parts
from oms.domain.refund import RefundState
from oms.domain.shipment import Shipment
from oms.domain.terms import Terms
from oms.domain.values import OrderId, Sku

AT = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = Terms.checked("u", Money.of(20, Currency.of("USD")), {"lamp": 2})
ONE_LAMP = ShipOrder.of("o", {"lamp": 1}, "DHL")


def test_units_that_were_shipped_are_not_open() -> None:
    fulfilment = Fulfilment().ship("s-1", ONE_LAMP, TERMS.items, AT)
    assert fulfilment.shipments == (Shipment("s-1", {Sku("lamp"): 1}, AT, "DHL"),)
    assert dict(fulfilment.open_items(TERMS.items)) == {"lamp": 1}
    with pytest.raises(Conflict) as refused:
        fulfilment.ship("s-2", ShipOrder.of("o", {"lamp": 2}), TERMS.items, AT)
    assert refused.value.code == "not_enough_units"


def test_refunds_never_exceed_the_total() -> None:
    goodwill = RefundOrder.of("o", "GOODWILL", "late", amount="19.99")
    fulfilment = Fulfilment().refunding("r-1", goodwill, TERMS, AT)
    assert fulfilment.state_of(fulfilment.refunds[0]) is RefundState.DUE
    with pytest.raises(Conflict) as refused:
        fulfilment.refunding("r-2", RefundOrder.of("o", "GOODWILL", "late", amount="0.02"), TERMS, AT)
    assert refused.value.code == "refund_exceeds_total"
    (event,) = all_parts(OrderId("o"), TERMS, fulfilment)
    assert event.part == "r-1"
