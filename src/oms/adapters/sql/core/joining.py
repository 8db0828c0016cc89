"""Joining a transaction of the caller's: which connections can be joined, and how its commit becomes known.

A connection is refused before anything is written where its commit would not be the order's: in AUTOCOMMIT mode, to
another database, without the rights that the tables need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Dialect, event

from oms.ports.errors import Permanent

Act = Callable[[], None]


def refused(reason: str) -> Permanent:
    """The error for a connection that can't be joined."""
    return Permanent(f"an order can't join this connection: {reason}")


def joinable(connection: object, store: Dialect) -> Connection:
    """The connection, if it is of the same kind as the store's own and not in AUTOCOMMIT mode; else `Permanent`."""
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


class Commits:
    """Calls functions when callers commit, and forgets them when callers roll back.

    SQLAlchemy announces a commit just before it sends it, and only one that it sends itself: a COMMIT that the caller
    sends as text isn't seen.
    """

    def __init__(self) -> None:
        self._owed: WeakKeyDictionary[Connection, list[Act]] = WeakKeyDictionary()

    def call(self, act: Act, connection: Connection) -> None:
        """Call `act` once, when the connection's transaction is about to be committed."""
        if not event.contains(connection, "commit", self._committing):
            event.listen(connection, "commit", self._committing)
            event.listen(connection, "commit_twophase", self._committing)
            event.listen(connection, "rollback", self._rolled_back)
            event.listen(connection, "rollback_twophase", self._rolled_back)
        self._owed.setdefault(connection, []).append(act)

    def _committing(self, connection: Connection, *_: Any) -> None:
        for act in self._owed.pop(connection, ()):
            act()

    def _rolled_back(self, connection: Connection, *_: Any) -> None:
        self._owed.pop(connection, None)
