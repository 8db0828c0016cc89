"""The order service's tables: orders, their history, and the responses to idempotency keys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import attrs
import msgspec
from sqlalchemy import ColumnElement, Select, func, select

from oms.adapters.sql.core.bulk_statements import BulkStatement
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.statements import Statement, columns_of
from oms.adapters.sql.stores.aggregates import AggregateTable, Versions
from oms.adapters.sql.stores.delivery_statements import backlog
from oms.adapters.sql.stores.order_fulfilment import dump_fulfilment, load_fulfilment
from oms.adapters.sql.stores.order_lines import dump_lines, load_lines
from oms.adapters.sql.stores.rows import dump, load_items, load_metadata, money, response_of
from oms.adapters.sql.stores.store import SqlKeyedStore
from oms.adapters.sql.stores.tables import CREATED, ORDER, OrderTables
from oms.adapters.sql.stores.transaction import SqlKeyedTransaction, unexpired_responses
from oms.domain.events import Reason
from oms.domain.fulfilment import NOTHING_YET
from oms.domain.order import EarlyEvent, Order
from oms.domain.order_table import OrderPayment, OrderState, OrderTrigger
from oms.domain.state_machine import HistoryEntry
from oms.domain.stated_terms import StatedTerms
from oms.domain.terms import Terms
from oms.domain.values import OrderId, UserId
from oms.ports.clock import Ids
from oms.ports.evidence import OrderEvidence
from oms.ports.stores.order import OrderStore, OrderTransaction
from oms.ports.stores.rows import Page, StoredResponse

_ORDERS, _HISTORY, _RESPONSES = ORDER.orders, ORDER.history, ORDER.responses
_STATES = {state.value: state for state in OrderState}
_PAYMENTS = {payment.value: payment for payment in OrderPayment}
_INSERT_HISTORY = BulkStatement(lambda row: row.insert_into(_HISTORY), columns_of(_HISTORY), key_length=2)
_LOCK_ORDERS = Statement(select(_ORDERS).order_by(_ORDERS.c.id).with_for_update(), among=_ORDERS.c.id)
_OLDEST_UNANSWERED = select(func.min(_ORDERS.c.created_at)).where(CREATED).scalar_subquery()


class SqlOrderTransaction(SqlKeyedTransaction[OrderTables], OrderTransaction):
    """The order service's unit of work."""

    def lock_orders(self, ids: Collection[OrderId]) -> Mapping[OrderId, Order]:
        return {order.id: order for order in map(order_of, self._connection.fetch(_LOCK_ORDERS, ids))}

    def save_orders(
        self, changes: Sequence[tuple[Order, Order]], history: Sequence[tuple[OrderId, HistoryEntry]]
    ) -> None:
        _SAVED.save(self._connection, changes)
        self._connection.run_for_rows(
            _INSERT_HISTORY, [_history_columns(order_id, entry) for order_id, entry in history]
        )


class SqlOrderStore(SqlKeyedStore[OrderTables], OrderStore, OrderEvidence):
    """Orders, their history, and the responses to idempotency keys."""

    def __init__(self, database: Database, ids: Ids) -> None:
        super().__init__(database, ORDER, ids)

    def begin(self) -> SqlOrderTransaction:
        return SqlOrderTransaction(self._database, self._tables, self._database.begin())

    def join(self, connection: object, committing: Callable[[], None] = lambda: None) -> SqlOrderTransaction:
        joined = self._database.joined(connection, committing)
        return SqlOrderTransaction(self._database, self._tables, joined, joined=True)

    def order(self, id: OrderId, owner: UserId | None) -> Order | None:  # noqa: A002 - the field's name
        with self._database.reading() as connection:
            row = connection.first(_of_owner(select(_ORDERS), id, owner))
        return order_of(row) if row else None

    def orders(self, owner: UserId | None, number: int, size: int) -> Page[Order]:
        listed: ColumnElement[bool] = _ORDERS.c.created_at.is_not(None)  # an ABSENT order has no time yet
        if owner is not None:
            listed &= _ORDERS.c.user_id == owner
        newest = select(_ORDERS).where(listed).order_by(_ORDERS.c.created_at.desc(), _ORDERS.c.id.desc())
        with self._database.snapshot() as connection:
            (total,) = connection.first(select(func.count()).select_from(_ORDERS).where(listed))
            rows = connection.all(newest.limit(size).offset(number * size))
        return Page(tuple(map(order_of, rows)), number, size, total)

    def timeline(self, id: OrderId, owner: UserId | None) -> Sequence[HistoryEntry] | None:  # noqa: A002
        with self._database.snapshot() as connection:
            if connection.first(_of_owner(select(_ORDERS.c.id), id, owner)) is None:
                return None
            rows = connection.all(select(_HISTORY).where(_HISTORY.c.order_id == id).order_by(_HISTORY.c.seq))
        return [_history_entry(row) for row in rows]

    def stored_response(self, scope: str, key: str) -> StoredResponse | None:
        with self._database.snapshot() as connection:
            kept = unexpired_responses(self._tables, connection.now)
            row = connection.first(kept.where(_RESPONSES.c.scope == scope, _RESPONSES.c.key == key))
        return response_of(row) if row else None

    def all_orders(self) -> Iterable[Order]:
        return map(order_of, self._database.stream(select(_ORDERS).order_by(_ORDERS.c.id)))

    def all_history(self) -> Iterable[tuple[OrderId, HistoryEntry]]:
        rows = self._database.stream(select(_HISTORY).order_by(_HISTORY.c.order_id, _HISTORY.c.seq))
        return ((OrderId(name), HistoryEntry(*entry)) for name, *entry in rows)

    def all_responses(self) -> Iterable[StoredResponse]:
        return map(response_of, self._database.stream(select(self._tables.responses)))

    def _backlog(self) -> Statement:
        return backlog(self._tables, _OLDEST_UNANSWERED)


