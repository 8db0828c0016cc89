"""Compares orders, stock and the gateway's book with what the clients of `FulfilmentLoad` have asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from oms.adapters.gateways.sqlite_book import SqliteBook
from oms.ports.evidence import BookKind
from tests.support.cluster import request
from tests.support.fulfilment_load import (
    TOTAL_CENTS,
    FulfilmentLoad,
    is_cancelled,
    is_refused,
    plan_of,
    sku_of,
    sold_units,
)


def check_orders(load: FulfilmentLoad) -> None:
    """Every order has ended, with each command carried out once."""
    for order_id, number in load.numbers.items():
        order = load.show(order_id)
        if is_cancelled(number):
            assert (order["status"], order["payment"]["state"]) == ("CANCELLED", "REFUNDED"), order
            continue
        asked = Counter(path for path, _ in plan_of(number))
        refunds = order.get("refunds", ())
        assert order["status"] == "COMPLETED", order
        assert (len(order["shipments"]), len(refunds)) == (asked["shipments"], asked["refunds"]), order
        assert {refund["state"] for refund in refunds} <= {"PAID"}, order
        assert round(order["refundedAmount"] * 100) == load.refunded_cents[order_id], order


def check_stock(load: FulfilmentLoad, port: int, stocked: int) -> None:
    """The stock lacks the units that were shipped and not returned, and nothing is held."""
    sold: Counter[str] = Counter()
    for number in load.numbers.values():
        sold[sku_of(number)] += sold_units(number)
    for sku, units in sold.items():
        status, stock = request(port, "GET", f"/stock/{sku}")
        assert (status, stock["onHand"], stock["held"]) == (200, stocked - units, 0), stock


def check_book(load: FulfilmentLoad, path: Path) -> None:
    """One capture for each order, one refund under each key, and the rest is the total less what was paid back."""
    left: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    for entry in SqliteBook.read_only(path).all_entries():
        left[entry.key] += {BookKind.CAPTURE: entry.amount, BookKind.REFUND: -entry.amount}.get(entry.kind, 0)
        keys[f"{entry.kind} {entry.refund_key or entry.key}"] += 1
    assert set(keys.values()) == {1}, keys.most_common(3)
    for order_id, number in load.numbers.items():
        assert left[f"oms-{order_id}"] == _kept_cents(load, order_id, number), load.show(order_id)


def _kept_cents(load: FulfilmentLoad, order_id: str, number: int) -> int:
    """The money that the gateway keeps: refunds that were resolved by hand were paid outside of it."""
    if is_cancelled(number):
        return TOTAL_CENTS if is_refused(number) else 0
    return TOTAL_CENTS - (0 if is_refused(number) else load.refunded_cents[order_id])
