"""A process of the previous version may write rows beside this one: it neither reads nor writes the newest columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import create_engine, text

from oms.adapters.memory.clock import CountedIds
from oms.adapters.sql import factory
from oms.adapters.sql.stores.tables import KINDS
from oms.adapters.system.clock import SystemClock
from oms.domain.commands import ShipOrder
from oms.domain.fulfilment import NOTHING_YET
from oms.domain.order import Order
from oms.domain.order_table import OrderPayment, OrderState, OrderTrigger
from oms.domain.payment import Payment, PaymentState
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.values import OrderId
from oms.testing.contracts.notifications import a_notification
from oms.testing.contracts.samples import AT, LATER, detailed_terms, order_id, refund_requested, terms

ONE = order_id(1)
OLDER = OrderId("older")


def shipped_order() -> Order:
    placed = Order(id=ONE).place(detailed_terms(), at=AT, deadline_at=AT + LATER).aggregate
    confirmed = placed.hear(OrderTrigger.PAID, at=AT).aggregate
    return confirmed.ship(ShipOrder.of(ONE, {"sku-a": 1}), "s-1", at=AT).aggregate


def refunded_payment() -> Payment:
    started = Payment(order_id=ONE).start(terms(), at=AT).aggregate
    captured = started.captured("p-1", at=AT).aggregate
    return captured.refund_requested(refund_requested("r-1", "2.50"), at=AT).aggregate


def restocked_reservation() -> Reservation:
    held = Reservation(order_id=ONE).hold(terms(), at=AT).aggregate
    return held.refunded(refund_requested("r-1", items={"sku-a": 1}), at=AT).aggregate


@attrs.frozen
class Case:
    """A record with parts, the columns that the previous version lacks, and what that version does to all rows."""

    table: str
    new_columns: tuple[str, ...]
    save: str
    absent: Any
    record: Any
    read: str
    change: str
    changed: dict[str, Any]
    plain: dict[str, Any]


CASES = {
    "order": Case(
        "orders",
        ("lines", "payment", "fulfilment"),
        "save_orders",
        Order(id=ONE),
        shipped_order(),
        "all_orders",
        "state = 'CONFIRMED', version = 9",
        {"state": OrderState.CONFIRMED, "version": 9},
        {
            "id": OLDER,
            "terms": attrs.evolve(detailed_terms(), lines=(), charges=()),
            "fulfilment": NOTHING_YET,
            "payment": OrderPayment.CAPTURED,
        },
    ),
    "payment": Case(
        "payments",
        ("refunds",),
        "save_payments",
        Payment(order_id=ONE),
        refunded_payment(),
        "all_payments",
        "state = 'REFUNDING'",
        {"state": PaymentState.REFUNDING},
        {"order_id": OLDER, "refunds": ()},
    ),
    "inventory": Case(
        "reservations",
        ("restocks",),
        "save_reservations",
        Reservation(order_id=ONE),
        restocked_reservation(),
        "all_reservations",
        "state = 'COMMITTED'",
        {"state": ReservationState.COMMITTED},
        {"order_id": OLDER, "restocks": ()},
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_parts_outlast_a_process_of_the_previous_version(tmp_path: Path, kind: str) -> None:
    case = CASES[kind]
    store = factory.sqlite_store(kind, tmp_path / "x.db", SystemClock(), CountedIds())
    with store.begin() as transaction:
        save: Callable[..., None] = getattr(transaction, case.save)
        save([(case.absent, case.record)], *([[]] if kind == "order" else []))
        transaction.commit()
    table = KINDS[kind].metadata.tables[case.table]
    first, *others = (column.name for column in table.c if column.name not in case.new_columns)
    columns = ", ".join(others)
    with create_engine(f"sqlite:///{tmp_path / 'x.db'}").begin() as connection:
        connection.execute(
            text(f"INSERT INTO {case.table} ({first}, {columns}) SELECT 'older', {columns} FROM {case.table}")
        )
        connection.execute(text(f"UPDATE {case.table} SET {case.change}"))
    kept = attrs.evolve(case.record, **case.changed)
    assert list(getattr(store, case.read)()) == [attrs.evolve(kept, **case.plain), kept]
    store.close()


def test_a_confirmed_order_of_the_previous_version_was_paid(tmp_path: Path) -> None:
    """Only its row doesn't say so; an order that isn't confirmed has no known result."""
    path = tmp_path / "order.db"
    store = factory.sqlite_store("order", path, SystemClock(), CountedIds())
    with create_engine(f"sqlite:///{path}").begin() as connection:
        for state in ("CREATED", "CONFIRMED", "CANCELLED"):
            columns = "id, state, version, user_id, total_minor, currency, items, early"
            row = f"'{state}', '{state}', 1, 'ann', 5, 'EUR', :items, ''"
            connection.execute(text(f"INSERT INTO orders ({columns}) VALUES ({row})"), {"items": '{"a":1}'})
    found = {order.state: order.payment for order in store.all_orders()}
    assert found == {
        OrderState.CREATED: None,
        OrderState.CONFIRMED: OrderPayment.CAPTURED,
        OrderState.CANCELLED: None,
    }
    store.close()


def test_a_notification_of_the_previous_version_has_no_details(tmp_path: Path) -> None:
    path = tmp_path / "notification.db"
    store = factory.sqlite_store("notification", path, SystemClock(), CountedIds())
    with store.begin() as transaction:
        transaction.record_notifications([a_notification()])
        transaction.commit()
    with create_engine(f"sqlite:///{path}").begin() as connection:
        (details,) = connection.execute(text("SELECT details FROM notifications")).one()
    assert details is None
    assert [one for one, _ in store.all_notifications()] == [a_notification()]
    store.close()


def test_unknown_fields_of_parts_are_ignored(tmp_path: Path) -> None:
    """A later version may add fields, and run beside this one."""
    order = shipped_order()
    path = tmp_path / "order.db"
    store = factory.sqlite_store("order", path, SystemClock(), CountedIds())
    with store.begin() as transaction:
        transaction.save_orders([(Order(id=ONE), order)], [])
        transaction.commit()
    with create_engine(f"sqlite:///{path}").begin() as connection:
        connection.execute(
            text("UPDATE orders SET fulfilment = json_set(fulfilment, '$.later', 1, '$.shipments[0].weight', 2)")
        )
    assert list(store.all_orders()) == [order]
    store.close()
