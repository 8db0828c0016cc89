"""A shop's own gateway that shows a book: `expect(order).paid()` and `oms verify` compare its money with the orders."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

import oms
from oms.application.extensions.gateway import CheckedBook, book_of
from oms.bootstrap.operators import reconcile
from oms.ports.errors import WrongAnswer
from oms.testing import Shop
from oms.testing.expect import Unmet


class FileGateway(oms.PaymentGateway):
    """Captures every charge. The book is a file of JSON lines; nothing of the shop's own names `oms.GatewayBook`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def charge(self, charge: oms.Charge) -> oms.Captured:
        self._write(charge.key, "CAPTURE", charge.amount.minor)
        return oms.Captured(f"p-{charge.key}"[:64])

    def lookup(self, lookup: oms.Lookup) -> oms.UnknownCharge:
        return oms.UnknownCharge()

    def void(self, void: oms.Void) -> oms.Voided:
        return oms.Voided()

    def refund(self, refund: oms.Refund) -> oms.Refunded:
        self._write(refund.charge_key, "REFUND", refund.amount.minor)
        return oms.Refunded()

    def all_entries(self) -> Iterable[oms.BookEntry]:
        for line in self.path.read_text().splitlines():
            key, kind, amount = json.loads(line)
            yield oms.BookEntry(key, oms.BookKind(kind), amount, datetime.now(UTC))

    def _write(self, key: str, kind: str, amount: int) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps([key, kind, amount]) + "\n")


MODULE = "a_gateway_with_a_book"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FileGateway]:
    """The gateway, and an import path that makes another one on the same book, as `oms verify` does."""
    made = FileGateway(tmp_path / "book.jsonl")
    module = type(sys)(MODULE)
    module.made = 0  # type: ignore[attr-defined]

    def make() -> FileGateway:
        module.made += 1  # type: ignore[attr-defined]
        return FileGateway(made.path)

    module.make = make  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    yield made
    del sys.modules[MODULE]


def settings_of(shop: Shop) -> oms.Settings:
    return attrs.evolve(shop.app.settings, payment_gateway=f"{MODULE}:make")


def embedded(gateway: FileGateway, tmp_path: Path) -> Shop:
    return Shop(gateway=gateway, profile="embedded", data=tmp_path / "data")


def test_money_is_that_of_the_gateways_own_book(gateway: FileGateway) -> None:
    with Shop(gateway=gateway) as shop:
        order, back = shop.place(amount="19.90"), shop.place(amount=30)
        shop.run()
        shop.cancel(back, by_operator=True)
        shop.run()
        shop.expect(order).paid("19.90")
        shop.expect(back).paid_nothing()
        shop.expect().promises_kept()
        with pytest.raises(Unmet, match=r"20.00 USD paid\n   found 19\.90 USD"):
            shop.expect(order).paid(20)
        assert "payment CAPTURED: in the gateway's book: CAPTURE" in shop.story()


def test_verify_reads_the_book_of_the_gateway_that_the_settings_name(gateway: FileGateway, tmp_path: Path) -> None:
    with embedded(gateway, tmp_path) as shop:
        order = shop.place(amount=30)
        shop.run()
    report = oms.verify(settings_of(shop))
    assert "P4" in report.checked
    assert report.whole, report.violations
    gateway._write(f"oms-{order.id}", "CAPTURE", 3000)
    broken = {violation.promise for violation in oms.verify(settings_of(shop)).violations}
    assert broken == {"P4"}


def test_verify_of_a_gateway_that_shows_none_checks_no_money(gateway: FileGateway, tmp_path: Path) -> None:
    """Also where a simulated gateway has left a book of its own in the directory."""
    with embedded(gateway, tmp_path) as shop:
        shop.place()
        shop.run()
    (tmp_path / "data" / "gateway.db").write_text("not a book of this gateway")
    calls = dict.fromkeys(("charge", "lookup", "void", "refund"), lambda _gateway, _call: None)
    sys.modules[MODULE].make = type("WithoutBook", (), calls)  # type: ignore[attr-defined]
    report = oms.verify(settings_of(shop))
    assert report.whole
    assert "P4" not in report.checked


def test_reconcile_makes_no_gateway(gateway: FileGateway, tmp_path: Path) -> None:
    with embedded(gateway, tmp_path) as shop:
        shop.place()
        shop.run()
    assert reconcile(settings_of(shop)) == []
    assert sys.modules[MODULE].made == 0  # type: ignore[attr-defined]


AT = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = oms.BookEntry("oms-1", oms.BookKind.CAPTURE, 100, AT)
WRONG: list[Any] = [
    None,
    "CAPTURE oms-1 100",
    ("oms-1", oms.BookKind.CAPTURE, 100, AT),
    attrs.evolve(GOOD, key=1),
    attrs.evolve(GOOD, kind="CAPTURE"),
    attrs.evolve(GOOD, amount=1.0),
    attrs.evolve(GOOD, amount=True),
    attrs.evolve(GOOD, amount=-100),
    attrs.evolve(GOOD, at=datetime(2026, 1, 1)),
    attrs.evolve(GOOD, at=None),
    attrs.evolve(GOOD, currency=b"EUR"),
    attrs.evolve(GOOD, refund_key=1),
]


@pytest.mark.parametrize("entry", WRONG, ids=ascii)
def test_an_entry_that_no_sum_can_be_made_of_is_refused(entry: Any) -> None:
    class Book:
        def all_entries(self) -> Iterable[Any]:
            return [GOOD, entry]

    book = book_of(Book())
    assert isinstance(book, CheckedBook)
    with pytest.raises(WrongAnswer, match=r"all_entries\(\) returned .*; expected a BookEntry"):
        list(book.all_entries())


def test_a_gateway_without_the_method_shows_no_book() -> None:
    assert book_of(object()) is None
