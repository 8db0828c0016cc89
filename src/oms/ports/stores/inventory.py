"""The inventory service's store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from oms.domain.reservation import Reservation
from oms.domain.stock import Movement, Stock
from oms.domain.values import Items, OrderId, Sku
from oms.ports.stores.rows import Page
from oms.ports.stores.store import KeyedTransaction, Store


class InventoryTransaction(KeyedTransaction, Protocol):
    """The inventory service's unit of work."""

    @abstractmethod
    def gate_epoch(self) -> int:
        """Return the ledger's epoch, with a shared lock until the end of the transaction."""

    @abstractmethod
    def lock_gate(self) -> int:
        """Return the ledger's epoch, locked exclusively: no other transaction records a hold until this one ends."""

    @abstractmethod
    def set_gate_epoch(self, epoch: int) -> None:
        """Write the ledger's epoch."""

    @abstractmethod
    def lock_reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        """Lock the reservations of these orders in sorted order, and return those that exist."""

    @abstractmethod
    def lock_stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        """Lock the stock of these products in sorted order, and return those that exist."""

    @abstractmethod
    def introduce_stock(self, levels: Mapping[Sku, int]) -> None:
        """Insert those products that don't exist, with the given units on hand.

        A product with units on hand also gets a ledger row of the kind DEFAULT.
        """

    @abstractmethod
    def save_reservations(self, changes: Sequence[tuple[Reservation, Reservation]]) -> None:
        """Write (before, after) pairs: an insert if `before` is ABSENT, else an update of a locked reservation.

        Raises `Retryable` if another transaction inserted the reservation first, or if its state isn't that of
        `before`. The state alone doesn't show a new restock: only a reservation that this transaction has locked may be
        updated.
        """

    @abstractmethod
    def move_stock(self, movements: Sequence[Movement]) -> None:
        """Append ledger rows, and change the stock of each product by their sum in one update."""

    @abstractmethod
    def fold(self) -> tuple[Mapping[Sku, Stock], Mapping[OrderId, Items]]:
        """Return the stock of all products, and the items of every HELD reservation."""


class InventoryStore(Store, Protocol):
    """The inventory service's store."""

    @abstractmethod
    def begin(self) -> InventoryTransaction: ...

    @abstractmethod
    def reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        """Return the committed reservations of these orders, without locks."""

    @abstractmethod
    def stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        """Return the committed stock of these products, without locks."""

    @abstractmethod
    def stock_page(self, number: int, size: int) -> Page[Stock]:
        """Return a page of the stock of all products, by SKU; `number` counts from 0."""

    @abstractmethod
    def default_stock(self) -> str | None:
        """Return `OMS_DEFAULT_STOCK` of the first start (an empty text if it was empty); None if it isn't recorded."""

    @abstractmethod
    def record_default_stock(self, text: str) -> None:
        """Record `OMS_DEFAULT_STOCK`, unless a value is recorded already."""
