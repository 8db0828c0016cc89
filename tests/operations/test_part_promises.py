"""`oms verify` of shipped and refunded orders: P2, P3, P5 and P12, with records that were changed by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

import oms
from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.payment import Payment
from oms.domain.payment_refund import PaymentRefundState
from oms.domain.refund import RefundState
from oms.domain.reservation import Reservation, Restock
from oms.domain.state_machine import evolve
from oms.domain.stock import Movement, MovementKind
from oms.domain.values import OrderId, Sku
from oms.operations.part_promises import Restocks
from oms.operations.promises import at_every_instant
from oms.operations.reconciliation import differences
from oms.operations.snapshot_rows import OrderSnapshot
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

LAMP = Sku("lamp")


@pytest.fixture(params=["memory", "embedded"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(settings=Settings(profile=request.param, data=tmp_path / "data"))


def test_an_order_with_parcels_and_refunds_keeps_all_promises(shop: Shop) -> None:
    returned(shop)
    confirmed(shop)
    ship(shop, confirmed(shop), 1)
    report = checked(shop)
    assert (report.violations, report.quiet, report.notes) == ((), True, ())
    assert dict(report.orders) == {"COMPLETED": 1, "CONFIRMED": 1, "FULFILLING": 1}
    assert report.checked == ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P12")
    assert differences(shop.evidence, now=shop.now(), settle_s=60) == []
    assert at_every_instant(shop.evidence) == []


# -- P12: units


def with_order(shop: Shop, change: Callable[[Order], Order]) -> dict[str, Any]:
    orders = [change(order) if order.fulfilment.shipments else order for order in shop.evidence.order.all_orders()]
    return {"order": Changed(shop.evidence.order, all_orders=orders)}


def with_parts(**parts: Callable[[Any], Any]) -> Callable[[Order], Order]:
    """Return a function that changes shipments and refunds of an order."""

    def change(order: Order) -> Order:
        changed = {name: tuple(make(getattr(order.fulfilment, name))) for name, make in parts.items()}
        return evolve(order, fulfilment=attrs.evolve(order.fulfilment, **changed))

    return change


def units_of(units: int, sku: str = "lamp") -> Callable[[Any], Any]:
    return lambda some: [attrs.evolve(some[0], items={Sku(sku): units}), *some[1:]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_parts(shipments=units_of(2)), "3 units of lamp were ordered; 1 cancelled, 3 shipped, 1 returned"),
        (with_parts(refunds=units_of(2)), "3 units of lamp were ordered; 2 cancelled, 2 shipped, 1 returned"),
        (
            with_parts(refunds=lambda some: [some[0], attrs.evolve(some[1], items={LAMP: 3}), some[2]]),
            "3 units of lamp were ordered; 1 cancelled, 2 shipped, 3 returned",
        ),
        (with_parts(shipments=units_of(1, "chair")), "ships or refunds chair, which it doesn't contain"),
        (lambda order: evolve(order, state=OrderState.FULFILLING), "is FULFILLING; by its shipments and refunds it is"),
        (lambda order: evolve(order, state=OrderState.CANCELLED), "is CANCELLED; by its shipments and refunds it is"),
        (with_parts(shipments=lambda some: some[1:]), "by its shipments and refunds it is FULFILLING"),
        (with_parts(shipments=lambda _: (), refunds=lambda _: ()), "is COMPLETED without a shipment or refund"),
        (
            with_parts(
                refunds=lambda some: [
                    *some[:-1],
                    attrs.evolve(some[-1], amount=oms.Money.of(99, some[-1].amount.currency)),
                ]
            ),
            "refunds 13898 minor units of 5997",
        ),
    ],
)
def test_units_and_money_beyond_the_order_are_found(shop: Shop, change: Callable[[Order], Order], said: str) -> None:
    returned(shop)
    shop.place()  # so that the system isn't at rest
    report = checked(shop, **with_order(shop, change))
    assert not report.quiet
    assert any(one.promise == "P12" and said in one.detail for one in report.violations)
    instant = at_every_instant(attrs.evolve(shop.evidence, **with_order(shop, change)), ("order",))
    assert any(one.promise == "P12" and said in one.detail for one in instant)


# -- P12: refunds


def with_payment(shop: Shop, change: Callable[[Payment], Payment]) -> dict[str, Any]:
    payments = [change(one) if one.refunds else one for one in shop.evidence.payment.all_payments()]
    return {"payment": Changed(shop.evidence.payment, all_payments=payments)}


def with_first(**changed: Any) -> Callable[[Payment], Payment]:
    return lambda one: evolve(one, refunds=(attrs.evolve(one.refunds[0], **changed), *one.refunds[1:]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_first(state=PaymentRefundState.DUE), "is DUE, and no call to the gateway is planned"),
        (with_first(outside=True), "is PAID (1999 minor units, {'lamp': 1}) in the order, and PAID outside"),
        (with_first(state=PaymentRefundState.REFUSED), "and REFUSED at attempt 1 (1999 minor units"),
        (with_first(items={}), "and PAID (1999 minor units, {}) in the payment"),
        (with_first(id="another"), "has refund another, which the order doesn't have"),
        (with_first(id="another"), "is unknown to the payment service"),
        (with_first(id="whole", state=PaymentRefundState.REFUSED), "whole is not REFUSED in the order, and REFUSED in"),
        (with_first(id="whole", state=PaymentRefundState.DUE), "whole is DUE, and no call to the gateway is planned"),
    ],
)
def test_a_refund_of_which_two_services_think_differently_is_found_at_rest(
    shop: Shop, change: Callable[[Payment], Payment], said: str
) -> None:
    order_id = returned(shop)
    report = checked(shop, **with_payment(shop, change))
    assert report.quiet
    assert ("P12", order_id) in found(report)
    assert said in details(report)
    shop.place()
    assert "P12" not in {one.promise for one in checked(shop, **with_payment(shop, change)).violations}, "on its way"


def test_a_refused_refund_waits_for_an_operator() -> None:
    shop, gateway = refusing_shop()
    order_id = confirmed(shop)
    ship(shop, order_id, 1)
    gateway.refuses = True
    made = refund(shop, order_id, "GOODWILL", amount="5.00")
    report = checked(shop)
    assert (report.violations, report.quiet) == ((), True)
    assert report.notes == (
        "1 refund that the gateway refused: an operator has to decide (`oms orders retry`, `resolve`)",
    )
    refused = [(one.kind, one.subject) for one in differences(shop.evidence, now=shop.now(), settle_s=60)]
    assert refused == [("refund-refused", order_id)]

    shop.app.orders.retry_payment(order_id, made.id, "there is money now")
    assert checked(shop).violations == ()
    gateway.refuses = False
    shop.run()
    report = checked(shop)
    assert (report.violations, report.quiet, report.notes) == ((), True, ())
    assert shop.app.orders.get(order_id).fulfilment.refunds[0].state is RefundState.PAID


def test_a_cancelled_order_whose_refund_was_refused_isnt_late() -> None:
    """P6: it can't end before an operator has decided."""
    shop, gateway = refusing_shop()
    order_id = confirmed(shop)
    gateway.refuses = True
    shop.cancel(order_id, by_operator=True)
    shop.run()
    shop.advance(days=1)
    assert shop.status(order_id) == "CANCELLING"
    report = checked(shop)
    assert (report.violations, report.quiet, len(report.notes)) == ((), True, 1)

    shop.app.orders.retry_payment(order_id, "whole", "there is money now")
    shop.clock.advance(timedelta(seconds=61))
    assert found(checked(shop)) == [("P6", order_id)], "now it has to end"
    gateway.refuses = False
    shop.run()
    assert (shop.status(order_id), checked(shop).violations) == ("CANCELLED", ())


