"""Joining the caller's transaction: which connections can be joined, and callbacks at the caller's commit.

A connection is refused before anything is written if its commit would not commit the order: in AUTOCOMMIT mode, for
another database, or without the rights that the tables need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Dialect, event

from oms.ports.errors import Permanent

Callback = Callable[[], None]


def refused(reason: str) -> Permanent:
    """Return the error for a connection that can't be joined."""
    return Permanent(f"an order can't join this connection: {reason}")


def check_joinable(connection: object, store: Dialect) -> Connection:
    """Return the connection if its dialect is that of the store and it isn't in AUTOCOMMIT mode; else `Permanent`."""
    if not isinstance(connection, Connection):
        kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
        raise refused(f"it is a {kind}, not a sqlalchemy.Connection (of a Session, that is session.connection())")
    theirs = connection.dialect
    if theirs.is_async:
        raise refused("it belongs to an async engine; use a connection of a synchronous one")
    if (theirs.name, theirs.driver) != (store.name, store.driver):
        raise refused(f"it is {theirs.name}+{theirs.driver}, the orders are in {store.name}+{store.driver}")
    if connection.closed:
        raise refused("it is closed")
    if _is_autocommit(connection):
        raise refused("it is in AUTOCOMMIT mode, so there is no transaction to join")
    return connection


def _is_autocommit(connection: Connection) -> bool:
    of_engine = getattr(connection.dialect, "_on_connect_isolation_level", None)
    level = connection.get_execution_options().get("isolation_level", of_engine)
    return bool(level == "AUTOCOMMIT")


class CommitCallbacks:
    """Calls functions when callers commit, and forgets them when callers roll back.

    SQLAlchemy reports a commit just before it sends it, and only one that it sends itself: a COMMIT that the caller
    sends as text isn't seen.
    """

    def __init__(self) -> None:
        self._pending: WeakKeyDictionary[Connection, list[Callback]] = WeakKeyDictionary()

    def add(self, callback: Callback, connection: Connection) -> None:
        """Call `callback` once, just before the connection's transaction is committed."""
        if not event.contains(connection, "commit", self._committing):
            event.listen(connection, "commit", self._committing)
            event.listen(connection, "commit_twophase", self._committing)
            event.listen(connection, "rollback", self._rolled_back)
            event.listen(connection, "rollback_twophase", self._rolled_back)
        self._pending.setdefault(connection, []).append(callback)

    def _committing(self, connection: Connection, *_: Any) -> None:
        for callback in self._pending.pop(connection, ()):
            callback()

    def _rolled_back(self, connection: Connection, *_: Any) -> None:
        self._pending.pop(connection, None)
