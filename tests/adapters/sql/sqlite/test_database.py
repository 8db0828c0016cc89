"""The SQLite stores: migrations, joined transactions, readers during a write, translated errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import VARCHAR, String, create_engine, inspect, select, text

import oms
from oms.adapters.memory.clock import CountedIds, ManualClock
from oms.adapters.sql import factory
from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.provisioning.migrate import HEADS, migrate
from oms.adapters.sql.sqlite.database import sqlite_database
from oms.adapters.sql.sqlite.sender import SqliteSender
from oms.adapters.sql.stores.tables import KINDS
from oms.adapters.system.clock import SystemClock
from oms.bootstrap.recorded import recorded
from oms.domain.events import Reason
from oms.domain.fulfilment import Fulfilment
from oms.domain.money import Money
from oms.domain.order import EarlyEvent, Order
from oms.domain.order_table import OrderPayment, OrderState, OrderTrigger
from oms.domain.payment import Payment, PaymentState
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.reservation import Reservation, ReservationState, Restock
from oms.domain.shipment import Shipment
from oms.operations.promises import check
from oms.settings import Settings
from oms.testing import Shop
from oms.testing.contracts.samples import AT, EUR, LATER, order_id, placed, stated, terms


@pytest.mark.parametrize("kind", HEADS)
def test_migrations_make_the_schema_and_take_it_away(tmp_path: Path, kind: str) -> None:
    database = sqlite_database(tmp_path / "x.db", SystemClock())
    migrate(database, kind)
    with database.reading() as connection:
        context = MigrationContext.configure(connection.sqlalchemy, opts={"compare_type": _other_type})
        assert compare_metadata(context, KINDS[kind].metadata) == []
    migrate(database, kind, "base")
    with database.reading() as connection:
        assert inspect(connection.sqlalchemy).get_table_names() == ["alembic_version"]


def _other_type(_context: Any, _inspected: Any, _column: Any, found: Any, wanted: Any) -> bool | None:
    """Compare types without the lengths of texts, which SQLite ignores; None leaves it to alembic."""
    return False if isinstance(found, VARCHAR) and isinstance(wanted, String) else None


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "order.db"
    factory.sqlite_store("order", path, ManualClock(), CountedIds()).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'order_9999'"))
    with pytest.raises(oms.Permanent, match="order_9999"):
        factory.read_only("order", path, SystemClock())


def embedded(tmp_path: Path) -> Shop:
    return Shop(settings=Settings(profile="embedded", data=tmp_path))


def test_an_order_joins_the_callers_transaction(tmp_path: Path) -> None:
    shop = embedded(tmp_path)
    command = shop.app.draft("ann", 5, {"a": 1})
    _ = shop.app.system
    mine = create_engine(f"sqlite:///{tmp_path / 'order.db'}")
    with mine.begin() as connection:
        connection.execute(text("CREATE TABLE invoices (order_id TEXT)"))
    with mine.connect() as connection:
        lost = shop.app.orders.place(command, connection=connection)
        connection.execute(text("INSERT INTO invoices VALUES (:o)"), {"o": lost.id})
        connection.rollback()
    shop.run()
    assert shop.app.orders.page().total == 0
    assert shop.published() == []

    with mine.begin() as connection:
        kept = shop.app.orders.place(command, connection=connection)
        connection.execute(text("INSERT INTO invoices VALUES (:o)"), {"o": kept.id})
    shop.advance(seconds=1)
    assert shop.status(kept) == "CONFIRMED"
    with mine.connect() as connection:
        assert connection.execute(text("SELECT order_id FROM invoices")).scalars().all() == [kept.id]
    shop.check()
    shop.app.stop()


def test_sqlite3_begins_in_time_for_an_order_but_not_for_a_savepoint(tmp_path: Path) -> None:
    """By default it sends no BEGIN before SAVEPOINT, so RELEASE would commit the order."""
    shop = embedded(tmp_path)
    command = shop.app.draft("ann", 5, {"a": 1})
    _ = shop.app.system
    mine = create_engine(f"sqlite:///{tmp_path / 'order.db'}")
    with mine.connect() as connection:
        with connection.begin_nested(), pytest.raises(oms.Permanent, match="savepoint"):
            shop.app.orders.place(command, connection=connection)
        shop.app.orders.place(command, connection=connection)
        with connection.begin_nested():
            connection.execute(text("CREATE TABLE invoices (order_id TEXT)"))
        connection.rollback()
    with mine.connect() as connection:
        assert "invoices" not in inspect(connection).get_table_names()
    assert shop.app.orders.page().total == 0
    shop.app.stop()


def test_a_driver_in_autocommit_mode_is_refused(tmp_path: Path) -> None:
    shop = embedded(tmp_path)
    _ = shop.app.system
    mine = create_engine(f"sqlite:///{tmp_path / 'order.db'}", connect_args={"isolation_level": None})
    with mine.connect() as connection, pytest.raises(oms.Permanent, match="autocommit"):
        shop.app.orders.place(shop.app.draft("ann", 5, {"a": 1}), connection=connection)
    assert shop.app.orders.page().total == 0
    shop.app.stop()


def test_orders_in_memory_join_nothing() -> None:
    app = oms.create(environ={}, profile="memory")
    with create_engine("sqlite://").connect() as connection, pytest.raises(oms.Permanent, match="OMS_PROFILE=memory"):
        app.orders.place(app.draft("ann", 5, {"a": 1}), connection=connection)


def test_statements_that_were_never_sent_are_an_error(tmp_path: Path) -> None:
    class Forgetful(SqliteSender):
        buffered = 2

    database = sqlite_database(tmp_path / "x.db", SystemClock())
    with database.reading() as connection:
        forgetful = SqlConnection(connection.sqlalchemy, Forgetful(connection.sqlalchemy, None))
        with pytest.raises(oms.Permanent, match="before 2 of its statements were sent"):
            forgetful.end()
        with pytest.raises(oms.Permanent, match="has ended"):
            forgetful.all(select(1))


def test_a_reader_of_the_same_file_sees_commits_and_writes_nothing(tmp_path: Path) -> None:
    shop = embedded(tmp_path)
    order = shop.place()
    shop.run()
    reader = factory.read_only("order", tmp_path / "order.db", SystemClock())
    assert [found.id for found in reader.all_orders()] == [order.id]
    with pytest.raises((oms.Retryable, oms.Permanent)):
        reader.mark_sent(["x"])
    reader.close()
    shop.app.stop()


@pytest.mark.parametrize(
    "moves", [("order", "all_history"), ("inventory", "all_stock"), ("inventory", "all_movements")]
)
def test_the_promises_hold_of_a_system_that_moves_while_it_is_looked_at(tmp_path: Path, moves: tuple[str, str]) -> None:
    """What happens between two reads of one service's record is in neither of them."""
    shop = embedded(tmp_path)
    shop.place({"apple": 2})
    record = recorded(shop.app.settings)
    evidence, codec = record.evidence, record.codec
    service, read = getattr(evidence, moves[0]), moves[1]
    look = getattr(service, read)

    def late() -> Any:
        assert shop.run()
        return look()

    setattr(service, read, late)
    report = check(evidence, codec, now=shop.now(), deadline_s=900, settle_s=60)
    assert report.violations == ()
    setattr(service, read, look)
    assert check(evidence, codec, now=shop.now(), deadline_s=900, settle_s=60).orders == {"CONFIRMED": 1}
    shop.app.stop()


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    first = embedded(tmp_path)
    order = first.place({"a": 3}, key="k")
    first.app.stop()

    second = Shop(settings=Settings(profile="embedded", data=tmp_path), clock=first.clock, ids=CountedIds(1))
    second.advance(seconds=15)
    assert second.status(order) == "CONFIRMED"
    assert second.place({"a": 3}, key="k").id == order.id
    second.check()
    second.app.stop()


