"""The simulated gateway's own book: apart from ours, durable, and the judge of what was charged."""

from __future__ import annotations

import sqlite3
import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

import attrs

from oms.ports.errors import Permanent
from oms.ports.evidence import BookEntry, BookKind, GatewayBook
from oms.ports.extensions import Refund


@attrs.frozen
class Page:
    """The book's record of one charge key: the first answer, which every later one repeats; amounts in minor units."""

    key: str
    outcome: BookKind
    payment_id: str
    amount: int
    visible_at: datetime
    refunded: int = 0
    currency: str | None = None
    """The code of the charge's currency, for the line of its capture."""

    def allows_refund(self, amount: int) -> bool:
        """Whether so much of the captured money is still there."""
        return self.outcome is BookKind.CAPTURE and 0 <= amount <= self.amount - self.refunded


class Book(GatewayBook, Protocol):
    """Pages by key. Each method is atomic."""

    @abstractmethod
    def page(self, key: str) -> Page | None:
        """What is written under a key."""

    @abstractmethod
    def open(self, page: Page, at: datetime) -> Page:
        """Write the first answer of a key, unless there is one; answers with the one that counts."""

    @abstractmethod
    def refund(self, refund: Refund, at: datetime) -> bool:
        """Give money of a charge back, once for the refund's key; False where the charge has too little left."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files."""


