"""The order service's store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from oms.domain.order import Order
from oms.domain.state_machine import HistoryEntry
from oms.domain.values import OrderId, UserId
from oms.ports.stores.rows import Page, StoredAnswer
from oms.ports.stores.store import KeyedTransaction, Store


class OrderTransaction(KeyedTransaction, Protocol):
    """The order service's unit of work."""

    @abstractmethod
    def lock_orders(self, ids: Collection[OrderId]) -> Mapping[OrderId, Order]:
        """The orders with these ids, locked in sorted order; absent ones are left out."""

    @abstractmethod
    def save_orders(
        self,
        changes: Sequence[tuple[Order, Order]],
        history: Sequence[tuple[OrderId, HistoryEntry]],
    ) -> None:
        """Write (before, after) pairs: version 0 before is an insert, else an update where version is before's.

        `Retryable` where another transaction was first.
        """


class OrderStore(Store, Protocol):
    """The order service's record."""

    @abstractmethod
    def begin(self) -> OrderTransaction: ...

    @abstractmethod
    def join(self, connection: object, committing: Callable[[], None] = lambda: None) -> OrderTransaction:
        """A transaction within the caller's own SQL transaction on `connection`.

        Its `commit` sends everything, and the caller's commit makes it durable. `rollback` undoes nothing: the caller
        does. Calls `committing` on the caller's thread when the caller is about to commit, and never after a rollback.
        `Permanent`, before anything is written, for a connection that can't be joined: one in autocommit mode, of
        another database, of an async engine, without the rights to write orders, or where the store has no SQL.
        """

    @abstractmethod
    def order(self, id: OrderId, owner: UserId | None) -> Order | None:  # noqa: A002 - the field's name
        """A committed order of this owner (None: any owner's); None also while it is ABSENT."""

    @abstractmethod
    def orders(self, owner: UserId | None, number: int, size: int) -> Page[Order]:
        """A page of the owner's orders, the newest first."""

    @abstractmethod
    def timeline(self, id: OrderId, owner: UserId | None) -> Sequence[HistoryEntry] | None:  # noqa: A002
        """The history of an order by `seq`; None where there is no such order of this owner."""

    @abstractmethod
    def answer(self, scope: str, key: str) -> StoredAnswer | None:
        """The committed answer under an idempotency key, if there is one within its time; locks nothing."""
