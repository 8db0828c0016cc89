"""One database: the kinds of transactions on it, and what differs between PostgreSQL and SQLite."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

import attrs
from sqlalchemy import ColumnElement, Connection, Engine, Select, func, literal

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.errors import TRANSLATE_ERRORS
from oms.adapters.sql.core.joining import CommitCallbacks, check_joinable
from oms.adapters.sql.core.types import Instant
from oms.ports.clock import Clock
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable


class Registration(Protocol):
    """A process that a database server knows as the owner of leases, as long as a session of the process lasts."""

    owner: str | None

    @abstractmethod
    def register(self, instance: str) -> int:
        """Register under the name of an instance; release the leases of its ended processes and return how many."""

    @abstractmethod
    def keep(self) -> None:
        """Register again under the same owner if the session was lost. Releases nothing."""

    @abstractmethod
    def close(self) -> None:
        """End the session."""


Begin = Callable[[Connection, str | None, Clock | None], SqlConnection]
"""Begins a transaction on a connection, for a schema, with the time of a clock if one is given."""


@attrs.frozen
class ConnectionSource:
    """A pool of connections, and how a transaction begins on one of them.

    `per_statement`: each statement is committed with itself, in one round trip.
    """

    engine: Engine
    begin: Begin
    per_statement: bool = False


@attrs.define
class Database:
    """Where each kind of transaction gets its connection.

    `read` is for a single query and `snapshot` for several that see one state. `write` is for a transaction, and
    `autocommit` for a single statement that writes. `unsynced` is like `autocommit`, but returns before the data are on
    disk. The last three are None for a database that is only read. `join` makes the connection of a transaction that
    the caller began; it raises `Permanent` for a connection that can't be joined.

    With `clock` None, the store's time is the server's, which a transaction reads in its first round trip. SQLite uses
    the host's clock. Tests supply a clock that they move.
    """

    _read: ConnectionSource
    _snapshot: ConnectionSource
    _write: ConnectionSource | None
    _autocommit: ConnectionSource | None
    _unsynced: ConnectionSource | None
    _join: Callable[[Connection, Database], SqlConnection]
    clock: Clock | None = None
    schema: str | None = None
    registration: Registration | None = None
    """Registers this process as the owner of its leases; None where the lock of a file proves who owns them."""

    _commit_callbacks: CommitCallbacks = attrs.field(factory=CommitCallbacks, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _shared_snapshot: SqlConnection | None = attrs.field(init=False, default=None)

    @property
    def owner(self) -> str | None:
        """The owner of this process's leases; None while it isn't registered."""
        return self.registration.owner if self.registration is not None else None

    @property
    def time(self) -> ColumnElement[datetime]:
        """The store's time as an expression: that of the beginning of the transaction or of the single statement."""
        return func.now(type_=Instant()) if self.clock is None else literal(self.clock.now(), Instant())

    @property
    def commits_per_statement(self) -> bool:
        """Whether `autocommit` takes one round trip and locks only the rows that it finds."""
        return self._autocommit is not None and self._autocommit.per_statement

    def begin(self) -> SqlConnection:
        """Begin a write transaction; the caller ends it with `commit` or `abandon`."""
        return self._begin(self._writable(self._write))

    def commit(self, connection: SqlConnection) -> None:
        """Make it durable. `OutcomeUnknown` if the disk or the connection fails meanwhile."""
        try:
            connection.commit()
        except OutcomeUnknown:
            with TRANSLATE_ERRORS:
                connection.sqlalchemy.invalidate()  # its state is unknown
            raise
        finally:
            self.abandon(connection)

    def abandon(self, connection: SqlConnection) -> None:
        """Roll back what isn't committed, and return the connection to its pool."""
        connection.drop()
        with TRANSLATE_ERRORS:
            connection.sqlalchemy.close()

    @contextmanager
    def writing(self) -> Iterator[SqlConnection]:
        """A write transaction, committed at the end of the block."""
        with self._transaction(self._writable(self._write)) as connection:
            yield connection

    @contextmanager
    def autocommit(self, *, synced: bool = True) -> Iterator[SqlConnection]:
        """For a single statement that writes and is committed with it; it is on disk afterwards if `synced`.

        The statement must be safe to repeat: a connection lost before the commit raises `OutcomeUnknown` as well.
        """
        source = self._writable(self._autocommit if synced else self._unsynced)
        block = self._reading(source) if source.per_statement else self._transaction(source)
        with block as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[SqlConnection]:
        """For one query of committed rows, without a lock that a writer would wait for."""
        with self._reading(self._read) as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[SqlConnection]:
        """Like `reading`, for several queries that see one state of the database."""
        with self._reading(self._snapshot) as connection:
            yield connection

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Let all streams of the block see one state of the database. For one thread at a time."""
        with self.snapshot() as connection:
            self._shared_snapshot = connection
            try:
                yield
            finally:
                self._shared_snapshot = None

    def stream(self, statement: Select[Any]) -> Iterator[Any]:
        """Yield the rows of one state of the database, however many there are."""
        if self._shared_snapshot is not None:
            yield from self._shared_snapshot.stream(statement)
            return
        with self.snapshot() as connection:
            yield from connection.stream(statement)

    def joined(self, connection: object, committing: Callable[[], None] = lambda: None) -> SqlConnection:
        """Join the current transaction of the caller's own connection; begin it if there is none.

        Calls `committing` just before SQLAlchemy commits that transaction. `Permanent` for a connection that can't be
        joined. After any other error the caller has to roll back, because earlier statements may have run.
        """
        theirs = check_joinable(connection, self._read.engine.dialect)
        with TRANSLATE_ERRORS:
            joined = self._join(theirs, self)
        self._commit_callbacks.add(committing, theirs)
        return joined

    def close(self) -> None:
        """Close the connections; every later call is refused."""
        self._closed = True
        for source in (self._read, self._write, self._autocommit, self._unsynced):
            if source is not None:
                source.engine.dispose()
        if self.registration is not None:
            self.registration.close()

    @contextmanager
    def _reading(self, source: ConnectionSource) -> Iterator[SqlConnection]:
        connection = self._begin(source)
        try:
            yield connection
            connection.end()
        finally:
            self.abandon(connection)

    @contextmanager
    def _transaction(self, source: ConnectionSource) -> Iterator[SqlConnection]:
        connection = self._begin(source)
        try:
            yield connection
            self.commit(connection)
        finally:
            self.abandon(connection)

    def _writable(self, source: ConnectionSource | None) -> ConnectionSource:
        if source is None:
            raise Permanent("the database was opened to be read only")
        return source

    def _begin(self, source: ConnectionSource) -> SqlConnection:
        if self._closed:
            raise Retryable("the store is closed")
        with TRANSLATE_ERRORS:
            connection = source.engine.connect()
            try:
                return source.begin(connection, self.schema, self.clock)
            except BaseException:
                connection.close()
                raise