# -- P5


@pytest.mark.parametrize(("trigger", "said"), [("ship", "2 shipments, its history has 1"), ("refund", "3 refunds")])
def test_a_part_that_isnt_in_the_history_is_found(shop: Shop, trigger: str, said: str) -> None:
    order_id = returned(shop)
    rows = list(shop.evidence.order.all_history())
    lost = next(entry for _, entry in rows if entry.trigger.startswith(trigger))
    changed = [
        (one, attrs.evolve(entry, trigger="inventory.released") if entry is lost else entry) for one, entry in rows
    ]
    report = checked(shop, order=Changed(shop.evidence.order, all_history=changed))
    assert ("P5", order_id) in found(report)
    assert said in details(report)


# -- P2 and P3: stock


def with_restocks(shop: Shop, change: Callable[[Any], Any]) -> dict[str, Any]:
    reservations = [
        evolve(one, restocks=tuple(change(one.restocks))) for one in shop.evidence.inventory.all_reservations()
    ]
    return {"inventory": Changed(shop.evidence.inventory, all_reservations=reservations)}


def test_a_refund_that_wasnt_restocked_is_found_once_it_was_read(shop: Shop) -> None:
    order_id = returned(shop)
    shop.place()
    report = checked(shop, **with_restocks(shop, lambda some: some[1:]))
    assert not report.quiet
    assert ("P2", order_id) in found(report)
    assert "restocks {'lamp': 1}, inventory hasn't" in details(report)
    (difference,) = [
        one
        for one in differences(
            attrs.evolve(shop.evidence, **with_restocks(shop, lambda some: some[1:])), now=shop.now(), settle_s=60
        )
        if one.kind == "refund-stock"
    ]
    assert difference.subject == order_id


