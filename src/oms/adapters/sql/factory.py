"""Opens stores: on SQLite one file for each service, on PostgreSQL one schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oms.adapters.sql.core.database import Database
from oms.adapters.sql.provisioning.migrate import check_current, migrate
from oms.adapters.sql.sqlite.database import sqlite_database, sqlite_reader
from oms.adapters.sql.stores.inventory import SqlInventoryStore
from oms.adapters.sql.stores.notifications import SqlNotificationStore
from oms.adapters.sql.stores.orders import SqlOrderStore
from oms.adapters.sql.stores.payments import SqlPaymentStore
from oms.adapters.sql.stores.steps import SqlStepStore
from oms.adapters.sql.stores.store import SqlStore
from oms.adapters.sql.stores.tables import kind_of
from oms.domain.values import OrderId
from oms.ports.clock import Clock, Ids
from oms.ports.errors import PortError
from oms.settings.records import PostgresConfig

_STORES: dict[str, Callable[[Database, Ids], SqlStore[Any]]] = {
    "order": SqlOrderStore,
    "inventory": SqlInventoryStore,
    "payment": SqlPaymentStore,
    "notification": SqlNotificationStore,
    "step": SqlStepStore,
}


def store_in(database: Database, name: str, ids: Ids) -> SqlStore[Any]:
    """Return the store of a service (or a step) in a database that has its tables."""
    return _STORES[kind_of(name)](database, ids)


def sqlite_store(name: str, path: Path, clock: Clock, ids: Ids) -> SqlStore[Any]:
    """Open the store of a service (or a step) in a file; create or migrate the file first."""
    with _naming_file(path):
        database = sqlite_database(path, clock)
        migrate(database, kind_of(name))
        return store_in(database, name, ids)


def postgres_store(name: str, config: PostgresConfig, ids: Ids) -> SqlStore[Any]:
    """Open the store of a service (or a step) in its schema, with its own role. Its time is the server's.

    `Permanent` if the schema isn't at this program's revision, to which `oms setup` migrates it. `Retryable` if the
    server can't be reached.
    """
    from oms.adapters.sql.postgres.credentials import schema_of, service_credentials
    from oms.adapters.sql.postgres.database import postgres_database

    database = postgres_database(service_credentials(name, config), schema_of(name))
    return store_in(_check_revision(database, name), name, ids)


def postgres_reader(name: str, config: PostgresConfig) -> Any:
    """Open the store of a service (or a step) with the operator's role, which can read but not write."""
    from oms.adapters.sql.postgres import database as postgres
    from oms.adapters.sql.postgres.credentials import operator_credentials, schema_of

    database = postgres.postgres_reader(operator_credentials(config), schema_of(name))
    return store_in(_check_revision(database, name), name, _NoIds())


def read_only(name: str, path: Path, clock: Clock, *, immutable: bool = False) -> Any:
    """Open the file of another process for reading only. `Permanent` if it isn't at this program's revision.

    `immutable`: no process can change the file, such as one on a read-only file system.
    """
    with _naming_file(path):
        return store_in(_check_revision(sqlite_reader(path, clock, immutable=immutable), name), name, _NoIds())


@contextmanager
def _naming_file(path: Path) -> Iterator[None]:
    """Prefix errors with the path of the file that is being opened."""
    try:
        yield
    except PortError as error:
        raise type(error)(f"{path}: {error}") from error


def _check_revision(database: Database, name: str) -> Database:
    try:
        check_current(database, kind_of(name))
    except BaseException:
        database.close()
        raise
    return database


class _NoIds(Ids):
    """A reader creates no rows, so it needs no ids."""

    def order_id(self) -> OrderId:
        raise NotImplementedError

    def token(self) -> str:
        raise NotImplementedError