def _of_owner(found: Select[Any], order: OrderId, owner: UserId | None) -> Select[Any]:
    one = found.where(_ORDERS.c.id == order, _ORDERS.c.state != OrderState.ABSENT.value)
    return one if owner is None else one.where(_ORDERS.c.user_id == owner)


def _row_of(order: Order) -> tuple[Any, ...]:
    terms, (_, state, version, updated_at, deadline_at, reason, payment) = order.terms, _state_row_of(order)
    return (
        order.id,
        state,
        version,
        terms.user_id if terms else None,
        terms.total.minor if terms else None,
        terms.total.currency.code if terms else None,
        dump(terms.items) if terms else None,
        dump(terms.metadata) if terms and terms.metadata else None,
        order.created_at,
        updated_at,
        deadline_at,
        reason,
        ",".join(news.trigger.value for news in order.early) if order.early else "",
        _early_terms_text(order.early) if order.early else None,
        dump_lines(terms) if terms and terms.lines else None,
        payment,
        dump_fulfilment(order.fulfilment) if order.fulfilment is not NOTHING_YET else None,
    )


def _only_state_changed(before: Order, after: Order) -> bool:
    return (
        before.terms is after.terms
        and before.created_at is after.created_at
        and before.early is after.early
        and before.fulfilment is after.fulfilment
    )


def _state_row_of(order: Order) -> tuple[Any, ...]:
    return (
        order.id,
        order.state.value,
        order.version,
        order.updated_at,
        order.deadline_at,
        order.reason.value if order.reason else None,
        order.payment.value if order.payment else None,
    )


_SAVED = AggregateTable(
    _ORDERS,
    Versions[Order](_ORDERS.c.version, of=lambda order: order.version, is_new=lambda order: order.version == 0),
    _row_of,
    ("state", "version", "updated_at", "deadline_at", "reason", "payment"),
    _state_row_of,
    _only_state_changed,
)


def order_of(row: Any) -> Order:
    """Return the order of a row of all columns. Unpacking the row halves the time that access by name takes."""
    (
        id_, state, version, user, minor, code, items, metadata, created_at, updated_at, deadline_at, reason,
        early, early_terms, lines, payment, fulfilment,
    ) = row  # fmt: skip
    terms = None
    if user is not None:
        terms = Terms(UserId(user), money(minor, code), load_items(items), load_metadata(metadata))
        if lines is not None:
            terms = _with_lines(terms, lines)
    return Order(
        id=OrderId(id_),
        state=_STATES[state],
        version=version,
        terms=terms,
        created_at=created_at,
        updated_at=updated_at,
        deadline_at=deadline_at,
        reason=Reason(reason) if reason else None,
        early=_early_news(early, early_terms) if early else (),
        payment=_payment_of(payment, state),
        fulfilment=NOTHING_YET if fulfilment is None else load_fulfilment(fulfilment, code),
    )


def _payment_of(payment: str | None, state: str) -> OrderPayment | None:
    """Return the payment's last result. In rows from before the column `payment`, a confirmed order was paid."""
    if payment is None:
        return OrderPayment.CAPTURED if state == "CONFIRMED" else None
    return _PAYMENTS[payment]


def _with_lines(terms: Terms, text: str) -> Terms:
    lines, charges = load_lines(text, terms.total.currency.code)
    return attrs.evolve(terms, lines=lines, charges=charges)


_TermsRow = tuple[str, int, str] | None
"""Customer, minor units and currency that an early message states."""

_encode_terms = msgspec.json.Encoder().encode
_decode_terms = msgspec.json.Decoder(list[_TermsRow]).decode


def _early_terms_text(early: Sequence[EarlyEvent]) -> str:
    """Return the terms that each early message states, as JSON, in the order of the messages."""
    stated = (news.stated for news in early)
    return _encode_terms(
        [(one.user_id, one.amount.minor, one.amount.currency.code) if one else None for one in stated]
    ).decode()


def _early_news(triggers: str, stated: str | None) -> tuple[EarlyEvent, ...]:
    """Return early events. Rows from before the column `early_terms` have no terms for some or all of them."""
    terms = _decode_terms(stated) if stated else []
    pairs = zip_longest(triggers.split(","), terms[: triggers.count(",") + 1])
    return tuple(EarlyEvent(OrderTrigger(trigger), _stated_terms(one)) for trigger, one in pairs)


def _stated_terms(row: _TermsRow) -> StatedTerms | None:
    return StatedTerms(UserId(row[0]), money(row[1], row[2])) if row else None


def _history_columns(order_id: OrderId, entry: HistoryEntry) -> tuple[Any, ...]:
    return order_id, entry.seq, entry.at, entry.trigger, entry.before, entry.after, entry.detail


def _history_entry(row: Any) -> HistoryEntry:
    return HistoryEntry(row.seq, row.at, row.trigger, row.before, row.after, row.detail)
