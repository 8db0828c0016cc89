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
        """The ledger's epoch, shared-locked until the end of the transaction."""

    @abstractmethod
    def lock_gate(self) -> int:
        """The ledger's epoch, locked alone: nobody records a take until the end of the transaction."""

    @abstractmethod
    def set_gate_epoch(self, epoch: int) -> None:
        """Write the epoch."""

    @abstractmethod
    def lock_reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        """The reservations of these orders, locked in sorted order; absent ones are left out."""

    @abstractmethod
    def lock_stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        """The stock of these products, locked in sorted order; unknown ones are left out."""

    @abstractmethod
    def introduce_stock(self, levels: Mapping[Sku, int]) -> None:
        """Insert products that aren't there with so many units on hand, and a DEFAULT ledger row where not 0."""

    @abstractmethod
    def save_reservations(self, changes: Sequence[tuple[Reservation, Reservation]]) -> None:
        """Write (before, after) pairs; ABSENT before is an insert. `Retryable` where another was first."""

    @abstractmethod
    def move_stock(self, movements: Sequence[Movement]) -> None:
        """Append ledger rows, and change stock by one summed update a product."""

    @abstractmethod
    def fold(self) -> tuple[Mapping[Sku, Stock], Mapping[OrderId, Items]]:
        """All stock, and the items of every HELD reservation."""


class InventoryStore(Store, Protocol):
    """The inventory service's record."""

    @abstractmethod
    def begin(self) -> InventoryTransaction: ...

    @abstractmethod
    def reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        """Committed reservations, without locks."""

    @abstractmethod
    def stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        """Committed stock, without locks."""

    @abstractmethod
    def stock_page(self, number: int, size: int) -> Page[Stock]:
        """A page of all products, by sku."""

    @abstractmethod
    def default_stock(self) -> str | None:
        """Return `OMS_DEFAULT_STOCK` as it was at the first start (empty text: none); None before it was recorded."""

    @abstractmethod
    def record_default_stock(self, text: str) -> None:
        """Record `OMS_DEFAULT_STOCK` of the first start, unless a value is recorded already."""
