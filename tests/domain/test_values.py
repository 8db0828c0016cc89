"""Values are checked once, where they are made: exact, bounded, and quick whatever they are given."""

from __future__ import annotations

from contextlib import suppress
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.domain.commands import AddStock, InstructPayment, PlaceOrder, RefundOrder, SetStock, ShipOrder
from oms.domain.errors import Conflict, InvalidValue
from oms.domain.money import MAX_MINOR, Currency, Money
from oms.domain.refund import WHOLE, Instruction, RefundKind
from oms.domain.stock import Movement, MovementKind, Stock, movements, shortages
from oms.domain.terms import Terms
from oms.domain.values import (
    MAX_LINES,
    MAX_METADATA_BYTES,
    MAX_QUANTITY,
    Sku,
    checked_id,
    checked_items,
    checked_metadata,
)

USD, JPY, KWD = Currency.of("USD"), Currency.of("JPY"), Currency.of("KWD")


def code(call, *arguments, **named) -> str:
    with pytest.raises(InvalidValue) as refused:
        call(*arguments, **named)
    assert refused.value.detail
    return refused.value.code


@given(st.integers(0, MAX_MINOR), st.sampled_from([USD, JPY, KWD, Currency.of("CLF")]))
def test_every_amount_comes_back_exactly(minor: int, currency: Currency) -> None:
    money = Money(minor, currency)
    assert Money.of(money.amount, currency) == money
    assert Money.of(str(money.amount), currency) == money


@given(st.decimals(0, 10**9, places=6), st.sampled_from([USD, JPY, KWD]))
def test_a_rounded_amount_is_the_nearest_one_and_ties_go_up(amount: Decimal, currency: Currency) -> None:
    """By a decimal context of the test's own: the program's may be any."""
    exact = Context(prec=60, rounding=ROUND_HALF_UP)
    nearest = exact.quantize(exact.scaleb(amount, currency.exponent), Decimal(1))
    with localcontext(Context(prec=5)):
        assert Money.rounded(amount, currency).minor == nearest


@pytest.mark.parametrize(
    ("amount", "minor"),
    [("19.999", 2000), ("19.994", 1999), ("19.995", 2000), ("0.005", 1), ("0.0049", 0), ("1e-999", 0), ("0", 0)],
)
def test_a_rounded_amount(amount: str, minor: int) -> None:
    assert Money.rounded(amount, USD) == Money(minor, USD)


@pytest.mark.parametrize("amount", ["-0.001", "NaN", "x", "1e30", str(MAX_MINOR), f"{MAX_MINOR // 100}.999"])
def test_rounding_keeps_the_bounds(amount: str) -> None:
    assert code(Money.rounded, amount, USD) == "invalid_amount"


def test_a_currency_is_shown_as_its_code() -> None:
    assert str(USD) == "USD"


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_an_amount_is_exact_or_refused(amount: Decimal) -> None:
    try:
        money = Money.of(amount, USD)
    except InvalidValue:
        return
    assert Decimal(money.minor) == amount * 100


@pytest.mark.parametrize(
    "amount",
    [
        "-1",
        "0.001",
        "NaN",
        "Infinity",
        "1e999999999",
        "1e-999999999",
        "x",
        "",
        str(MAX_MINOR),
        "1.00000000000000000000000001",
    ],
)
def test_amounts_that_are_refused(amount: str) -> None:
    assert code(Money.of, amount, USD) == "invalid_amount"


def test_amounts_are_shown_without_needless_places() -> None:
    assert str(Money.of("500.00", USD)) == "500.00 USD"
    assert str(Money.of("499.9", USD)) == "499.90 USD"
    assert Money.of("-0.00", USD).minor == 0
    assert Money.of("1e3", JPY).minor == 1000
    assert code(Money.of, "0.5", JPY) == "invalid_amount"
    assert Money.of("0.005", KWD).minor == 5


@pytest.mark.parametrize("text", ["usd", "US", "USDX", "U1D", "ÜSD", ""])
def test_currencies_that_are_none(text: str) -> None:
    assert code(Currency.of, text) == "invalid_currency"


@given(st.from_regex(r"\A[A-Za-z0-9._:-]{1,64}\Z"))
def test_ids_that_are_fine(text: str) -> None:
    assert checked_id(text, name="x") == text


