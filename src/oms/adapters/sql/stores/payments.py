"""The payment service's table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.statements import Statement
from oms.adapters.sql.stores.aggregates import AggregateTable, Versions
from oms.adapters.sql.stores.payment_refunds import dump_refunds, load_refunds
from oms.adapters.sql.stores.rows import dump, load_metadata, money
from oms.adapters.sql.stores.store import SqlStore
from oms.adapters.sql.stores.tables import PAYMENT, PaymentTables
from oms.adapters.sql.stores.transaction import SqlTransaction
from oms.domain.payment import Payment, PaymentState
from oms.domain.values import OrderId, UserId
from oms.ports.clock import Ids
from oms.ports.evidence import PaymentEvidence
from oms.ports.stores.payment import PaymentStore, PaymentTransaction

_PAYMENTS, _ABSENT = PAYMENT.payments, PaymentState.ABSENT
_STATES = {state.value: state for state in PaymentState}
_LOCK_PAYMENTS = Statement(
    select(_PAYMENTS).order_by(_PAYMENTS.c.order_id).with_for_update(), among=_PAYMENTS.c.order_id
)
_READ_PAYMENTS = Statement(select(_PAYMENTS), among=_PAYMENTS.c.order_id)


class SqlPaymentTransaction(SqlTransaction[PaymentTables], PaymentTransaction):
    """The payment service's unit of work."""

    def lock_payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        return {payment.order_id: payment for payment in map(payment_of, self._connection.fetch(_LOCK_PAYMENTS, ids))}

    def save_payments(self, changes: Sequence[tuple[Payment, Payment]]) -> None:
        _SAVED.save(self._connection, changes)


class SqlPaymentStore(SqlStore[PaymentTables], PaymentStore, PaymentEvidence):
    """Payments."""

    def __init__(self, database: Database, ids: Ids) -> None:
        super().__init__(database, PAYMENT, ids)

    def begin(self) -> SqlPaymentTransaction:
        return SqlPaymentTransaction(self._database, self._tables, self._database.begin())

    def payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        with self._database.reading() as connection:
            rows = connection.fetch(_READ_PAYMENTS, ids)
        return {payment.order_id: payment for payment in map(payment_of, rows)}

    def all_payments(self) -> Iterable[Payment]:
        return map(payment_of, self._database.stream(select(_PAYMENTS).order_by(_PAYMENTS.c.order_id)))


def _row_of(payment: Payment) -> tuple[Any, ...]:
    return (
        payment.order_id,
        payment.state.value,
        payment.user_id,
        payment.total.minor if payment.total else None,
        payment.total.currency.code if payment.total else None,
        dump(payment.metadata),
        payment.payment_id,
        payment.updated_at,
        dump_refunds(payment) if payment.refunds else None,
    )


def _only_state_changed(before: Payment, after: Payment) -> bool:
    return (
        (before.user_id, before.total) == (after.user_id, after.total)
        and before.metadata is after.metadata
        and before.refunds is after.refunds
    )


def _state_row_of(payment: Payment) -> tuple[Any, ...]:
    return payment.order_id, payment.state.value, payment.payment_id, payment.updated_at


_SAVED = AggregateTable(
    _PAYMENTS,
    Versions[Payment](
        _PAYMENTS.c.state, of=lambda payment: payment.state.value, is_new=lambda payment: payment.state is _ABSENT
    ),
    _row_of,
    ("state", "payment_id", "updated_at"),
    _state_row_of,
    _only_state_changed,
)


def payment_of(row: Any) -> Payment:
    """Return the payment of a row of all columns."""
    order_id, state, user, minor, code, metadata_text, payment_id, updated_at, refunds = row
    metadata = load_metadata(metadata_text)
    return Payment(
        order_id=OrderId(order_id),
        state=_STATES[state],
        user_id=UserId(user) if user is not None else None,
        total=money(minor, code) if minor is not None else None,
        metadata=metadata,
        payment_id=payment_id,
        updated_at=updated_at,
        refunds=() if refunds is None else load_refunds(refunds, code, metadata),
    )
