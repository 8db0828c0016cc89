"""The terms of an order: items or lines, and amounts that add up to the total."""

from __future__ import annotations

import pytest

from oms.domain.errors import InvalidValue
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Currency, Money
from oms.domain.terms import Terms

EUR, USD = Currency.of("EUR"), Currency.of("USD")
LINES = [OrderLine.of("lamp", 2, Money.of(20, EUR)), OrderLine.of("bulb", 1, Money.of(5, EUR))]
SHIPPING = OrderCharge.of("shipping", Money.of("4.90", EUR))


def terms(total: str, lines=LINES, charges=(SHIPPING,)) -> Terms:
    return Terms.checked("u", Money.of(total, EUR), lines=lines, charges=charges)


def test_lines_and_charges_are_the_total() -> None:
    agreed = terms("29.90")
    agreed.check_amounts()
    assert dict(agreed.items) == {"lamp": 2, "bulb": 1}
    Terms.checked("u", Money.of(7, EUR), lines=[OrderLine.of("lamp", 2)]).check_amounts()


@pytest.mark.parametrize("total", ["29.89", "29.91", "0", "1000000"])
def test_amounts_that_dont_add_up(total: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        terms(total).check_amounts()
    assert refused.value.code == "amounts_dont_add_up"


def test_a_sum_beyond_every_amount_is_refused() -> None:
    most = Money(10**15, EUR)
    with pytest.raises(InvalidValue, match="2000000000000000 minor units"):
        terms("5", [OrderLine.of("a", 1, most), OrderLine.of("b", 1, most)], ()).check_amounts()


def test_all_amounts_are_in_one_currency() -> None:
    for lines, charges in [
        ([OrderLine.of("lamp", 1, Money.of(10, USD))], ()),
        ([OrderLine.of("lamp", 1, Money.of(5, EUR))], (OrderCharge.of("tax", Money.of(5, USD)),)),
    ]:
        with pytest.raises(InvalidValue) as refused:
            terms("10", lines, charges)
        assert refused.value.code == "invalid_currency"


def test_either_items_or_lines() -> None:
    for items, lines in [(None, None), ({"lamp": 1}, LINES)]:
        with pytest.raises(InvalidValue) as refused:
            Terms.checked("u", Money.of(1, EUR), items, lines=lines)
        assert refused.value.code == "items_or_lines"


def test_an_order_without_lines_is_completed_by_one_with_them() -> None:
    plain = Terms.checked("u", Money.of("29.90", EUR), {"lamp": 2, "bulb": 1}, {"gift": "yes"})
    full = plain.completed_by(terms("29.90"))
    assert (full.lines, full.charges, full.metadata) == (tuple(LINES), (SHIPPING,), plain.metadata)
    assert plain.completed_by(terms("29.91")) is plain
    assert full.completed_by(terms("29.90", LINES[:1])) is full
