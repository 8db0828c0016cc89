"""The payment service's record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select, update

from oms.adapters.sql.core.bulk import Bulk, of
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.query import Query
from oms.adapters.sql.stores.rows import dump, load_metadata, money, parted
from oms.adapters.sql.stores.store import SqlStore
from oms.adapters.sql.stores.tables import PAYMENT, PaymentTables
from oms.adapters.sql.stores.transaction import SqlTransaction
from oms.domain.payment import Payment, PaymentState
from oms.domain.values import OrderId, UserId
from oms.ports.clock import Ids
from oms.ports.evidence import PaymentEvidence
from oms.ports.stores.payment import PaymentStore, PaymentTransaction

_PAYMENTS, _ABSENT = PAYMENT.payments, PaymentState.ABSENT
_COLUMNS = of(_PAYMENTS)
_STATES = {state.value: state for state in PaymentState}
_INSERT = Bulk(lambda new: new.into(_PAYMENTS), _COLUMNS)
_UPDATE = Bulk(
    lambda new: (
        update(_PAYMENTS)
        .where(_PAYMENTS.c.order_id == new.order_id, _PAYMENTS.c.state == new.before)
        .values(new.all_of(name for name in _COLUMNS if name != "order_id"))
    ),
    {**_COLUMNS, "before": _PAYMENTS.c.state},
)
_MOVING = "state", "payment_id", "updated_at"
_MOVE = Bulk(
    lambda new: (
        update(_PAYMENTS)
        .where(_PAYMENTS.c.order_id == new.order_id, _PAYMENTS.c.state == new.before)
        .values(new.all_of(_MOVING))
    ),
    {**of(_PAYMENTS, "order_id", *_MOVING), "before": _PAYMENTS.c.state},
)
"""What a payment's own steps change; whose it is and how much stays."""

_LOCKED = Query(select(_PAYMENTS).order_by(_PAYMENTS.c.order_id).with_for_update(), among=_PAYMENTS.c.order_id)
_READ = Query(select(_PAYMENTS), among=_PAYMENTS.c.order_id)


class SqlPaymentTransaction(SqlTransaction[PaymentTables], PaymentTransaction):
    """The payment service's unit of work."""

    def lock_payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        """The payments of these orders."""
        return {payment.order_id: payment for payment in map(payment_of, self._link.found(_LOCKED, ids))}

    def save_payments(self, changes: Sequence[tuple[Payment, Payment]]) -> None:
        """Insert, and update by compare-and-set."""
        self._link.many(_INSERT, [_row(after) for before, after in changes if before.state is _ABSENT])
        moved, others = parted([change for change in changes if change[0].state is not _ABSENT], _only_moved)
        self._link.each(_UPDATE, [(*_row(after), before.state.value) for before, after in others])
        self._link.each(_MOVE, [(*_moved(after), before.state.value) for before, after in moved])


class SqlPaymentStore(SqlStore[PaymentTables], PaymentStore, PaymentEvidence):
    """Payments."""

    def __init__(self, database: Database, ids: Ids) -> None:
        super().__init__(database, PAYMENT, ids)

    def begin(self) -> SqlPaymentTransaction:
        """Start a write transaction."""
        return SqlPaymentTransaction(self._database, self._tables, self._database.begin())

    def payments(self, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
        """Committed payments."""
        with self._database.reading() as link:
            rows = link.found(_READ, ids)
        return {payment.order_id: payment for payment in map(payment_of, rows)}

    def all_payments(self) -> Iterable[Payment]:
        """Every payment."""
        return map(payment_of, self._database.stream(select(_PAYMENTS).order_by(_PAYMENTS.c.order_id)))


def _row(payment: Payment) -> tuple[Any, ...]:
    return (
        payment.order_id,
        payment.state.value,
        payment.user_id,
        payment.total.minor if payment.total else None,
        payment.total.currency.code if payment.total else None,
        dump(payment.metadata),
        payment.payment_id,
        payment.updated_at,
    )


def _only_moved(before: Payment, after: Payment) -> bool:
    return (before.user_id, before.total) == (after.user_id, after.total) and before.metadata is after.metadata


def _moved(payment: Payment) -> tuple[Any, ...]:
    return payment.order_id, payment.state.value, payment.payment_id, payment.updated_at


def payment_of(row: Any) -> Payment:
    """The payment of a row of all columns."""
    order_id, state, user, minor, code, metadata, payment_id, updated_at = row
    return Payment(
        order_id=OrderId(order_id),
        state=_STATES[state],
        user_id=UserId(user) if user is not None else None,
        total=money(minor, code) if minor is not None else None,
        metadata=load_metadata(metadata),
        payment_id=payment_id,
        updated_at=updated_at,
    )
