"""The payment service's store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from oms.domain.payment import Payment
from oms.domain.values import OrderId
from oms.ports.stores.store import Store, Transaction


class PaymentTransaction(Transaction, Protocol):
    """The payment service's unit of work."""

    @abstractmethod
    def lock_payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        """The payments of these orders, locked in sorted order; absent ones are left out."""

    @abstractmethod
    def save_payments(self, changes: Sequence[tuple[Payment, Payment]]) -> None:
        """Write (before, after) pairs; ABSENT before is an insert. `Retryable` where another was first."""


class PaymentStore(Store, Protocol):
    """The payment service's record."""

    @abstractmethod
    def begin(self) -> PaymentTransaction: ...

    @abstractmethod
    def payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        """Committed payments, without locks."""
