"""The ways into one database, and what differs from one kind of database to another."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

import attrs
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    func,
    literal,
)

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.errors import TRANSLATE_ERRORS
from oms.adapters.sql.core.joining import Commits, joinable
from oms.adapters.sql.core.types import Instant
from oms.ports.clock import Clock
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable


class Registration(Protocol):
    """A process that a database server knows as the owner of leases, for as long as a session of its own lasts."""

    owner: str | None

    @abstractmethod
    def register(self, instance: str) -> int:
        """Register under the name of an instance, and release the leases that its ended processes left; how many."""

    @abstractmethod
    def keep(self) -> None:
        """Register again, under the same owner, where the session was lost. Releases nothing."""

    @abstractmethod
    def close(self) -> None:
        """End the session."""


Begin = Callable[[Connection, str | None, Clock | None], SqlConnection]
"""Begins a transaction on a connection, for a schema, by a clock where one is given."""


@attrs.frozen
class ConnectionSource:
    """Where connections come from, and how a transaction begins on one.

    `alone`: a statement is sent with all that makes it a transaction, in one round trip; there is no other one in it.
    """

    engine: Engine
    begin: Begin
    alone: bool = False


@attrs.define
class Database:
    """The ways in: `read` for a single statement, `snapshot` for several of one moment, `write`, `alone` for a single
    statement that writes, and `side` for one that needn't reach the disk before the call returns.

    `write`, `alone` and `side` are None where the database is another process's and only looked at. The store's time
    is the database's own where `clock` is None, read in the round trip that begins a transaction; SQLite runs on the
    host that asks and is given the host's. A test gives a clock that it moves.
    """  # noqa: D205 - the list reads as one sentence

    _read: ConnectionSource
    _snapshot: ConnectionSource
    _write: ConnectionSource | None
    _alone: ConnectionSource | None
    _side: ConnectionSource | None
    _join: Callable[[Connection, Database], SqlConnection]
    """Makes the link of a transaction that the caller began; `Permanent` for a connection that can't be joined."""

    clock: Clock | None = None
    schema: str | None = None
    registration: Registration | None = None
    """Where this process is known as the owner of its leases; None where a file's lock proves who owns them."""

    _commits: Commits = attrs.field(factory=Commits, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _moment: SqlConnection | None = attrs.field(init=False, default=None)

    @property
    def owner(self) -> str | None:
        """The name that leases of this process are written under; None while it isn't registered."""
        return self.registration.owner if self.registration is not None else None

    @property
    def time(self) -> ColumnElement[datetime]:
        """The store's time, for a condition in a statement: as of the transaction's, or the statement's, beginning."""
        return func.now(type_=Instant()) if self.clock is None else literal(self.clock.now(), Instant())

    @property
    def in_one_trip(self) -> bool:
        """Whether a single statement that writes needs no more than itself, and only locks what it finds."""
        return self._alone is not None and self._alone.alone

    def begin(self) -> SqlConnection:
        """Start a write transaction on a connection that is the caller's until `commit` or `abandon`."""
        return self._begin(self._writable(self._write))

    def commit(self, link: SqlConnection) -> None:
        """Make it durable. `OutcomeUnknown` where the disk, or the connection, failed meanwhile."""
        try:
            link.commit()
        except OutcomeUnknown:
            with TRANSLATE_ERRORS:
                link.connection.invalidate()  # nobody knows what state it is in
            raise
        finally:
            self.abandon(link)

    def abandon(self, link: SqlConnection) -> None:
        """Undo what isn't committed."""
        link.drop()
        with TRANSLATE_ERRORS:
            link.connection.close()

    @contextmanager
    def writing(self) -> Iterator[SqlConnection]:
        """A write transaction, committed at the end of the block."""
        with self._transaction(self._writable(self._write)) as link:
            yield link

    @contextmanager
    def alone(self, *, side: bool = False) -> Iterator[SqlConnection]:
        """For a single statement that writes, and is committed with it.

        It must stand being repeated: `OutcomeUnknown` also where the connection was lost before the commit.
        """
        way = self._writable(self._side if side else self._alone)
        if not way.alone:
            with self._transaction(way) as link:
                yield link
            return
        with self._looking(way) as link:
            yield link

    @contextmanager
    def reading(self) -> Iterator[SqlConnection]:
        """For one statement that reads what is committed, without a lock that a writer would wait for."""
        with self._looking(self._read) as link:
            yield link

    @contextmanager
    def snapshot(self) -> Iterator[SqlConnection]:
        """The same for several statements, which see one state of the database."""
        with self._looking(self._snapshot) as link:
            yield link

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """All streams of the block show one state of the database; for one thread at a time."""
        with self.snapshot() as link:
            self._moment = link
            try:
                yield
            finally:
                self._moment = None

    def stream(self, statement: Select[Any]) -> Iterator[Any]:
        """Rows of one moment, however many."""
        if self._moment is not None:
            yield from self._moment.stream(statement)
            return
        with self.snapshot() as link:
            yield from link.stream(statement)

    def joined(self, connection: object, committing: Callable[[], None] = lambda: None) -> SqlConnection:
        """The caller's own connection, in its current transaction, which is begun if there is none.

        Calls `committing` just before SQLAlchemy commits that transaction. `Permanent` for a connection that can't be
        joined. After any other error the caller has to roll back, because the statements before it may have run.
        """
        theirs = joinable(connection, self._read.engine.dialect)
        with TRANSLATE_ERRORS:
            link = self._join(theirs, self)
        self._commits.call(committing, theirs)
        return link

    def close(self) -> None:
        """Close the connections; every later call is refused."""
        self._closed = True
        for way in (self._read, self._write, self._alone, self._side):
            if way is not None:
                way.engine.dispose()
        if self.registration is not None:
            self.registration.close()

    @contextmanager
    def _looking(self, way: ConnectionSource) -> Iterator[SqlConnection]:
        link = self._begin(way)
        try:
            yield link
            link.end()
        finally:
            self.abandon(link)

    @contextmanager
    def _transaction(self, way: ConnectionSource) -> Iterator[SqlConnection]:
        link = self._begin(way)
        try:
            yield link
            self.commit(link)
        finally:
            self.abandon(link)

    def _writable(self, way: ConnectionSource | None) -> ConnectionSource:
        if way is None:
            raise Permanent("the database was opened to be read only")
        return way

    def _begin(self, way: ConnectionSource) -> SqlConnection:
        if self._closed:
            raise Retryable("the store is closed")
        with TRANSLATE_ERRORS:
            connection = way.engine.connect()
            try:
                return way.begin(connection, self.schema, self.clock)
            except BaseException:
                connection.close()
                raise
