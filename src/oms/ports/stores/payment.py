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
        """Lock the payments of these orders in sorted order, and return those that exist."""

    @abstractmethod
    def save_payments(self, changes: Sequence[tuple[Payment, Payment]]) -> None:
        """Write (before, after) pairs: an insert if `before` is ABSENT, else an update of a locked payment.

        Raises `Retryable` if another transaction inserted the payment first, or if its state isn't that of `before`.
        The state alone doesn't show a new refund: only a payment that this transaction has locked may be updated.
        """


class PaymentStore(Store, Protocol):
    """The payment service's store."""

    @abstractmethod
    def begin(self) -> PaymentTransaction: ...

    @abstractmethod
    def payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        """Return the committed payments of these orders, without locks."""
