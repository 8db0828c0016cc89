"""Opens the stores of a directory: a file a service, migrated to the present shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from oms.adapters.sql.database import Database
from oms.adapters.sql.inventory import SqlInventoryStore
from oms.adapters.sql.migrate import check_current, migrate
from oms.adapters.sql.notifications import SqlNotificationStore
from oms.adapters.sql.orders import SqlOrderStore
from oms.adapters.sql.payments import SqlPaymentStore
from oms.adapters.sql.sqlite import sqlite_database, sqlite_reader
from oms.adapters.sql.steps import SqlStepStore
from oms.adapters.sql.store import SqlStore
from oms.domain.values import OrderId
from oms.ports.clock import Clock, Ids

_STORES: dict[str, Callable[[Database, Ids], SqlStore[Any]]] = {
    "order": SqlOrderStore,
    "inventory": SqlInventoryStore,
    "payment": SqlPaymentStore,
    "notification": SqlNotificationStore,
    "step": SqlStepStore,
}


def kind_of(name: str) -> str:
    """What kind of store a name is of: one of the four services, else a step."""
    return name if name in _STORES else "step"


def sqlite_store(name: str, path: Path, clock: Clock, ids: Ids) -> SqlStore[Any]:
    """The store of a service (or a step) in a file, which is made or migrated first."""
    kind, database = kind_of(name), sqlite_database(path, clock)
    migrate(database, kind)
    return _STORES[kind](database, ids)


def read_only(name: str, path: Path, clock: Clock) -> Any:
    """The store of another process's file: reads work, writes don't. `Permanent` for another version."""
    kind, database = kind_of(name), sqlite_reader(path, clock)
    check_current(database, kind)
    return _STORES[kind](database, _NoNames())


class _NoNames(Ids):
    """A reader makes nothing that needs a name."""

    def order_id(self) -> OrderId:
        raise NotImplementedError

    def token(self) -> str:
        raise NotImplementedError
