"""Orders joined to the caller's transaction in a test's shop: the caller's rows and the order share one fate."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    select,
)
from sqlalchemy.exc import DBAPIError

import oms
from oms.testing import AnyShop, HuntedShop, Shop, hunt

METADATA = MetaData()
GIFTS = Table("gifts", METADATA, Column("id", Integer, primary_key=True), Column("order", String))
CARDS = Table(
    "cards", METADATA, Column("id", Integer, primary_key=True),
    Column("gift", ForeignKey("gifts.id", deferrable=True, initially="DEFERRED")),
)  # fmt: skip


def database(shop: AnyShop) -> Engine:
    engine = shop.order_database()
    METADATA.create_all(engine)
    return engine


def give(shop: AnyShop, connection: Connection) -> oms.Order:
    """The caller's statements before and after the order."""
    gift = connection.execute(insert(GIFTS).values(order=None)).inserted_primary_key[0]
    order = shop.app.orders.place(shop.app.draft("ann", 5, {"lamp": 1}), connection=connection)
    connection.execute(GIFTS.update().where(GIFTS.c.id == gift).values(order=order.id))
    return order


def gifts(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(select(GIFTS.c.order)).scalars())


def exists(shop: AnyShop, order: oms.Order) -> bool:
    try:
        return bool(shop.order(order))
    except oms.NotFound:
        return False


@pytest.fixture
def engine(shop: Shop) -> Engine:
    return database(shop)


def test_both_are_there_after_the_commit(shop: Shop, engine: Engine) -> None:
    with engine.begin() as connection:
        order = give(shop, connection)
        assert not exists(shop, order), "nothing is visible before the commit"
        shop.run()
        assert not exists(shop, order)
    assert gifts(engine) == [order.id]
    shop.run()
    shop.expect(order).confirmed().paid(5)
    shop.expect().published("order.created", times=1).promises_kept()


def test_neither_is_there_after_a_rollback(shop: Shop, engine: Engine) -> None:
    with engine.connect() as connection:
        order = give(shop, connection)
        connection.rollback()
    with engine.connect() as connection:
        other = give(shop, connection)  # and the connection is closed without a commit
    shop.run()
    shop.advance(minutes=1)
    assert gifts(engine) == []
    assert not exists(shop, order)
    assert not exists(shop, other)
    shop.expect().published("order.created", times=0).nothing_owed()


def test_neither_is_there_after_a_commit_that_fails(shop: Shop, engine: Engine) -> None:
    with engine.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA foreign_keys = ON")
        order = give(shop, connection)
        connection.execute(insert(CARDS).values(gift=99))
        with pytest.raises(DBAPIError):
            connection.commit()
        assert not exists(shop, order)
        connection.rollback()
    shop.run()
    assert gifts(engine) == []
    assert not exists(shop, order)


def test_a_failed_order_keeps_its_transaction_from_committing(
    shop: Shop, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oms.adapters.memory.orders import MemoryJoinedTransaction

    def fails(self: MemoryJoinedTransaction, *_: object) -> None:
        self.work.refuse(oms.Retryable("planted"))

    monkeypatch.setattr(MemoryJoinedTransaction, "save_orders", fails)
    with engine.connect() as connection:
        with pytest.raises(oms.Retryable):
            give(shop, connection)
        with pytest.raises(DBAPIError, match="roll it back"):
            connection.commit()
        connection.rollback()
    assert gifts(engine) == []


def test_a_connection_that_cannot_be_joined_is_refused(shop: Shop, engine: Engine) -> None:
    command = shop.app.draft("ann", 5, {"lamp": 1})
    autocommit = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    for connection in (object(), create_engine("sqlite://").connect(), autocommit):
        with pytest.raises(oms.Permanent):
            shop.app.orders.place(command, connection=connection)
    autocommit.close()
    with engine.connect() as connection, pytest.raises(ValueError, match="exclude"):
        shop.place({"lamp": 1}, key="k", connection=connection)


def test_without_a_database_nothing_can_be_joined(shop: Shop) -> None:
    with create_engine("sqlite://").connect() as connection, pytest.raises(oms.Permanent):
        shop.place({"lamp": 1}, connection=connection)


def test_a_shop_on_disk_has_a_database_of_its_own(tmp_path) -> None:
    with pytest.raises(ValueError, match="profile"):
        Shop(profile="embedded", data=tmp_path).order_database()


ACTS = st.lists(st.sampled_from(["order", "savepoint", "release", "roll back to"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(ACTS, st.booleans())
def test_savepoints_take_their_orders_along(acts: list[str], commits: bool) -> None:
    """The caller's own rows are the model: each row names its order, and both are there or neither."""
    shop = Shop()
    engine = database(shop)
    placed: list[oms.Order] = []
    with engine.connect() as connection:
        outer = connection.begin()
        nested: list[object] = []
        for act in acts:
            if act == "order":
                placed.append(give(shop, connection))
            elif act == "savepoint":
                nested.append(connection.begin_nested())
            elif nested and act == "release":
                nested.pop().commit()
            elif nested:
                nested.pop().rollback()
        (outer.commit if commits else outer.rollback)()
    there = {order.id for order in placed if exists(shop, order)}
    assert there == set(gifts(engine))
    shop.run()
    assert {event.order_id for event in shop.published("order.created")} == there
    shop.expect().nothing_owed().promises_kept()


@hunt(schedules=60)
def test_in_every_schedule_both_are_there_or_neither(shop: HuntedShop) -> None:
    engine = database(shop)
    shop.set_stock("lamp", 1)
    with engine.begin() as connection:
        kept = give(shop, connection)
    with engine.connect() as connection:
        given_up = give(shop, connection)
        connection.rollback()
    shop.run()
    assert gifts(engine) == [kept.id]
    shop.expect(kept).confirmed()
    assert {event.order_id for event in shop.published("order.created")} == {kept.id}
    assert not exists(shop, given_up)


@hunt(schedules=20)
def test_steps_are_still_taken_after_the_database_was_made(shop: HuntedShop) -> None:
    engine = database(shop)
    seen: list[str] = []
    shop.app.subscribe("order.confirmed", group="own", handler=lambda event, _step: seen.append(event.order_id))
    with engine.begin() as connection:
        order = shop.place({"lamp": 1}, connection=connection)
    shop.run()
    assert set(seen) == {order.id}
