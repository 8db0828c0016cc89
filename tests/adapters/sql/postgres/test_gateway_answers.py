"""Odd answers of a gateway over a payment store on PostgreSQL: each payment goes on, and nothing is parked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import oms
from oms.testing import Shop
from tests.contracts.labs import OnPostgres

ANSWERS: list[Any] = [
    *map(oms.Captured, ["p" * 65, "a\ud83d", "a\0b", "x" * 1_000_000, 12345, None, "", b"p-1"]),  # type: ignore[arg-type]
    oms.Declined("\ud83d\0" * 100_000),
    oms.Unanswered("\ud83d\0" * 100_000),
    oms.Pending(None),  # type: ignore[arg-type]
    oms.NotAttempted("\0"),
    oms.NotFound("charge_not_found", "half an emoji \ud83d"),
    oms.Voided,
    None,
    "\0",
]


class Gateway(oms.PaymentGateway):
    """Answers the first call about each charge by the list, and captures at the second call."""

    def __init__(self) -> None:
        self.answers = list(ANSWERS)
        self.asked: set[str] = set()

    def charge(self, charge: oms.Charge) -> Any:
        if charge.key in self.asked:
            return oms.Captured("p-1")
        self.asked.add(charge.key)
        return self.answers.pop(0)

    def lookup(self, lookup: oms.Lookup) -> Any:
        return oms.Captured("p-1")

    def void(self, void: oms.Void) -> Any:
        return oms.Captured("p-1")

    def refund(self, refund: oms.Refund) -> Any:
        return oms.Refunded()


@pytest.mark.servers
class TestOddAnswers(OnPostgres):
    name = "payment"

    def test_every_payment_settles_and_goes_back(self, new_store: Callable[[], Any]) -> None:
        shop = Shop(gateway=Gateway(), clock=self.clock, stores={"payment": new_store()})
        orders = [shop.place() for _ in ANSWERS]
        shop.run()
        shop.advance(minutes=1)
        for order, answer in zip(orders, ANSWERS, strict=True):
            declined = isinstance(answer, oms.Declined)
            shop.expect(order).payment("DECLINED" if declined else "CAPTURED").nothing_parked()
            shop.expect(order).in_state("CANCELLED" if declined else "CONFIRMED")
            shop.cancel(order, by_operator=True)
        shop.advance(minutes=1)
        for order, answer in zip(orders, ANSWERS, strict=True):
            shop.expect(order).cancelled()
            shop.expect(order).payment("DECLINED" if isinstance(answer, oms.Declined) else "REFUNDED").nothing_parked()
