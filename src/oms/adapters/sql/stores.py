"""Opens the stores of a directory: a file a service, migrated to the present shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oms.adapters.sql import engine as engines
from oms.adapters.sql.inventory import SqlInventoryStore
from oms.adapters.sql.migrate import check_current, migrate
from oms.adapters.sql.notifications import SqlNotificationStore
from oms.adapters.sql.orders import SqlOrderStore
from oms.adapters.sql.payments import SqlPaymentStore
from oms.adapters.sql.schema import KINDS
from oms.adapters.sql.steps import SqlStepStore
from oms.adapters.sql.store import Engines, SqlStore
from oms.domain.values import OrderId
from oms.ports.clock import Clock, Ids

_STORES: dict[str, type[SqlStore[Any]]] = {
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
    kind = kind_of(name)
    opened = Engines(engines.writer(path), engines.reader(path), engines.side_door(path))
    migrate(opened.write, kind)
    return _STORES[kind](opened, KINDS[kind](), clock, ids)


def read_only(name: str, path: Path, clock: Clock) -> Any:
    """The store of another process's file: reads work, writes fail. `Permanent` for a file of another version."""
    kind = kind_of(name)
    engine = engines.read_only(path)
    check_current(engine, kind)
    return _STORES[kind](Engines(engine, engine, engine), KINDS[kind](), clock, _NoNames())


class _NoNames(Ids):
    """A reader makes nothing that needs a name."""

    def order_id(self) -> OrderId:
        raise NotImplementedError

    def token(self) -> str:
        raise NotImplementedError