class MemoryBook(Book):
    """A book for tests: gone with its process."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self._refunds: set[str] = set()
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
                self._entries.append(BookEntry(page.key, page.outcome, page.amount, at, page.currency))
        return known

    def refund(self, refund: Refund, at: datetime) -> bool:
        """Give money of a charge back, once for the refund's key."""
        amount = refund.amount.minor
        with self._lock:
            if refund.key in self._refunds:
                return True
            page = self._pages.get(refund.charge_key)
            if page is None or not page.allows_refund(amount):
                return False
            self._refunds.add(refund.key)
            self._pages[page.key] = attrs.evolve(page, refunded=page.refunded + amount)
            self._entries.append(BookEntry(page.key, BookKind.REFUND, amount, at, refund.amount.currency.code))
            return True

    def all_entries(self) -> Iterable[BookEntry]:
        return list(self._entries)

    def all_pages(self) -> Iterable[Page]:
        """Every page, in the order in which they were opened."""
        return list(self._pages.values())

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
CREATE TABLE IF NOT EXISTS refunds (key TEXT PRIMARY KEY, charge_key TEXT NOT NULL, amount INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS refunds_by_charge ON refunds (charge_key);
INSERT OR IGNORE INTO refunds SELECT key, key, amount FROM pages WHERE refunded <> 0;
"""
"""The column `refunded` is that of older files, which knew whole refunds only: the last line takes these over."""


class SqliteBook(Book):
    """A book in a file. One thread writes, and all calls that wait share a commit: many charges, one fsync."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._orders: SimpleQueue[_Write | None] = SimpleQueue()
        self._reader = threading.local()
        with _naming(path), sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
            if not _names_currencies(connection):
                connection.execute("ALTER TABLE entries ADD COLUMN currency TEXT")
        with _naming(path):  # not on the thread, so that a failure reaches the caller
            writing = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            writing.execute("PRAGMA synchronous=FULL")
        self._thread = threading.Thread(target=self._work, args=(writing,), name="oms-gateway-book", daemon=True)
        self._thread.start()

    @classmethod
    def read_only(cls, path: Path, *, immutable: bool = False) -> GatewayBook:
        """Another process's book; `immutable`: no process can change the file."""
        return _RecordedBook(path, immutable=immutable)

    def page(self, key: str) -> Page | None:
        """What is written under a key."""
        if not hasattr(self._reader, "connection"):
            self._reader.connection = sqlite3.connect(self._path)
        return _page(self._reader.connection, key)

    def open(self, page: Page, at: datetime) -> Page:
        """Write the first answer of a key."""
        written = self._ask(_Write(at, page))
        if written is None:
            raise Permanent(f"the book has no page {page.key}")
        return written

    def refund(self, refund: Refund, at: datetime) -> bool:
        """Give money of a charge back, once for the refund's key."""
        return self._ask(_Write(at, refund)) is not None

    def all_entries(self) -> Iterable[BookEntry]:
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

    def _work(self, connection: sqlite3.Connection) -> None:
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

    at: datetime
    wanted: Page | Refund
    """The first answer of a charge's key, or a refund."""

    answer: Page | None = None
    """The charge's page after it; None where a refund was refused."""

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
    """Answer all, and write what changes: a key's first answer, and each refund."""
    turned = _Turned(connection)
    for write in group:
        turned.take(write)
    connection.executemany(_KEEP, [_row(page) for page in turned.opened])
    connection.executemany(_GIVE_BACK, [(one.key, one.charge_key, one.amount.minor) for one in turned.refunds.values()])
    entries = [(one.key, one.kind.value, one.amount, one.at.isoformat(), one.currency) for one in turned.entries]
    connection.executemany(_ENTER, entries)


class _Turned:
    """The changes of one commit, and the pages as they will be after it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._pages: dict[str, Page] = {}
        self.opened: list[Page] = []
        self.refunds: dict[str, Refund] = {}
        self.entries: list[BookEntry] = []

    def take(self, write: _Write) -> None:
        """Decide one write, and set its answer."""
        if isinstance(write.wanted, Page):
            write.answer = self._open(write.wanted, write.at)
        else:
            write.answer = self._refund(write.wanted, write.at)

    def _open(self, page: Page, at: datetime) -> Page:
        known = self._page(page.key)
        if known is not None:
            return known
        self._pages[page.key] = page
        self.opened.append(page)
        self.entries.append(BookEntry(page.key, page.outcome, page.amount, at, page.currency))
        return page

    def _refund(self, refund: Refund, at: datetime) -> Page | None:
        page, amount = self._page(refund.charge_key), refund.amount.minor
        if self._is_done(refund.key):
            return page
        if page is None or not page.allows_refund(amount):
            return None
        self.refunds[refund.key] = refund
        self.entries.append(BookEntry(page.key, BookKind.REFUND, amount, at, refund.amount.currency.code))
        self._pages[page.key] = attrs.evolve(page, refunded=page.refunded + amount)
        return self._pages[page.key]

    def _page(self, key: str) -> Page | None:
        return self._pages.get(key) or _page(self._connection, key)

    def _is_done(self, key: str) -> bool:
        if key in self.refunds:
            return True
        return self._connection.execute("SELECT 1 FROM refunds WHERE key = ?", (key,)).fetchone() is not None


_KEEP = "INSERT INTO pages (key, outcome, payment_id, amount, visible_at, refunded) VALUES (?, ?, ?, ?, ?, 0)"
_GIVE_BACK = "INSERT INTO refunds (key, charge_key, amount) VALUES (?, ?, ?)"
_ENTER = "INSERT INTO entries (key, kind, amount, at, currency) VALUES (?, ?, ?, ?, ?)"


def _names_currencies(connection: sqlite3.Connection) -> bool:
    """Whether the lines have a currency; those of older files have none."""
    return any(column[1] == "currency" for column in connection.execute("PRAGMA table_info(entries)"))


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


class _RecordedBook(GatewayBook):
    def __init__(self, path: Path, *, immutable: bool = False) -> None:
        self._path = path
        self._address = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"

    def all_entries(self) -> Iterable[BookEntry]:
        """Every line; `Permanent` where the file is damaged or holds no book."""
        with (
            _naming(self._path),
            closing(sqlite3.connect(self._address, uri=True)) as book,
        ):
            currency = "currency" if _names_currencies(book) else "NULL"
            lines = f"SELECT key, kind, amount, at, {currency} FROM entries ORDER BY number"  # noqa: S608 - ours
            for key, kind, amount, at, code in book.execute(lines):
                yield BookEntry(key, BookKind(kind), amount, datetime.fromisoformat(at), code)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an error of SQLite, or of a row that can't be read, into `Permanent` with the file's name."""
    try:
        yield
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise Permanent(f"{path} can't be used as the gateway's book: {error}") from error