def test_a_refund_that_inventory_hasnt_read_is_on_its_way(shop: Shop) -> None:
    order_id = confirmed(shop)
    shop.app.orders.refund(oms.RefundOrder.of(order_id, "CANCEL", "a test", items={"lamp": 1}))
    report = checked(shop)
    assert (report.violations, report.quiet) == ((), False)


def test_a_restock_that_nobody_requested_is_found(shop: Shop) -> None:
    order_id = returned(shop)
    report = checked(shop, **with_restocks(shop, lambda some: [attrs.evolve(some[0], refund_id="r-9"), *some[1:]]))
    assert ("P2", order_id) in found(report)
    assert "refund r-9 was restocked, and not requested" in details(report)


def refund_rows(shop: Shop, change: Callable[[list[Movement]], list[Movement]]) -> dict[str, Any]:
    rows = list(shop.evidence.inventory.all_movements())
    others = [row for row in rows if row.kind is not MovementKind.REFUND]
    changed = change([row for row in rows if row.kind is MovementKind.REFUND])
    some = sorted([*others, *changed], key=lambda row: row.reference)
    return {"inventory": Changed(shop.evidence.inventory, all_movements=some)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1:], "is restocked with {'lamp': 1}; its ledger has no rows"),
        (lambda rows: [rows[0], *rows], "its ledger has REFUND 1 of lamp, REFUND 1 of lamp"),
        (lambda rows: [attrs.evolve(rows[0], on_hand=2), *rows[1:]], "its ledger has REFUND 2 of lamp"),
        (
            lambda rows: [*rows, attrs.evolve(rows[0], reference=f"{rows[0].reference}x")],
            "is not restocked; its ledger",
        ),
        (lambda rows: [*rows, attrs.evolve(rows[0], reference="zzz/r-1")], "is not restocked; its ledger"),
    ],
)
def test_a_ledger_that_restocks_a_refund_otherwise_is_found(
    shop: Shop, change: Callable[[list[Movement]], list[Movement]], said: str
) -> None:
    returned(shop)
    changed = refund_rows(shop, change)
    assert said in details(checked(shop, **changed))
    assert {"P2", "P3"} == {one.promise for one in checked(shop, **changed).violations}
    assert {"P2", "P3"} <= {one.promise for one in at_every_instant(attrs.evolve(shop.evidence, **changed))}


def test_orders_whose_ids_come_between_an_order_and_its_refund() -> None:
    """`a-b` is after `a` and before `a/r-1`, so that the rows of a refund don't follow those of their order."""

    def snapshot(name: str, *refunds: str, row: bool = False) -> OrderSnapshot:
        restocks = tuple(Restock(one, {LAMP: 1}) for one in refunds)
        reservation = Reservation(order_id=OrderId(name), restocks=restocks) if refunds else None
        rows = [Movement(name, LAMP, MovementKind.REFUND, 1, 0)] if row else []
        return OrderSnapshot(OrderId(name), reservation=reservation, movements=rows)

    good = [snapshot("a", "r-1", "r-2"), snapshot("a-b", "r-3"), snapshot("a-b/r-3", row=True)]
    good += [snapshot("a/r-1", row=True), snapshot("a/r-2", row=True), snapshot("b")]
    for lost in (None, 2, 3, 4):
        check, violations = Restocks(), []
        for index, one in enumerate(good):
            if index != lost:
                violations += check.take(one)
        violations += check.rest()
        assert [one.subject for one in violations] == ([] if lost is None else [good[lost].id])
