"""Orders that were shipped and refunded, and records of them that a test has changed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

import oms
from oms.operations import promises
from oms.operations.promises import Report
from oms.ports.messages import Record
from oms.testing import Shop


class RefusingGateway(oms.PaymentGateway, oms.GatewayBook):
    """Captures every charge. Refuses refunds while `refuses`, under their keys for ever, and pays the others."""

    def __init__(self) -> None:
        self.refuses = False
        self.entries: list[oms.BookEntry] = []
        self._answers: dict[str, oms.Refunded | oms.Declined] = {}
        self.calls: list[object] = []
        self.clock: Any = None

    def charge(self, charge: oms.Charge) -> Any:
        at = self.clock.now()
        self.calls.append(charge)
        self.entries.append(oms.BookEntry(charge.key, oms.BookKind.CAPTURE, charge.amount.minor, at, "USD"))
        return oms.Captured("p-1")

    def lookup(self, lookup: oms.Lookup) -> Any:
        self.calls.append(lookup)
        return oms.UnknownCharge()

    def void(self, void: oms.Void) -> Any:
        self.calls.append(void)
        return oms.Captured("p-1")

    def refund(self, refund: oms.Refund) -> Any:
        self.calls.append(refund)
        if refund.key not in self._answers:
            self._answers[refund.key] = oms.Declined("insufficient funds") if self.refuses else oms.Refunded()
            if not self.refuses:
                self.pay(refund.key, refund.charge_key, refund.amount.minor)
        return self._answers[refund.key]

    def pay(self, refund_key: str, charge_key: str, minor: int) -> None:
        """Write a refund into the book."""
        at = self.clock.now()
        self.entries.append(oms.BookEntry(charge_key, oms.BookKind.REFUND, minor, at, "USD", refund_key))

    def all_entries(self) -> Iterable[oms.BookEntry]:
        return list(self.entries)


def refusing_shop(**given: Any) -> tuple[Shop, RefusingGateway]:
    """Return a shop with a gateway that refuses refunds when the test says so."""
    gateway = RefusingGateway()
    shop = Shop(gateway=gateway, **given)
    gateway.clock = shop.clock
    return shop, gateway


LINES = (oms.OrderLine.of("lamp", 3, oms.Money.of("59.97", oms.Currency.of("USD"))),)


def confirmed(shop: Shop) -> str:
    """Return a confirmed order of three lamps at 19.99."""
    order = shop.place(lines=LINES, amount="59.97")
    shop.run()
    shop.expect(order).confirmed()
    return order.id


def ship(shop: Shop, order_id: str, units: int) -> oms.Shipment:
    """Ship some lamps."""
    shipment = shop.app.orders.ship(oms.ShipOrder.of(order_id, {"lamp": units}))
    shop.run()
    return shipment


def refund(shop: Shop, order_id: str, kind: str, units: int = 0, **more: Any) -> oms.OrderRefund:
    """Refund some lamps, or money."""
    items = {"lamp": units} if units else None
    made = shop.app.orders.refund(oms.RefundOrder.of(order_id, kind, "a test", items=items, **more))
    shop.run()
    return made


def returned(shop: Shop) -> str:
    """Return an order with two parcels, a cancelled lamp that is on the shelf again, a returned lamp, and goodwill."""
    order_id = confirmed(shop)
    ship(shop, order_id, 1)
    refund(shop, order_id, "CANCEL", 1)
    ship(shop, order_id, 1)
    refund(shop, order_id, "RETURN", 1, restock=True)
    refund(shop, order_id, "GOODWILL", amount="0.97")
    return order_id


def checked(shop: Shop, **changed: Any) -> Report:
    """Check the promises against the shop's records, some of them changed."""
    evidence = attrs.evolve(shop.evidence, **changed)
    return promises.check(evidence, shop.codec, now=shop.now(), deadline_s=900, settle_s=60)


class Changed:
    """A service's records, with other answers of some methods."""

    def __init__(self, record: Any, **answers: Iterable[Any]) -> None:
        self._record = record
        self._answers: Mapping[str, list[Any]] = {name: list(some) for name, some in answers.items()}

    def __getattr__(self, name: str) -> Any:
        if name in self._answers:
            return lambda: iter(self._answers[name])
        return getattr(self._record, name)


class ShortLog:
    """A log without some of its records."""

    def __init__(self, shop: Shop, lost: Callable[[Record], bool]) -> None:
        self._log, self._lost = shop.log, lost

    def all_records(self) -> Iterator[Record]:
        return (record for record in self._log.all_records() if not self._lost(record))

    def offsets(self, group: str) -> Any:
        return self._log.offsets(group)


def found(report: Report) -> list[tuple[str, str]]:
    """Return the promises that are broken, each with its subject."""
    return [(violation.promise, violation.subject) for violation in report.violations]


def details(report: Report) -> str:
    """Return the sentences of the violations."""
    return "\n".join(f"{one.promise} {one.detail}" for one in report.violations)