@pytest.mark.parametrize("text", ["", "a b", "a\n", "ä", "x" * 65, None, 7, "a/b", "\x00"])
def test_ids_that_are_refused(text: object) -> None:
    assert code(checked_id, text, name="userId") == "invalid_id"


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 50)), min_size=1, max_size=40))
def test_lines_of_a_product_are_summed(lines: list[tuple[str, int]]) -> None:
    items = checked_items(lines)
    assert sum(items.values()) == sum(units for _, units in lines)
    assert checked_items(dict(items)) == items


@pytest.mark.parametrize("quantity", [0, -1, MAX_QUANTITY + 1, 1.5, "2", True, None])
def test_quantities_that_are_refused(quantity: object) -> None:
    assert code(checked_items, [("a", quantity)]) == "invalid_quantity"


def test_bounds_of_items() -> None:
    assert code(checked_items, {}) == "no_items"
    assert code(checked_items, [(f"s-{n}", 1) for n in range(MAX_LINES + 1)]) == "too_many_items"
    assert code(checked_items, [("a", MAX_QUANTITY), ("a", 1)]) == "invalid_quantity"
    assert len(checked_items([(f"s-{n}", 1) for n in range(MAX_LINES)])) == MAX_LINES


def test_metadata() -> None:
    assert checked_metadata(None) == checked_metadata({}) == {}
    assert checked_metadata({"a": "ü"}) == {"a": "ü"}
    assert code(checked_metadata, {"a": 1}) == "invalid_metadata"
    assert code(checked_metadata, {"a": "\x00"}) == "invalid_metadata"
    assert code(checked_metadata, {"a": "\ud800"}) == "invalid_metadata"
    assert code(checked_metadata, {"a": "x" * 4096}) == "metadata_too_large"
    assert checked_metadata({"a": "x" * 4095})


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=1500), max_size=6))
def test_metadata_is_kept_as_it_is_or_refused(metadata: dict[str, str]) -> None:
    text = "".join([*metadata, *metadata.values()])
    try:
        assert checked_metadata(metadata) == metadata
        assert len(text.encode()) <= MAX_METADATA_BYTES
    except InvalidValue:
        assert "\x00" in text or len(text.encode()) > MAX_METADATA_BYTES


@pytest.mark.parametrize(
    "amount", ["1e1000000000", "1e-1000000000", "9" * 100_000, "0." + "0" * 100_000 + "1", "-0e999999"]
)
def test_no_amount_takes_long(amount: str) -> None:
    started = perf_counter()
    with suppress(InvalidValue):
        assert Money.of(amount, USD).minor == 0
    assert perf_counter() - started < 0.1


@given(st.lists(st.tuples(st.sampled_from("hcrk"), st.sampled_from("ab"), st.integers(1, 3)), max_size=30))
def test_stock_is_the_fold_of_its_ledger(tries: list[tuple[str, str, int]]) -> None:
    kinds = {"h": MovementKind.HOLD, "c": MovementKind.COMMIT, "r": MovementKind.RELEASE, "k": MovementKind.RESTOCK}
    stock, ledger = {Sku(sku): Stock(Sku(sku), 6) for sku in "ab"}, []
    for kind, sku, units in tries:
        (movement,) = movements("o", kinds[kind], {Sku(sku): units})
        with suppress(Conflict):
            stock[movement.sku] = stock[movement.sku].moved(movement)
            ledger.append(movement)
    for sku, now in stock.items():
        assert now.on_hand == 6 + sum(row.on_hand for row in ledger if row.sku == sku)
        assert now.held == sum(row.held for row in ledger if row.sku == sku)
        assert 0 <= now.held <= now.on_hand


def test_commands_are_checked_where_they_are_made() -> None:
    order = PlaceOrder.of("u", Money.of(1, USD), {"a": 1}, {"k": "v"})
    assert order.terms == Terms.checked("u", Money.of(1, USD), {"a": 1}, {"k": "v"})
    assert SetStock.of("a", 0).on_hand == 0
    assert AddStock.of("a", -3).delta == -3
    assert code(SetStock.of, "a", -1) == "invalid_units"
    assert code(SetStock.of, "a", 1.5) == "invalid_units"
    assert code(AddStock.of, "a", True) == "invalid_units"
    assert code(AddStock.of, "a", 0) == "invalid_units"
    assert code(AddStock.of, "a", 10**13) == "invalid_units"
    assert code(SetStock.of, "", 1) == "invalid_id"


