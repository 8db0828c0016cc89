"""The payment service's record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from oms.adapters.sql.rows import chunks, dump, load, money
from oms.adapters.sql.schema import PaymentTables
from oms.adapters.sql.store import SqlStore
from oms.adapters.sql.transaction import SqlTransaction
from oms.domain.payment import Payment, PaymentState
from oms.domain.values import OrderId, UserId
from oms.ports.evidence import PaymentEvidence
from oms.ports.store import PaymentStore, PaymentTransaction


class SqlPaymentTransaction(SqlTransaction[PaymentTables], PaymentTransaction):
    """The payment service's unit of work."""

    def lock_payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        """The payments of these orders."""
        table, found = self._tables.payments, {}
        for part in chunks(sorted(ids)):
            rows = self._rows(select(table).where(table.c.order_id.in_(part)).order_by(table.c.order_id))
            found.update({OrderId(row.order_id): payment_of(row) for row in rows})
        return found

    def save_payments(self, changes: Sequence[tuple[Payment, Payment]]) -> None:
        """Insert, and update by compare-and-set."""
        table, absent = self._tables.payments, PaymentState.ABSENT
        self._many(insert(table), [_row(after) for before, after in changes if before.state is absent])
        changed = (
            update(table)
            .where(table.c.order_id == bindparam("k"), table.c.state == bindparam("v"))
            .values(state=bindparam("s"), payment_id=bindparam("p"), updated_at=bindparam("u"))
        )
        parameters = [
            {
                "k": before.order_id,
                "v": before.state.value,
                "s": after.state.value,
                "p": after.payment_id,
                "u": after.updated_at,
            }
            for before, after in changes
            if before.state is not absent
        ]
        self._cas(changed, parameters)


class SqlPaymentStore(SqlStore[PaymentTables], PaymentStore, PaymentEvidence):
    """Payments."""

    def begin(self) -> SqlPaymentTransaction:
        """Start a write transaction."""
        return SqlPaymentTransaction(self._connect(), self._tables, self._clock.now())

    def payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        """Committed payments."""
        table, found = self._tables.payments, {}
        for part in chunks(sorted(ids)):
            rows = self._read(select(table).where(table.c.order_id.in_(part)))
            found.update({OrderId(row.order_id): payment_of(row) for row in rows})
        return found

    def all_payments(self) -> Iterable[Payment]:
        """Every payment."""
        return (payment_of(row) for row in self._stream(select(self._tables.payments)))


def _row(payment: Payment) -> dict[str, Any]:
    return {
        "order_id": payment.order_id,
        "state": payment.state.value,
        "user_id": payment.user_id,
        "total_minor": payment.total.minor if payment.total else None,
        "currency": payment.total.currency.code if payment.total else None,
        "metadata": dump(payment.metadata),
        "payment_id": payment.payment_id,
        "updated_at": payment.updated_at,
    }


def payment_of(row: Any) -> Payment:
    """The payment of a row."""
    return Payment(
        order_id=OrderId(row.order_id),
        state=PaymentState(row.state),
        user_id=UserId(row.user_id) if row.user_id is not None else None,
        total=money(row.total_minor, row.currency) if row.total_minor is not None else None,
        metadata=load(row.metadata),
        payment_id=row.payment_id,
        updated_at=row.updated_at,
    )
