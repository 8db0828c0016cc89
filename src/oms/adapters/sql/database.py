"""The ways into one database, and what differs from one kind of database to another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import attrs
from sqlalchemy import Connection, Engine, Select

from oms.adapters.sql.border import BORDER, COMMIT
from oms.adapters.sql.link import Link
from oms.ports.clock import Clock
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable


@attrs.define
class Database:
    """Three ways in: `write`, `read`, and `side` for notes that needn't reach the disk before the call returns.

    `write` is None where the database is another process's and only looked at. The clock is the database's own time:
    SQLite runs on the host that asks.
    """

    read: Engine
    write: Engine | None
    side: Engine | None
    clock: Clock
    _closed: bool = False

    def now(self) -> datetime:
        """The database's time."""
        return self.clock.now()

    def begin(self) -> Link:
        """Start a write transaction on a connection that is the caller's until `commit` or `abandon`."""
        return self._begin(self._writable(self.write))

    def commit(self, link: Link) -> None:
        """Make it durable. `OutcomeUnknown` where the disk failed meanwhile."""
        link.ensure_open()
        try:
            with COMMIT:
                link.connection.commit()
        except OutcomeUnknown:
            with BORDER:
                link.connection.invalidate()  # nobody knows what state it is in
            raise
        finally:
            self.abandon(link)

    def abandon(self, link: Link) -> None:
        """Undo what isn't committed."""
        link.end()
        with BORDER:
            link.connection.close()

    @contextmanager
    def writing(self, *, side: bool = False) -> Iterator[Link]:
        """A write transaction, committed at the end of the block."""
        link = self._begin(self._writable(self.side if side else self.write))
        try:
            yield link
            self.commit(link)
        finally:
            self.abandon(link)

    @contextmanager
    def reading(self) -> Iterator[Link]:
        """A read transaction: one state of the database, and no lock that a writer would wait for."""
        link = self._begin(self.read)
        try:
            yield link
        finally:
            self.abandon(link)

    def stream(self, statement: Select[Any]) -> Iterator[Any]:
        """Rows, a thousand at a time."""
        with self.reading() as link, BORDER:
            yield from link.connection.execution_options(yield_per=1000).execute(statement)

    def joined(self, connection: object) -> Link:
        """The caller's own connection, in whatever transaction it is."""
        if not isinstance(connection, Connection):
            raise Permanent("only a transaction of a SQLAlchemy Connection can be joined")
        if connection.dialect.name != self.read.dialect.name:
            raise Permanent(f"the store is {self.read.dialect.name}, the connection is {connection.dialect.name}")
        return Link(connection, self.now())

    def close(self) -> None:
        """Close the connections; every later call is refused."""
        self._closed = True
        for engine in (self.read, self.write, self.side):
            if engine is not None:
                engine.dispose()

    def _writable(self, engine: Engine | None) -> Engine:
        if engine is None:
            raise Permanent("the database was opened to be read only")
        return engine

    def _begin(self, engine: Engine) -> Link:
        if self._closed:
            raise Retryable("the store is closed")
        with BORDER:
            connection = engine.connect()
            try:
                connection.begin()
            except BaseException:
                connection.close()
                raise
        return Link(connection, self.now())  # the lock may have been waited for: time is read after it