def test_a_second_process_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    first, second = embedded(tmp_path), embedded(tmp_path)
    first.place()
    with pytest.raises(oms.Permanent, match="in use"):
        second.place()
    first.app.stop()


def test_who_stays_with_sqlite_does_not_import_psycopg(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from oms.adapters.sql.factory import sqlite_store\n"
        "from oms.adapters.memory import CountedIds, ManualClock\n"
        f"sqlite_store('order', Path({str(tmp_path)!r}) / 'order.db', ManualClock(), CountedIds()).ping()\n"
        "sys.exit('psycopg' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


DUE = PaymentRefundState.DUE
CHANGED: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "order": (
        "save_orders",
        placed(1).aggregate,
        {
            "state": OrderState.CANCELLED,
            "version": 7,
            "terms": terms(user="bob"),
            "created_at": AT + LATER,
            "updated_at": AT + LATER,
            "deadline_at": AT + LATER,
            "reason": Reason.OPERATOR,
            "early": (EarlyEvent(OrderTrigger.PAID, stated()), EarlyEvent(OrderTrigger.RELEASED)),
            "payment": OrderPayment.DECLINED,
            "fulfilment": Fulfilment((Shipment("s-1", {"sku-a": 1}, AT),)),
        },
    ),
    "inventory": (
        "save_reservations",
        Reservation(order_id=order_id(1)).hold(terms(), at=AT).aggregate,
        {
            "state": ReservationState.RELEASED,
            "items": {"other": 9},
            "updated_at": AT + LATER,
            "restocks": (Restock("r-1", {"sku-a": 1}),),
        },
    ),
    "payment": (
        "save_payments",
        Payment(order_id=order_id(1)).start(terms(), at=AT).aggregate,
        {
            "state": PaymentState.CAPTURED,
            "user_id": "bob",
            "total": Money(7, EUR),
            "metadata": {"a": "b"},
            "payment_id": "p-2",
            "updated_at": AT + LATER,
            "refunds": (PaymentRefund("r-1", Money(7, EUR), {"sku-a": 1}, {"channel": "ärger ✓"}, DUE),),
        },
    ),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_whatever_changes_of_a_record_is_written(tmp_path: Path, kind: str) -> None:
    """Most changes leave most columns as they are, and are written without them."""
    save, record, changes = CHANGED[kind]
    names = {field.name for field in attrs.fields(type(record))}
    assert changes.keys() == names - {"id", "order_id"}
    absent = attrs.evolve(record, **{name: attrs.fields_dict(type(record))[name].default for name in ("state",)})
    for name, value in changes.items():
        store = factory.sqlite_store(kind, tmp_path / f"{name}.db", SystemClock(), CountedIds())
        after = attrs.evolve(record, **{name: value})
        with store.begin() as transaction:
            before = attrs.evolve(absent, version=0) if kind == "order" else absent
            writes = getattr(transaction, save)
            writes([(before, record)], []) if kind == "order" else writes([(before, record)])
            writes([(record, after)], []) if kind == "order" else writes([(record, after)])
            transaction.commit()
        everything = {"order": "all_orders", "inventory": "all_reservations", "payment": "all_payments"}[kind]
        assert list(getattr(store, everything)()) == [after]
        store.close()


def test_early_news_of_the_previous_version_is_read_without_terms(tmp_path: Path) -> None:
    """Also if that version ran at the same time and added an early event to a row of this one."""
    order = Order(id=order_id(1)).hear(OrderTrigger.PAID, at=AT, stated=stated()).aggregate
    store = factory.sqlite_store("order", tmp_path / "order.db", SystemClock(), CountedIds())
    with store.begin() as transaction:
        transaction.save_orders([(Order(id=order.id), order)], [])
        transaction.commit()
    assert _read_after(tmp_path, "early = 'payment.success,inventory.released'") == (
        EarlyEvent(OrderTrigger.PAID, stated()),
        EarlyEvent(OrderTrigger.RELEASED),
    )
    assert _read_after(tmp_path, "early_terms = NULL") == (
        EarlyEvent(OrderTrigger.PAID),
        EarlyEvent(OrderTrigger.RELEASED),
    )
    assert _read_after(tmp_path, "early = '', early_terms = '[null]'") == ()
    store.close()


def _read_after(directory: Path, change: str) -> tuple[EarlyEvent, ...]:
    """The early events of the one order after a change of its row."""
    with create_engine(f"sqlite:///{directory / 'order.db'}").begin() as connection:
        connection.execute(text(f"UPDATE orders SET {change}"))
    reader = factory.read_only("order", directory / "order.db", SystemClock())
    (order,) = reader.all_orders()
    reader.close()
    return order.early