def test_commands_about_shipments_and_refunds_are_checked_where_they_are_made() -> None:
    assert ShipOrder.of("o", None, "DHL", "JD01").items is None
    refund = RefundOrder.of("o", "RETURN", "too small", items={"a": 1}, amount="1.50", restock=True)
    assert refund == RefundOrder.of(
        "o", RefundKind.RETURN, "too small", items=refund.items, amount=Decimal("1.5"), restock=True
    )
    assert InstructPayment.to(Instruction.RETRY, "o", WHOLE, "funds are there").of == WHOLE
    assert code(ShipOrder.of, "o o") == "invalid_id"
    assert code(ShipOrder.of, "o", {}) == "no_items"
    assert code(ShipOrder.of, "o", {"a": 0}) == "invalid_quantity"
    assert code(ShipOrder.of, "o", None, "x" * 101) == "invalid_text"
    assert code(ShipOrder.of, "o", None, "DHL", "") == "invalid_text"
    assert code(RefundOrder.of, "o", "GIFT", "why") == "invalid_kind"
    assert code(RefundOrder.of, "o", "GOODWILL", "why", items={"a": 1}, amount=1) == "goodwill_has_no_items"
    assert code(RefundOrder.of, "o", "GOODWILL", "why", amount=1, restock=True) == "goodwill_has_no_items"
    assert code(RefundOrder.of, "o", "CANCEL", "") == "invalid_text"
    assert code(RefundOrder.of, "o", "CANCEL", "x" * 501) == "invalid_text"
    assert code(RefundOrder.of, "o", "GOODWILL", "why", amount=-1) == "invalid_amount"
    assert code(RefundOrder.of, "o", "GOODWILL", "why", amount="NaN") == "invalid_amount"
    assert code(InstructPayment.to, Instruction.RESOLVE, "o", "x" * 37, "why") == "invalid_id"
    assert code(InstructPayment.to, Instruction.RESOLVE, "o", "", "why") == "invalid_id"
    assert code(InstructPayment.to, Instruction.RESOLVE, "o", WHOLE, "\x00") == "invalid_text"


@given(st.lists(st.tuples(st.sampled_from(list(MovementKind)), st.integers(-20, 20), st.integers(-20, 20))))
def test_stock_stays_within_its_bounds_whatever_is_tried(tries: list[tuple[MovementKind, int, int]]) -> None:
    stock = Stock(Sku("a"), 10)
    for kind, on_hand, held in tries:
        try:
            stock = stock.moved(Movement("r", Sku("a"), kind, on_hand, held))
        except Conflict:
            continue
        assert 0 <= stock.held <= stock.on_hand
        assert stock.available == stock.on_hand - stock.held


def test_shortages_name_every_line_that_does_not_fit() -> None:
    stock = {Sku("a"): Stock(Sku("a"), 5, 3), Sku("b"): Stock(Sku("b"), 9)}
    short = shortages(checked_items({"c": 1, "a": 3, "b": 9}), stock)
    assert [(s.sku, s.requested, s.available) for s in short] == [("a", 3, 2), ("c", 1, 0)]


def test_hold_commit_restock_add_up_to_nothing() -> None:
    items = checked_items({"a": 2, "b": 3})
    kinds = (MovementKind.HOLD, MovementKind.COMMIT, MovementKind.RESTOCK)
    rows = [row for kind in kinds for row in movements("o", kind, items)]
    assert sum(row.on_hand for row in rows) == sum(row.held for row in rows) == 0


@pytest.mark.parametrize("minor", [-1, 299.7, True, MAX_MINOR + 1, None, "5"])
def test_money_is_whole_minor_units_however_it_is_made(minor: Any) -> None:
    with pytest.raises(InvalidValue, match="whole number of minor units"):
        Money(minor, Currency.of("USD"))


def test_money_has_a_currency() -> None:
    with pytest.raises(InvalidValue, match="must be a Currency"):
        Money(1, "USD")  # type: ignore[arg-type]
