"""Lines and charges: what they refuse, and that the shares of a line always add up."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as some

from oms.domain.errors import InvalidValue
from oms.domain.lines import OrderCharge, OrderLine, checked_charges, checked_lines, concerned
from oms.domain.money import Currency, Money
from oms.domain.values import Sku

EUR, USD = Currency.of("EUR"), Currency.of("USD")
PRICED = OrderLine.of("lamp", 3, Money.of("19.99", EUR), "Desk lamp")
PLAIN = OrderLine.of("bulb", 1)


@given(minor=some.integers(0, 10**6), quantity=some.integers(1, 50), data=some.data())
def test_the_shares_of_a_line_add_up_however_its_units_are_divided(minor: int, quantity: int, data) -> None:
    line = OrderLine(Sku("lamp"), quantity, Money(minor, EUR))
    shares, counted = [], 0
    while counted < quantity:
        units = data.draw(some.integers(1, quantity - counted))
        shares.append(line.share(counted, units))
        counted += units
    assert sum(shares) == minor
    assert min(shares) >= 0


def test_three_units_at_19_99() -> None:
    assert [PRICED.share(first, 1) for first in range(3)] == [666, 666, 667]
    assert PLAIN.share(0, 1) == 0


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("no_items", []),
        ("too_many_items", [OrderLine.of(f"p{number}", 1) for number in range(101)]),
        ("repeated_product", [PLAIN, PLAIN]),
        ("amounts_on_some_lines", [PRICED, PLAIN]),
    ],
)
def test_lines_that_are_refused(code: str, lines: list[OrderLine]) -> None:
    with pytest.raises(InvalidValue) as refused:
        checked_lines(lines)
    assert refused.value.code == code


@pytest.mark.parametrize("name", ["", "x" * 201, "a\x00b", "\ud800", 7])
def test_names_that_are_refused(name) -> None:
    with pytest.raises(InvalidValue) as refused:
        OrderLine.of("lamp", 1, None, name)
    assert refused.value.code == "invalid_text"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("invalid_id", OrderLine(Sku("no spaces"), 1)),
        ("invalid_quantity", OrderLine(Sku("lamp"), 0)),
        ("invalid_amount", OrderLine(Sku("lamp"), 1, 5)),  # type: ignore[arg-type]
        ("invalid_text", OrderLine(Sku("lamp"), 1, None, "\ud800")),
    ],
)
def test_lines_made_without_checks_are_checked_in_an_order(code: str, line: OrderLine) -> None:
    with pytest.raises(InvalidValue) as refused:
        checked_lines([line])
    assert refused.value.code == code


def test_endless_lines_and_charges_are_refused() -> None:
    with pytest.raises(InvalidValue, match="at most 100"):
        checked_lines(OrderLine.of(f"p{number}", 1) for number in count())
    with pytest.raises(InvalidValue, match="at most 20"):
        checked_charges((OrderCharge.of("tax", Money.of(0, EUR)) for _ in count()), [PRICED])


def test_charges_that_are_refused() -> None:
    wrap = OrderCharge.of("gift.wrap", Money.of(1, EUR))
    assert checked_charges([wrap], [PRICED]) == (wrap,)
    for code, charges, lines in [
        ("charges_without_amounts", [wrap], [PLAIN]),
        ("charges_without_amounts", [wrap], []),
        ("too_many_charges", [wrap] * 21, [PRICED]),
    ]:
        with pytest.raises(InvalidValue) as refused:
            checked_charges(charges, lines)
        assert refused.value.code == code
    for kind, amount in [("gift wrap", Money.of(1, EUR)), ("wrap", 1)]:
        with pytest.raises(InvalidValue):
            checked_charges([OrderCharge(kind, amount)], [PRICED])  # type: ignore[arg-type]


def test_the_lines_that_a_part_concerns_have_its_units() -> None:
    assert concerned([PRICED, PLAIN], {Sku("lamp"): 2}) == (OrderLine(Sku("lamp"), 2, None, "Desk lamp"),)
