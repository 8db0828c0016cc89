"""An order and a row of your own (an invoice), committed in one SQL transaction: both exist or neither does.

python examples/joined_order.py [directory]     # embedded: orders and invoices in one SQLite file

With OMS_PROFILE=distributed and the other OMS_ settings of the order service, SHOP_DATABASE_URL names the same
PostgreSQL database for the shop's own role (postgresql+psycopg://shop:...@host/oms); see docs/distributed.md.
First run `oms stock set espresso-cup 40 --url http://inventory:8082` there.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError

import oms


def sqlite_engine(path: Path) -> Engine:
    """An engine whose transactions begin with BEGIN, as savepoints need; sqlite3 alone begins later."""
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", lambda driver, _record: setattr(driver, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def buy(app: oms.App, engine: Engine, user: str, amount: str) -> oms.Order:
    """Place an order and write its invoice."""
    with engine.begin() as connection:
        order = app.orders.place(app.draft(user, amount, {"espresso-cup": 1}), connection=connection)
        values = {"order_id": order.id, "amount": amount}
        connection.execute(text("INSERT INTO invoices (order_id, amount) VALUES (:order_id, :amount)"), values)
    return order


def main(app: oms.App, engine: Engine) -> oms.Order:
    """Place one order that is kept, and one whose transaction fails."""
    with app:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS invoices (order_id TEXT, amount NUMERIC NOT NULL)"))
        kept = buy(app, engine, "ann", "19.80")
        try:
            with engine.begin() as connection:
                lost = app.orders.place(app.draft("bob", "5.00", {"espresso-cup": 1}), connection=connection)
                connection.execute(text("INSERT INTO invoices (order_id, amount) VALUES ('bob', NULL)"))
        except IntegrityError as error:
            print(f"the invoice failed ({type(error).__name__}), so the order {lost.id} doesn't exist either")
        print(f"{kept.id} of {app.orders.page().total} order(s) is {app.orders.get(kept.id).state.value}")
    return kept


if __name__ == "__main__":
    if os.environ.get("OMS_PROFILE") == "distributed":
        main(oms.create(services=["order"]), create_engine(os.environ["SHOP_DATABASE_URL"]))
    else:
        directory = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
        shop = oms.create(profile="embedded", data=directory)
        shop.stock.set("espresso-cup", 40)
        main(shop, sqlite_engine(directory / "order.db"))
