"""The simulated gateway's book: its own record of every charge and refund, independent of the services' data."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

import attrs

from oms.ports.evidence import BookEntry, BookKind, GatewayBook
from oms.ports.extensions import Refund


@attrs.frozen
class Page:
    """The outcome of one charge key, in minor units. The first outcome is final: later calls return it again."""

    key: str
    outcome: BookKind
    payment_id: str
    amount: int
    visible_at: datetime
    refunded: int = 0
    currency: str | None = None
    """The currency code of the charge."""

    def allows_refund(self, amount: int) -> bool:
        """Whether at least `amount` of the captured money hasn't been refunded."""
        return self.outcome is BookKind.CAPTURE and 0 <= amount <= self.amount - self.refunded


def refund_entry(refund: Refund, at: datetime) -> BookEntry:
    """Return the line of a refund."""
    amount, code = refund.amount.minor, refund.amount.currency.code
    return BookEntry(refund.charge_key, BookKind.REFUND, amount, at, code, refund.key)


class Book(GatewayBook, Protocol):
    """Outcomes by charge key. Each method is atomic."""

    @abstractmethod
    def page(self, key: str) -> Page | None:
        """The outcome of a key; None if there is none."""

    @abstractmethod
    def open(self, page: Page, at: datetime) -> Page:
        """Write the outcome of a key, unless it has one; returns the outcome that the key now has."""

    @abstractmethod
    def refund(self, refund: Refund, at: datetime) -> bool:
        """Refund a part of a charge, once for each refund key; False if less than that is left of the charge."""

    @abstractmethod
    def close(self) -> None:
        """Close the book's file."""


class MemoryBook(Book):
    """A book in memory, for tests."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self._refunds: set[str] = set()
        self._entries: list[BookEntry] = []
        self._lock = threading.Lock()

    def page(self, key: str) -> Page | None:
        return self._pages.get(key)

    def open(self, page: Page, at: datetime) -> Page:
        with self._lock:
            known = self._pages.setdefault(page.key, page)
            if known is page:
                self._entries.append(BookEntry(page.key, page.outcome, page.amount, at, page.currency))
        return known

    def refund(self, refund: Refund, at: datetime) -> bool:
        amount = refund.amount.minor
        with self._lock:
            if refund.key in self._refunds:
                return True
            page = self._pages.get(refund.charge_key)
            if page is None or not page.allows_refund(amount):
                return False
            self._refunds.add(refund.key)
            self._pages[page.key] = attrs.evolve(page, refunded=page.refunded + amount)
            self._entries.append(refund_entry(refund, at))
            return True

    def all_entries(self) -> Iterable[BookEntry]:
        return list(self._entries)

    def all_pages(self) -> Iterable[Page]:
        """Every page, in the order in which they were opened."""
        return list(self._pages.values())

    def close(self) -> None:
        """There is no file."""
