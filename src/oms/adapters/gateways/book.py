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


@attrs.frozen
class RefundPage:
    """The outcome of one refund key. The first outcome is final: later calls return it again."""

    key: str
    charge_key: str
    amount: int
    """The money that was given back, in minor units; 0 if the refund was declined."""

    visible_at: datetime
    """When a look-up begins to find the refund."""

    declined: str | None = None
    """Why the refund was declined; None if the money was given back."""


def decide_refund(refund: Refund, charge: Page | None, visible_at: datetime, declined: str | None) -> RefundPage:
    """Return the first outcome of a refund key: declined for that reason, or if the charge has too little left."""
    amount = refund.amount.minor
    if declined is None and (charge is None or not charge.allows_refund(amount)):
        declined = "the charge has too little left"
    return RefundPage(refund.key, refund.charge_key, amount if declined is None else 0, visible_at, declined)


def refund_entry(refund: Refund, at: datetime) -> BookEntry:
    """Return the line of a refund."""
    amount, code = refund.amount.minor, refund.amount.currency.code
    return BookEntry(refund.charge_key, BookKind.REFUND, amount, at, code, refund.key)


class Book(GatewayBook, Protocol):
    """Outcomes by charge key, and by refund key. Each method is atomic."""

    @abstractmethod
    def page(self, key: str) -> Page | None:
        """The outcome of a key; None if there is none."""

    @abstractmethod
    def open(self, page: Page, at: datetime) -> Page:
        """Write the outcome of a key, unless it has one; returns the outcome that the key now has."""

    @abstractmethod
    def refund_page(self, key: str) -> RefundPage | None:
        """The outcome of a refund key; None if there is none."""

    @abstractmethod
    def refund(
        self, refund: Refund, at: datetime, *, declined: str | None = None, visible_at: datetime | None = None
    ) -> RefundPage:
        """Refund a part of a charge, unless the refund key has an outcome; returns the outcome that it now has.

        The refund is declined for the reason `declined`, or if less than its amount is left of the charge. `visible_at`
        (default `at`) is when a look-up begins to find it.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the book's file."""


class MemoryBook(Book):
    """A book in memory, for tests."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self._refunds: dict[str, RefundPage] = {}
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

    def refund_page(self, key: str) -> RefundPage | None:
        return self._refunds.get(key)

    def refund(
        self, refund: Refund, at: datetime, *, declined: str | None = None, visible_at: datetime | None = None
    ) -> RefundPage:
        with self._lock:
            known = self._refunds.get(refund.key)
            if known is not None:
                return known
            charge = self._pages.get(refund.charge_key)
            decided = self._refunds[refund.key] = decide_refund(refund, charge, visible_at or at, declined)
            if charge is not None and decided.declined is None:
                self._pages[charge.key] = attrs.evolve(charge, refunded=charge.refunded + decided.amount)
                self._entries.append(refund_entry(refund, at))
            return decided

    def all_entries(self) -> Iterable[BookEntry]:
        return list(self._entries)

    def all_pages(self) -> Iterable[Page]:
        """Every page, in the order in which they were opened."""
        return list(self._pages.values())

    def all_refund_pages(self) -> Iterable[RefundPage]:
        """Every outcome of a refund key, in the order in which they were decided."""
        return list(self._refunds.values())

    def close(self) -> None:
        """There is no file."""
