"""The simulated gateway's book in an SQLite file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import attrs

from oms.adapters.gateways.book import Book, Page, RefundPage, decide_refund, refund_entry
from oms.ports.errors import Permanent
from oms.ports.evidence import BookEntry, BookKind, GatewayBook
from oms.ports.extensions import Refund

Outcome = TypeVar("Outcome", Page, RefundPage)

MAX_GROUP = 500
"""Writes in one commit."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pages (
    key TEXT PRIMARY KEY, outcome TEXT NOT NULL, payment_id TEXT NOT NULL, amount INTEGER NOT NULL,
    visible_at TEXT NOT NULL, refunded INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, amount INTEGER NOT NULL, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS refunds (key TEXT PRIMARY KEY, charge_key TEXT NOT NULL, amount INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS refunds_by_charge ON refunds (charge_key);
INSERT OR IGNORE INTO refunds (key, charge_key, amount) SELECT key, key, amount FROM pages WHERE refunded <> 0;
"""
"""Older files have only whole refunds, in the column `refunded`: the last statement copies them."""


_INSERT_PAGE = "INSERT INTO pages (key, outcome, payment_id, amount, visible_at, refunded) VALUES (?, ?, ?, ?, ?, 0)"
_INSERT_REFUND = "INSERT INTO refunds (key, charge_key, amount, visible_at, declined) VALUES (?, ?, ?, ?, ?)"
_INSERT_ENTRY = "INSERT INTO entries (key, kind, amount, at, currency, refund_key) VALUES (?, ?, ?, ?, ?, ?)"
_ADDED_COLUMNS = ("currency", "refund_key")
"""Columns of `entries` that older files lack."""
_ADDED_TO_REFUNDS = ("visible_at", "declined")
"""Columns of `refunds` that older files lack: each of their refunds was paid, and is visible since `_LONG_AGO`."""
_LONG_AGO = "1970-01-01T00:00:00+00:00"


class _Reader(threading.local):
    """The connection with which each thread reads."""

    connection: sqlite3.Connection | None = None


class SqliteBook(Book):
    """A book in an SQLite file. One thread writes, with one commit for all calls that wait: many charges, one fsync."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writes: SimpleQueue[_Write[Any] | None] = SimpleQueue()
        self._reader = _Reader()
        with _errors_name(path), sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
            for table, added in (("entries", _ADDED_COLUMNS), ("refunds", _ADDED_TO_REFUNDS)):
                for column in sorted(set(added) - _columns(connection, table)):
                    connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT")
        with _errors_name(path):  # not on the thread, so that a failure reaches the caller
            writing = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            writing.execute("PRAGMA synchronous=FULL")
        self._thread = threading.Thread(target=self._work, args=(writing,), name="oms-gateway-book", daemon=True)
        self._thread.start()

    @classmethod
    def read_only(cls, path: Path, *, immutable: bool = False) -> GatewayBook:
        """The book of another process; `immutable`: no process can change the file."""
        return _RecordedBook(path, immutable=immutable)

    def page(self, key: str) -> Page | None:
        return _page(self._connection(), key)

    def open(self, page: Page, at: datetime) -> Page:
        return self._submit(_Write[Page](lambda pending: pending.open(page, at)))

    def refund_page(self, key: str) -> RefundPage | None:
        return _refund_page(self._connection(), key)

    def refund(
        self, refund: Refund, at: datetime, *, declined: str | None = None, visible_at: datetime | None = None
    ) -> RefundPage:
        return self._submit(_Write(lambda pending: pending.refund(refund, at, declined, visible_at or at)))

    def all_entries(self) -> Iterable[BookEntry]:
        return _RecordedBook(self._path).all_entries()

    def close(self) -> None:
        """End the writer after it has written what was submitted."""
        self._writes.put(None)
        self._thread.join(5)

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's connection for reading."""
        connection = self._reader.connection
        if connection is None:
            connection = self._reader.connection = sqlite3.connect(self._path)
        return connection

    def _submit(self, write: _Write[Outcome]) -> Outcome:
        self._writes.put(write)
        write.done.acquire()
        if write.error is not None:
            raise write.error
        if write.outcome is None:
            raise Permanent(f"{self._path}: a write ended without an outcome")
        return write.outcome

    def _work(self, connection: sqlite3.Connection) -> None:
        while (first := self._writes.get()) is not None:
            group, stop = [first], False
            while not self._writes.empty() and len(group) < MAX_GROUP:
                following = self._writes.get()
                if following is None:
                    stop = True
                    break
                group.append(following)
            _commit(connection, group)
            if stop:
                break
        connection.close()


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@attrs.define(eq=False)
class _Write(Generic[Outcome]):
    """The request of one call. The lock `done` is held until it is written: a future would take ten times as long."""

    decide: Callable[[_PendingChanges], Outcome]
    """Adds this write to the pending changes, and returns its outcome."""

    outcome: Outcome | None = None
    error: sqlite3.Error | None = None
    done: threading.Lock = attrs.field(factory=_held)


def _commit(connection: sqlite3.Connection, group: Sequence[_Write[Any]]) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
        _apply(connection, group)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for write in group:
            write.error = error
    for write in group:
        write.done.release()


def _apply(connection: sqlite3.Connection, group: Sequence[_Write[Any]]) -> None:
    """Decide every write, and insert the new pages, refunds and entries."""
    pending = _PendingChanges(connection)
    for write in group:
        write.outcome = write.decide(pending)
    connection.executemany(_INSERT_PAGE, [_row(page) for page in pending.opened])
    connection.executemany(
        _INSERT_REFUND,
        [
            (one.key, one.charge_key, one.amount, one.visible_at.isoformat(), one.declined)
            for one in pending.refunds.values()
        ],
    )
    entries = [
        (one.key, one.kind.value, one.amount, one.at.isoformat(), one.currency, one.refund_key)
        for one in pending.entries
    ]
    connection.executemany(_INSERT_ENTRY, entries)


class _PendingChanges:
    """The changes of one commit, and the pages as they will be after it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._pages: dict[str, Page] = {}
        self.opened: list[Page] = []
        self.refunds: dict[str, RefundPage] = {}
        self.entries: list[BookEntry] = []

    def open(self, page: Page, at: datetime) -> Page:
        """Open a page unless its key has one; returns the key's page."""
        known = self._page(page.key)
        if known is not None:
            return known
        self._pages[page.key] = page
        self.opened.append(page)
        self.entries.append(BookEntry(page.key, page.outcome, page.amount, at, page.currency))
        return page

    def refund(self, refund: Refund, at: datetime, declined: str | None, visible_at: datetime) -> RefundPage:
        """Decide a refund unless its key has an outcome; returns the key's outcome."""
        known = self.refunds.get(refund.key) or _refund_page(self._connection, refund.key)
        if known is not None:
            return known
        charge = self._page(refund.charge_key)
        decided = self.refunds[refund.key] = decide_refund(refund, charge, visible_at, declined)
        if charge is not None and decided.declined is None:
            self.entries.append(refund_entry(refund, at))
            self._pages[charge.key] = attrs.evolve(charge, refunded=charge.refunded + decided.amount)
        return decided

    def _page(self, key: str) -> Page | None:
        return self._pages.get(key) or _page(self._connection, key)


class _RecordedBook(GatewayBook):
    """A book on disk, read-only."""

    def __init__(self, path: Path, *, immutable: bool = False) -> None:
        self._path = path
        self._address = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"

    def all_entries(self) -> Iterable[BookEntry]:
        """Every entry; `Permanent` if the file is damaged or isn't a book."""
        with (
            _errors_name(self._path),
            closing(sqlite3.connect(self._address, uri=True)) as book,
        ):
            present = _columns(book, "entries")
            added = ", ".join(name if name in present else "NULL" for name in _ADDED_COLUMNS)
            select = f"SELECT key, kind, amount, at, {added} FROM entries ORDER BY number"  # noqa: S608 - constants
            for key, kind, amount, at, code, refund_key in book.execute(select):
                yield BookEntry(key, BookKind(kind), amount, datetime.fromisoformat(at), code, refund_key)


def _columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """Return the names of a table's columns."""
    return frozenset(column[1] for column in connection.execute(f"PRAGMA table_info({table})"))


def _row(page: Page) -> tuple[object, ...]:
    at = page.visible_at.isoformat()
    return page.key, page.outcome.value, page.payment_id, page.amount, at


def _page(connection: sqlite3.Connection, key: str) -> Page | None:
    row = connection.execute(
        "SELECT key, outcome, payment_id, amount, visible_at,"
        " (SELECT COALESCE(SUM(amount), 0) FROM refunds WHERE charge_key = pages.key) FROM pages WHERE key = ?",
        (key,),
    ).fetchone()
    if row is None:
        return None
    return Page(row[0], BookKind(row[1]), row[2], row[3], datetime.fromisoformat(row[4]).astimezone(UTC), row[5])


def _refund_page(connection: sqlite3.Connection, key: str) -> RefundPage | None:
    row = connection.execute(
        "SELECT key, charge_key, amount, visible_at, declined FROM refunds WHERE key = ?", (key,)
    ).fetchone()
    if row is None:
        return None
    visible_at = (
        datetime.fromisoformat(row[3]).astimezone(UTC) if row[3] is not None else datetime.min.replace(tzinfo=UTC)
    )
    return RefundPage(row[0], row[1], row[2], visible_at, row[4])


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Turn an error of SQLite, or of a row that can't be read, into `Permanent` with the file's name."""
    try:
        yield
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise Permanent(f"{path} can't be used as the gateway's book: {error}") from error
