"""P4 of orders with refunds: the gateway's book against the payments and the orders, with lines changed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

import oms
from oms.domain.payment import refund_of_key
from oms.operations.promises import Report, at_every_instant
from oms.settings import Settings
from oms.testing import Shop
from tests.support.fulfilled_orders import (
    Changed,
    checked,
    confirmed,
    details,
    found,
    refund,
    refusing_shop,
    returned,
    ship,
)


@pytest.fixture(params=["memory", "embedded"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(settings=Settings(profile=request.param, data=tmp_path / "data"))


class Book:
    """A book with these lines."""

    def __init__(self, entries: Iterable[oms.BookEntry]) -> None:
        self._entries = list(entries)

    def all_entries(self) -> Iterable[oms.BookEntry]:
        return list(self._entries)


def lines_of(shop: Shop) -> list[oms.BookEntry]:
    assert shop.evidence.book is not None
    return list(shop.evidence.book.all_entries())


Change = Callable[[Sequence[oms.BookEntry]], Iterable[oms.BookEntry]]


def test_the_book_names_the_refunds(shop: Shop) -> None:
    order_id = returned(shop)
    order = shop.app.orders.get(order_id)
    keys = [line.refund_key for line in lines_of(shop)[1:]]
    assert [refund_of_key(key or "") for key in keys] == [one.id for one in order.fulfilment.refunds]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines, again(lines[1])], "paid its refund {first} 2 times"),
        (lambda lines: [*lines, again(lines[1], attempt=2)], "paid its refund {first} 2 times"),
        (lambda lines: [*lines, attrs.evolve(lines[1], refund_key=None)], "balance is -97 minor units"),
        (lambda lines: [*lines, attrs.evolve(lines[1], amount=1)], "balance is 1901 minor units instead of 1902"),
        (lambda lines: lines[:-1], "balance is 1999 minor units instead of 1902"),
        (lambda lines: lines[1:], "balance is -4095 minor units instead of 1902"),
        (lambda lines: [*lines, attrs.evolve(lines[1], amount=9999)], "14094 minor units of 5997 were refunded"),
    ],
)
def test_a_book_that_paid_other_refunds_is_found(shop: Shop, change: Change, said: str) -> None:
    order_id = returned(shop)
    first = shop.app.orders.get(order_id).fulfilment.refunds[0].id
    shop.place()  # so that the system isn't at rest
    book = Book(change(lines_of(shop)))
    report = checked(shop, book=book)
    assert not report.quiet
    assert set(found(report)) == {("P4", order_id)}
    assert said.format(first=first) in details(report)
    assert {one.promise for one in at_every_instant(attrs.evolve(shop.evidence, book=book))} == {"P4"}


def again(line: oms.BookEntry, attempt: int = 1) -> oms.BookEntry:
    key = (line.refund_key or "").rpartition("/")[0]
    return attrs.evolve(line, refund_key=f"{key}/{attempt}", amount=0)


def test_a_refund_on_its_way_may_be_in_the_book_or_not(shop: Shop) -> None:
    order_id = confirmed(shop)
    lines = lines_of(shop)
    made = shop.app.orders.refund(oms.RefundOrder.of(order_id, "GOODWILL", "a test", amount="5.00"))
    services = shop.app.system.assemblies
    services["order"].relay.run_once()
    services["payment"].consumer.run_once()
    (payment,) = shop.evidence.payment.all_payments()
    assert [one.id for one in payment.refunds] == [made.id]
    key = f"oms/{order_id}/refund/{made.id}/1"
    paid = attrs.evolve(lines[0], kind=oms.BookKind.REFUND, amount=500, refund_key=key)
    assert checked(shop, book=Book(lines)).violations == ()
    assert checked(shop, book=Book([*lines, paid])).violations == ()
    report = checked(shop, book=Book([*lines, attrs.evolve(paid, amount=501)]))
    assert "balance is 5496 minor units instead of 5497 to 5997" in details(report)

    shop.run()
    assert checked(shop).violations == ()
    report = checked(shop, book=Book(lines))
    assert found(report) == [("P4", order_id)]
    assert "balance is 5997 minor units instead of 5497" in details(report)


def refused(decide: str | None = None) -> tuple[Shop, Any, str, oms.OrderRefund]:
    """Return a shop with a shipped order whose refund the gateway refused, and an operator decided about."""
    shop, gateway = refusing_shop()
    order_id = confirmed(shop)
    ship(shop, order_id, 1)
    gateway.refuses = True
    made = refund(shop, order_id, "GOODWILL", amount="5.00")
    gateway.refuses = False
    if decide is not None:
        getattr(shop.app.orders, f"{decide}_payment")(order_id, made.id, "a test")
        shop.run()
    return shop, gateway, order_id, made


@pytest.mark.parametrize(
    ("decide", "wanted"), [(None, "instead of 5997"), ("resolve", "instead of 5997"), ("retry", "paid its refund")]
)
def test_a_refused_refund_that_the_gateway_paid_is_found(decide: str | None, wanted: str) -> None:
    """It was resolved by other means, for instance, and the gateway had paid it although it had refused it."""
    shop, gateway, order_id, made = refused(decide)
    report = checked(shop)
    assert (report.violations, report.quiet) == ((), True)
    assert "P4" in report.checked
    gateway.pay(f"oms/{order_id}/refund/{made.id}/1", f"oms-{order_id}", 500)
    shop.place()
    report = checked(shop)
    assert not report.quiet
    assert {one.subject for one in report.violations} == {order_id}
    assert wanted in details(report)


def test_a_payment_that_changes_while_the_book_is_read_is_no_violation() -> None:
    """The order is read again, and so is the payment: the gateway pays in between."""
    shop, gateway, order_id, made = refused()

    class Late(Book):
        def all_entries(self) -> Iterable[oms.BookEntry]:
            shop.app.orders.retry_payment(order_id, made.id, "while the book is read")
            shop.run()
            return gateway.all_entries()

    assert checked(shop, book=Late(())).violations == ()
    assert gateway.all_entries()[-1].amount == 500


def cancelled(decide: str | None) -> tuple[Shop, Any, str]:
    shop, gateway = refusing_shop()
    order_id = confirmed(shop)
    gateway.refuses = True
    shop.cancel(order_id, by_operator=True)
    shop.run()
    gateway.refuses = False
    if decide is not None:
        getattr(shop.app.orders, f"{decide}_payment")(order_id, "whole", "a test")
        shop.run()
    return shop, gateway, order_id


@pytest.mark.parametrize(
    ("decide", "said"),
    [
        (None, "its payment is REFUNDING (refunds: 1 REFUSED), the gateway's balance is 0 minor units instead of 5997"),
        ("resolve", "its payment is REFUNDED (refunds: 1 PAID outside), the gateway's balance is 0 minor units"),
        ("retry", "paid its refund whole 2 times"),
    ],
)
def test_the_money_of_a_cancelled_order_is_where_its_refund_says(decide: str | None, said: str) -> None:
    shop, gateway, order_id = cancelled(decide)
    report = checked(shop)
    assert (report.violations, report.quiet) == ((), True)
    gateway.pay(f"oms-{order_id}", f"oms-{order_id}", 5997)
    report = checked(shop)
    assert {one.subject for one in report.violations} == {order_id}
    assert said in details(report)


def test_a_cancelled_order_whose_refund_never_moved_money_is_found() -> None:
    shop, gateway, order_id = cancelled("retry")
    gateway.entries.pop()
    assert "is CANCELLED" in details(checked(shop)) or "its payment is REFUNDED" in details(checked(shop))
    assert found(checked(shop)) == [("P4", order_id)]


def test_a_payment_that_oms_doesnt_know_in_a_foreign_book_is_counted(shop: Shop) -> None:
    returned(shop)
    (capture, *_) = lines_of(shop)
    report = checked(shop, book=Book([attrs.evolve(capture, key="web-1")]), whole_book=False)
    assert report.violations == ()
    assert isinstance(report, Report)
    assert any("1 confirmed order isn't in the gateway's book" in note for note in report.notes)


def test_payments_without_a_line_in_a_foreign_book_are_not_compared(shop: Shop) -> None:
    """A refund of 0 by the payment alone: the payment isn't in the book that began later."""
    order_id = confirmed(shop)
    refund(shop, order_id, "CANCEL", 3)
    payments = Changed(shop.evidence.payment)
    assert checked(shop, book=Book(()), whole_book=False, payment=payments).violations == ()
