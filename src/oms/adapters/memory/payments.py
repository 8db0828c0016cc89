"""The payment service's store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from oms.adapters.memory import column_limits
from oms.adapters.memory.call_hooks import port_call
from oms.adapters.memory.service_tables import ServiceTables
from oms.adapters.memory.store import MemoryStore
from oms.adapters.memory.tables import Table
from oms.adapters.memory.transaction import MemoryTransaction
from oms.domain.payment import Payment, PaymentState
from oms.domain.values import OrderId
from oms.ports.clock import Clock, Ids
from oms.ports.evidence import PaymentEvidence
from oms.ports.stores.payment import PaymentStore, PaymentTransaction


class PaymentTables(ServiceTables):
    """The payment service's tables."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        super().__init__(clock, ids)
        self.payments: Table[OrderId, Payment] = Table("payments", check_row=column_limits.check_payment)


class MemoryPaymentTransaction(MemoryTransaction, PaymentTransaction):
    """The payment service's unit of work."""

    _tables: PaymentTables

    @port_call
    def lock_payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        return self._lock_rows(self._tables.payments, ids)

    @port_call
    def save_payments(self, changes: Sequence[tuple[Payment, Payment]]) -> None:
        self._open()
        table = self._tables.payments
        for before, after in sorted(changes, key=lambda pair: pair[1].order_id):
            if before.state is PaymentState.ABSENT:
                self._insert(table, after.order_id, after)
            else:
                self._update(table, after.order_id, after, lambda row, state=before.state: row.state is state)  # type: ignore[misc]


class MemoryPaymentStore(MemoryStore[PaymentTables], PaymentStore, PaymentEvidence):
    """The payment service's store in memory."""

    name = "payments"

    @port_call
    def begin(self) -> PaymentTransaction:
        return MemoryPaymentTransaction(self._tables, self._hooks)

    @port_call
    def payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        rows = self._tables.payments.rows
        return {order: rows[order] for order in sorted(set(ids)) if order in rows}

    def all_payments(self) -> Iterable[Payment]:
        return [row for _, row in sorted(self._evidence(self._tables.payments).items())]

    @classmethod
    def new_tables(cls, clock: Clock, ids: Ids) -> PaymentTables:
        """Empty tables of the payment service."""
        return PaymentTables(clock, ids)
