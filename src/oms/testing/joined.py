"""A database in memory for tests of joined orders: the caller's rows and the order commit or roll back together.

The caller's tables are in SQLite, used through SQLAlchemy as in production; the order is in the order service's memory
store. A commit of the driver's connection first commits the rows, which may fail, and then the order, which can't fail.
"""

from __future__ import annotations

import re
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool, PoolProxiedConnection

from oms.adapters.memory.orders import MemoryJoinedTransaction
from oms.domain.values import OrderId
from oms.ports.errors import Permanent
from oms.testing.sim.escape import unsealed

Committed = Callable[[Sequence[OrderId]], object]
_numbers = count()


class OrderDatabase:
    """An engine whose connections can be given to `place(connection=...)`.

    `committed` is called with the ids of the orders that a commit made visible.
    """

    def __init__(self, committed: Committed = lambda _orders: None) -> None:
        self._url = f"file:oms-orders-{next(_numbers)}?mode=memory&cache=shared"
        self._committed = committed
        weakref.finalize(self, self._connect().close)  # the database exists as long as one connection to it is open
        self.engine: Engine = create_engine("sqlite://", creator=self._connect, poolclass=_Pool)
        event.listen(self.engine, "begin", _begin)
        event.listen(self.engine, "after_cursor_execute", _follow_savepoints)

    def join(
        self,
        connection: object,
        begin: Callable[[], MemoryJoinedTransaction],
        committing: Callable[[], None] = lambda: None,
    ) -> MemoryJoinedTransaction:
        """Join the caller's transaction and return the order's part of it; raises `Permanent` if that is impossible."""
        if not isinstance(connection, Connection) or connection.engine.pool is not self.engine.pool:
            raise Permanent("an order can only join a connection of the shop's `order_database()`")
        if str(connection.get_execution_options().get("isolation_level", "")).upper() == "AUTOCOMMIT":
            raise Permanent("the connection is in autocommit mode: there is no transaction to join")
        connection.exec_driver_sql("SELECT 1")  # begins a transaction if there is none
        joined = begin()
        _driver(connection).joined.append((joined, committing))
        return joined

    def _connect(self) -> _DriverConnection:
        made = sqlite3.connect(self._url, uri=True, isolation_level=None, factory=_DriverConnection)
        made.committed = self._committed
        return made


class _DriverConnection(sqlite3.Connection):
    """A connection of the driver that commits or rolls back the joined transactions together with its own."""

    committed: Committed

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.joined: list[tuple[MemoryJoinedTransaction, Callable[[], None]]] = []
        self.savepoints: list[tuple[str, int]] = []
        """The open savepoints, each with the number of transactions that were joined before it."""

    def commit(self) -> None:
        """Commit rows and orders; refused after an order has failed, because it may be partly written."""
        if any(transaction.failed for transaction, _ in self.joined):
            raise sqlite3.OperationalError("placing an order failed in this transaction: roll it back")
        for _, committing in self.joined:
            committing()
        super().commit()
        joined, self.joined, self.savepoints = self.joined, [], []
        orders = [order for transaction, _ in joined for order in transaction.settle()]
        if orders:
            self.committed(orders)

    def rollback(self) -> None:
        """Roll back rows and orders."""
        self.undo(0)
        self.savepoints = []
        super().rollback()

    def undo(self, kept: int) -> None:
        """Roll back all joined transactions except the first `kept`."""
        for transaction, _ in self.joined[kept:]:
            transaction.drop()
        del self.joined[kept:]


class _Pool(NullPool):
    """Opens a new connection each time, without reading the real clock, which a simulation forbids."""

    def _do_get(self) -> Any:
        with unsealed():
            return super()._do_get()


def _driver(connection: Connection) -> _DriverConnection:
    proxied: PoolProxiedConnection = connection.connection
    found: Any = proxied.driver_connection
    assert isinstance(found, _DriverConnection)  # noqa: S101 - the pool makes no others
    return found


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")  # the driver itself would begin only at the first INSERT, after a savepoint


_SAVEPOINT = re.compile(r"\s*(SAVEPOINT|RELEASE|ROLLBACK\s+TO)\s+(?:SAVEPOINT\s+)?(\S+)\s*", re.IGNORECASE)


def _follow_savepoints(connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
    """Roll back the orders that were placed since a savepoint when the caller rolls back to it."""
    found = _SAVEPOINT.fullmatch(statement)
    if found is None:
        return
    driver, what, name = _driver(connection), found[1].upper(), found[2]
    if what == "SAVEPOINT":
        driver.savepoints.append((name, len(driver.joined)))
        return
    number = max(number for number, (known, _) in enumerate(driver.savepoints) if known == name)
    if what == "RELEASE":
        del driver.savepoints[number:]
    else:
        driver.undo(driver.savepoints[number][1])
        del driver.savepoints[number + 1 :]
