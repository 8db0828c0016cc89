"""Units and money of an order after its confirmation: amounts by default, and commands that are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from oms.domain.commands import RefundOrder, ShipOrder
from oms.domain.errors import Conflict, InvalidValue
from oms.domain.fulfilment import MAX_PARTS, Fulfilment
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Currency, Money
from oms.domain.part_events import all_parts, completed, instructed, shipped
from oms.domain.refund import RefundState, Refusal
from oms.domain.shipment import Shipment
from oms.domain.terms import Terms
from oms.domain.values import OrderId, Sku

AT = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = Terms.checked("u", Money.of(20, Currency.of("USD")), {"lamp": 2})
ONE_LAMP = ShipOrder.of("o", {"lamp": 1}, "DHL")
USD = Currency.of("USD")
PRICED = Terms.checked(
    "u",
    Money.of("24.98", USD),
    lines=[OrderLine.of("lamp", 3, Money.of("19.99", USD)), OrderLine.of("bulb", 1, Money.of(0, USD))],
    charges=[OrderCharge.of("shipping", Money.of("4.99", USD))],
)
"""Three units whose price can't be divided by three, one that costs nothing, and shipping."""


def refund(known: Fulfilment, refund_id: str, kind: str, terms: Terms = PRICED, **details: Any) -> Fulfilment:
    return known.refunding(refund_id, RefundOrder.of("o", kind, "why", **details), terms, AT)


def amounts(known: Fulfilment) -> list[int]:
    return [one.amount.minor for one in known.refunds]


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


def test_units_refunded_one_by_one_get_the_price_of_their_line_and_no_charge() -> None:
    known = Fulfilment().ship("s-1", ShipOrder.of("o", {"lamp": 2}), PRICED.items, AT)
    known = refund(known, "c-1", "CANCEL", items={"lamp": 1})
    known = refund(known, "r-1", "RETURN", items={"lamp": 1})
    known = refund(known, "r-2", "RETURN")
    assert amounts(known) == [666, 666, 667]
    assert [one.restock for one in known.refunds] == [True, False, False]
    known = refund(known, "c-2", "CANCEL")
    assert amounts(known)[-1] == 0, "the last open unit costs nothing"
    assert not known.open_items(PRICED.items)


@pytest.mark.parametrize("items", [None, {"lamp": 3, "bulb": 1}])
def test_an_order_that_is_cancelled_before_its_first_shipment_is_refunded_with_its_charges(items: Any) -> None:
    given = refund(Fulfilment(), "g-1", "GOODWILL", amount="3.00")
    assert amounts(refund(given, "c-1", "CANCEL", items=items)) == [300, 2198]
    assert amounts(refund(given, "c-1", "CANCEL", items=items, amount="21.98")) == [300, 2198]
    for amount in ("21.97", "21.99", 0):
        with pytest.raises(InvalidValue) as refused:
            refund(given, "c-1", "CANCEL", items=items, amount=amount)
        assert refused.value.code == "amount_must_be_rest"


def test_the_last_of_several_cancels_gets_all_that_is_left() -> None:
    known = refund(Fulfilment(), "c-1", "CANCEL", items={"lamp": 3}, amount="24.98")
    assert amounts(refund(known, "c-2", "CANCEL")) == [2498, 0]


def test_units_are_cancelled_without_money_if_the_caller_says_so() -> None:
    known = refund(Fulfilment(), "c-1", "CANCEL", items={"lamp": 1}, amount=0, restock=False)
    assert amounts(known) == [0]
    assert not known.refunds[0].restock


@pytest.mark.parametrize(
    ("kind", "details", "terms"),
    [
        ("GOODWILL", {}, PRICED),
        ("CANCEL", {"items": {"lamp": 1}}, TERMS),
    ],
)
def test_an_amount_that_has_no_default_is_required(kind: str, details: dict[str, Any], terms: Terms) -> None:
    with pytest.raises(InvalidValue) as refused:
        refund(Fulfilment(), "r-1", kind, terms, **details)
    assert refused.value.code == "amount_required"


@pytest.mark.parametrize("amount", ["0.001", "1.999"])
def test_an_amount_has_no_more_places_than_its_currency(amount: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        refund(Fulfilment(), "g-1", "GOODWILL", amount=amount)
    assert refused.value.code == "invalid_amount"


@pytest.mark.parametrize(
    ("kind", "items", "message"),
    [
        ("CANCEL", {"lamp": 3}, "3 units of lamp are wanted, 2 are open"),
        ("CANCEL", {"sofa": 1}, "1 units of sofa are wanted, 0 are open"),
        ("RETURN", {"lamp": 2}, "2 units of lamp are wanted, 1 are shipped and not returned"),
        ("RETURN", {"bulb": 1}, "1 units of bulb are wanted, 0 are shipped and not returned"),
    ],
)
def test_more_units_than_there_are_cant_be_refunded(kind: str, items: dict[str, int], message: str) -> None:
    known = Fulfilment().ship("s-1", ONE_LAMP, PRICED.items, AT)
    with pytest.raises(Conflict, match=message) as refused:
        refund(known, "r-1", kind, items=items, amount=1)
    assert refused.value.code == "not_enough_units"


def test_a_refund_or_shipment_of_all_units_needs_units() -> None:
    with pytest.raises(Conflict, match="no units are shipped and not returned"):
        refund(Fulfilment(), "r-1", "RETURN")
    known = Fulfilment().ship("s-1", ShipOrder.of("o"), PRICED.items, AT)
    with pytest.raises(Conflict, match="no units are open"):
        refund(known, "c-1", "CANCEL")
    with pytest.raises(Conflict, match="no units are open"):
        known.ship("s-2", ShipOrder.of("o"), PRICED.items, AT)


def test_an_order_has_a_largest_number_of_parts() -> None:
    known = Fulfilment()
    for number in range(MAX_PARTS):
        known = refund(known, f"g-{number}", "GOODWILL", amount=0)
    for add in (
        lambda: refund(known, "g", "GOODWILL", amount=0),
        lambda: known.ship("s-1", ONE_LAMP, PRICED.items, AT),
    ):
        with pytest.raises(Conflict) as refused:
            add()
        assert refused.value.code == "too_many_parts"


def test_the_first_shipment_names_the_amount_to_capture() -> None:
    known = refund(Fulfilment(), "g-1", "GOODWILL", amount="4.98")
    known = known.ship("s-1", ONE_LAMP, PRICED.items, AT)
    known = refund(known, "g-2", "GOODWILL", amount="1.00")
    known = known.ship("s-2", ShipOrder.of("o"), PRICED.items, AT)
    amounts_to_capture = [shipped(OrderId("o"), PRICED, known, one).capture_amount for one in known.shipments]
    assert amounts_to_capture == [Money.of(20, USD), None]


def test_a_completion_is_the_same_after_later_refunds() -> None:
    known = refund(Fulfilment(), "c-1", "CANCEL", items={"lamp": 1}).ship("s-1", ShipOrder.of("o"), PRICED.items, AT)
    event = completed(OrderId("o"), PRICED, known)
    assert event.refunded.minor == 666
    assert completed(OrderId("o"), PRICED, refund(known, "r-1", "RETURN", items={"lamp": 1})) == event


def test_there_is_no_event_about_a_refusal_that_waits_for_an_operator() -> None:
    with pytest.raises(ValueError, match="no instruction about refund r-1"):
        instructed(OrderId("o"), PRICED, Refusal("r-1", 1))
    assert list(all_parts(OrderId("o"), PRICED, Fulfilment(refusals=(Refusal("r-1", 1),)))) == []
