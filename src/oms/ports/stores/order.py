"""The order service's store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from oms.domain.order import Order
from oms.domain.state_machine import HistoryEntry
from oms.domain.values import OrderId, UserId
from oms.ports.stores.rows import Page, StoredResponse
from oms.ports.stores.store import KeyedTransaction, Store


class OrderTransaction(KeyedTransaction, Protocol):
    """The order service's unit of work."""

    @abstractmethod
    def lock_orders(self, ids: Collection[OrderId]) -> Mapping[OrderId, Order]:
        """Lock the orders with these ids in sorted order, and return those that exist."""

    @abstractmethod
    def save_orders(
        self,
        changes: Sequence[tuple[Order, Order]],
        history: Sequence[tuple[OrderId, HistoryEntry]],
    ) -> None:
        """Write (before, after) pairs and history entries.

        A pair whose `before` has version 0 is an insert; otherwise it updates the row that has the version of `before`.
        Raises `Retryable` if another transaction wrote the order first.
        """


class OrderStore(Store, Protocol):
    """The order service's store."""

    @abstractmethod
    def begin(self) -> OrderTransaction: ...

    @abstractmethod
    def join(self, connection: object, committing: Callable[[], None] = lambda: None) -> OrderTransaction:
        """Return a transaction within the caller's own SQL transaction on `connection`.

        Its `commit` sends all statements, and the caller's commit makes them durable. Its `rollback` has no effect; the
        caller rolls back. Calls `committing` on the caller's thread when the caller is about to commit, and never after
        a rollback. Raises `Permanent`, before anything is written, if it can't join the connection: in autocommit mode,
        of another database, of an async engine, without the rights to write orders, or if the store doesn't use SQL.
        """

    @abstractmethod
    def order(self, id: OrderId, owner: UserId | None) -> Order | None:  # noqa: A002 - the field's name
        """Return a committed order of this owner (None: of any owner); None if it doesn't exist or is ABSENT."""

    @abstractmethod
    def orders(self, owner: UserId | None, number: int, size: int) -> Page[Order]:
        """Return a page of the owner's orders (None: of all owners), newest first; `number` counts from 0."""

    @abstractmethod
    def timeline(self, id: OrderId, owner: UserId | None) -> Sequence[HistoryEntry] | None:  # noqa: A002
        """Return the history of an order by `seq`; None if this owner (None: any owner) has no such order."""

    @abstractmethod
    def stored_response(self, scope: str, key: str) -> StoredResponse | None:
        """Return the committed response of the last 24 h to an idempotency key, or None. Locks nothing."""
