"""The simulated gateway's own book: apart from ours, durable, and the judge of what was charged."""

from __future__ import annotations

import sqlite3
import threading
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

import attrs

from oms.ports.errors import Permanent
from oms.ports.evidence import BookEntry, BookKind, GatewayBook


@attrs.frozen
class Page:
    """What the book says of one key: the first answer, which every later one repeats."""

    key: str
    outcome: BookKind
    payment_id: str
    amount: int
    visible_at: datetime
    refunded: bool = False


class Book(GatewayBook, Protocol):
    """Pages by key. Each method is atomic."""

    @abstractmethod
    def page(self, key: str) -> Page | None:
        """What is written under a key."""

    @abstractmethod
    def open(self, page: Page, at: datetime) -> Page:
        """Write the first answer of a key, unless there is one; answers with the one that counts."""

    @abstractmethod
    def refund(self, key: str, at: datetime) -> Page | None:
        """Give a capture back, once; None for a key that isn't known."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files."""


class MemoryBook(Book):
    """A book for tests: gone with its process."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self._entries: list[BookEntry] = []
        self._lock = threading.Lock()

    def page(self, key: str) -> Page | None:
        """What is written under a key."""
        return self._pages.get(key)

    def open(self, page: Page, at: datetime) -> Page:
        """Write the first answer of a key."""
        with self._lock:
            known = self._pages.setdefault(page.key, page)
            if known is page:
                self._entries.append(BookEntry(page.key, page.outcome, page.amount, at))
        return known

    def refund(self, key: str, at: datetime) -> Page | None:
        """Give a capture back, once."""
        with self._lock:
            page = self._pages.get(key)
            if page is not None and page.outcome is BookKind.CAPTURE and not page.refunded:
                page = self._pages[key] = attrs.evolve(page, refunded=True)
                self._entries.append(BookEntry(key, BookKind.REFUND, page.amount, at))
        return page

    def all_entries(self) -> Iterable[BookEntry]:
        """Every line."""
        return list(self._entries)

    def close(self) -> None:
        """Nothing."""


_SCHEMA = """
CREATE TABLE IF NOT EXISTS pages (
    key TEXT PRIMARY KEY, outcome TEXT NOT NULL, payment_id TEXT NOT NULL, amount INTEGER NOT NULL,
    visible_at TEXT NOT NULL, refunded INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, amount INTEGER NOT NULL, at TEXT NOT NULL
);
"""


class SqliteBook(Book):
    """A book in a file. One thread writes, and all calls that wait share a commit: many charges, one fsync."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._orders: SimpleQueue[_Write | None] = SimpleQueue()
        self._reader = threading.local()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
        self._thread = threading.Thread(target=self._work, name="oms-gateway-book", daemon=True)
        self._thread.start()

    @classmethod
    def read_only(cls, path: Path) -> GatewayBook:
        """Another process's book."""
        return _RecordedBook(path)

    def page(self, key: str) -> Page | None:
        """What is written under a key."""
        if not hasattr(self._reader, "connection"):
            self._reader.connection = sqlite3.connect(self._path)
        return _page(self._reader.connection, key)

    def open(self, page: Page, at: datetime) -> Page:
        """Write the first answer of a key."""
        written = self._ask(_Write(page.key, at, page))
        if written is None:
            raise Permanent(f"the book has no page {page.key}")
        return written

    def refund(self, key: str, at: datetime) -> Page | None:
        """Give a capture back, once."""
        return self._ask(_Write(key, at, None))

    def all_entries(self) -> Iterable[BookEntry]:
        """Every line."""
        return _RecordedBook(self._path).all_entries()

    def close(self) -> None:
        """End the writer after what was asked of it."""
        self._orders.put(None)
        self._thread.join(5)

    def _ask(self, write: _Write) -> Page | None:
        self._orders.put(write)
        write.ended.acquire()
        if write.error is not None:
            raise write.error
        return write.answer

    def _work(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        while (first := self._orders.get()) is not None:
            group, stop = [first], False
            while not self._orders.empty() and len(group) < 500:
                following = self._orders.get()
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
class _Write:
    """What one call waits for. `ended` is held until then: all that a future is needed for here, at a tenth of it."""

    key: str
    at: datetime
    page: Page | None
    """The first answer to write; None is a refund."""

    answer: Page | None = None
    error: sqlite3.Error | None = None
    ended: threading.Lock = attrs.field(factory=_held)


def _commit(connection: sqlite3.Connection, group: Sequence[_Write]) -> None:
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
        write.ended.release()


def _apply(connection: sqlite3.Connection, group: Sequence[_Write]) -> None:
    """Answer all, and write what changes: a key's first answer, and its refund."""
    pages: dict[str, Page] = {}
    entries: list[BookEntry] = []
    for write in group:
        known = pages.get(write.key) or _page(connection, write.key)
        write.answer, kind = _turned(known, write)
        if kind is not None and write.answer is not None:
            pages[write.key] = write.answer
            entries.append(BookEntry(write.key, kind, write.answer.amount, write.at))
    connection.executemany(_KEEP, [_row(page) for page in pages.values()])
    connection.executemany(_ENTER, [(one.key, one.kind.value, one.amount, one.at.isoformat()) for one in entries])


def _turned(known: Page | None, write: _Write) -> tuple[Page | None, BookKind | None]:
    """The page that counts from now on, and the kind of the entry that says so; None where nothing changes."""
    if write.page is not None:
        return (write.page, write.page.outcome) if known is None else (known, None)
    if known is not None and known.outcome is BookKind.CAPTURE and not known.refunded:
        return attrs.evolve(known, refunded=True), BookKind.REFUND
    return known, None


_KEEP = (
    "INSERT INTO pages (key, outcome, payment_id, amount, visible_at, refunded) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET refunded = excluded.refunded"
)
_ENTER = "INSERT INTO entries (key, kind, amount, at) VALUES (?, ?, ?, ?)"


def _row(page: Page) -> tuple[object, ...]:
    at = page.visible_at.isoformat()
    return page.key, page.outcome.value, page.payment_id, page.amount, at, int(page.refunded)


def _page(connection: sqlite3.Connection, key: str) -> Page | None:
    row = connection.execute(
        "SELECT key, outcome, payment_id, amount, visible_at, refunded FROM pages WHERE key = ?", (key,)
    ).fetchone()
    if row is None:
        return None
    return Page(row[0], BookKind(row[1]), row[2], row[3], datetime.fromisoformat(row[4]).astimezone(UTC), bool(row[5]))


class _RecordedBook(GatewayBook):
    def __init__(self, path: Path) -> None:
        self._path = path

    def all_entries(self) -> Iterable[BookEntry]:
        """Every line."""
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        try:
            for key, kind, amount, at in connection.execute(
                "SELECT key, kind, amount, at FROM entries ORDER BY number"
            ):
                yield BookEntry(key, BookKind(kind), amount, datetime.fromisoformat(at))
        finally:
            connection.close()
