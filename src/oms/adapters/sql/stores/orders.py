"""The order service's record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, func, select, update

from oms.adapters.sql.core.bulk import Bulk, of
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.query import Query
from oms.adapters.sql.stores.rows import answer_of, dump, load_items, load_metadata, money, parted
from oms.adapters.sql.stores.store import SqlStore, waiting
from oms.adapters.sql.stores.tables import CREATED, ORDER, OrderTables
from oms.adapters.sql.stores.transaction import SqlKeyedTransaction, answers_kept
from oms.domain.events import Reason
from oms.domain.order import EarlyNews, Order, OrderState, OrderTrigger
from oms.domain.state_machine import HistoryEntry
from oms.domain.stated_terms import StatedTerms
from oms.domain.values import OrderId, Terms, UserId
from oms.ports.clock import Ids
from oms.ports.evidence import OrderEvidence
from oms.ports.stores.order import OrderStore, OrderTransaction
from oms.ports.stores.rows import Page, StoredAnswer

_ORDERS, _HISTORY, _ANSWERS = ORDER.orders, ORDER.history, ORDER.answers
_COLUMNS = of(_ORDERS)
_STATES = {state.value: state for state in OrderState}
_INSERT = Bulk(lambda new: new.into(_ORDERS), _COLUMNS)
_UPDATE = Bulk(
    lambda new: (
        update(_ORDERS)
        .where(_ORDERS.c.id == new.id, _ORDERS.c.version == new.before)
        .values(new.all_of(name for name in _COLUMNS if name != "id"))
    ),
    {**_COLUMNS, "before": _ORDERS.c.version},
)
_MOVING = "state", "version", "updated_at", "deadline_at", "reason"
_MOVE = Bulk(
    lambda new: (
        update(_ORDERS).where(_ORDERS.c.id == new.id, _ORDERS.c.version == new.before).values(new.all_of(_MOVING))
    ),
    {**of(_ORDERS, "id", *_MOVING), "before": _ORDERS.c.version},
)
"""What the steps of an order that exists change; its terms stay as they were agreed, and no news is early any more."""

_ENTRIES = Bulk(lambda new: new.into(_HISTORY), of(_HISTORY), key=2)
_LOCKED = Query(select(_ORDERS).order_by(_ORDERS.c.id).with_for_update(), among=_ORDERS.c.id)
_OLDEST_OPEN = select(func.min(_ORDERS.c.created_at)).where(CREATED).scalar_subquery()


class SqlOrderTransaction(SqlKeyedTransaction[OrderTables], OrderTransaction):
    """The order service's unit of work."""

    def lock_orders(self, ids: Collection[OrderId]) -> Mapping[OrderId, Order]:
        """The orders with these ids."""
        return {order.id: order for order in map(order_of, self._link.found(_LOCKED, ids))}

    def save_orders(
        self, changes: Sequence[tuple[Order, Order]], history: Sequence[tuple[OrderId, HistoryEntry]]
    ) -> None:
        """Insert and update by compare-and-set, then the history."""
        self._link.many(_INSERT, [_row(after) for before, after in changes if before.version == 0])
        moved, others = parted([change for change in changes if change[0].version > 0], _only_moved)
        self._link.each(_UPDATE, [(*_row(after), before.version) for before, after in others])
        self._link.each(_MOVE, [(after.id, *_moved(after), before.version) for before, after in moved])
        self._link.many(_ENTRIES, [_entry_row(order_id, entry) for order_id, entry in history])


class SqlOrderStore(SqlStore[OrderTables], OrderStore, OrderEvidence):
    """Orders, their history, and the answers to their keys."""

    def __init__(self, database: Database, ids: Ids) -> None:
        super().__init__(database, ORDER, ids)

    def begin(self) -> SqlOrderTransaction:
        """Start a write transaction."""
        return SqlOrderTransaction(self._database, self._tables, self._database.begin())

    def join(self, connection: object, committing: Callable[[], None] = lambda: None) -> SqlOrderTransaction:
        """A transaction within the caller's."""
        link = self._database.joined(connection, committing)
        return SqlOrderTransaction(self._database, self._tables, link, joined=True)

    def order(self, id: OrderId, owner: UserId | None) -> Order | None:  # noqa: A002 - the field's name
        """A committed order of this owner."""
        with self._database.reading() as link:
            row = link.first(_of(select(_ORDERS), id, owner))
        return order_of(row) if row else None

    def orders(self, owner: UserId | None, number: int, size: int) -> Page[Order]:
        """A page, the newest first."""
        which: ColumnElement[bool] = _ORDERS.c.created_at.is_not(None)  # an ABSENT one has no time yet
        if owner is not None:
            which &= _ORDERS.c.user_id == owner
        newest = select(_ORDERS).where(which).order_by(_ORDERS.c.created_at.desc(), _ORDERS.c.id.desc())
        with self._database.snapshot() as link:
            (total,) = link.first(select(func.count()).select_from(_ORDERS).where(which))
            rows = link.rows(newest.limit(size).offset(number * size))
        return Page(tuple(map(order_of, rows)), number, size, total)

    def timeline(self, id: OrderId, owner: UserId | None) -> Sequence[HistoryEntry] | None:  # noqa: A002
        """The history of an order."""
        with self._database.snapshot() as link:
            if link.first(_of(select(_ORDERS.c.id), id, owner)) is None:
                return None
            rows = link.rows(select(_HISTORY).where(_HISTORY.c.order_id == id).order_by(_HISTORY.c.seq))
        return [_entry(row) for row in rows]

    def answer(self, scope: str, key: str) -> StoredAnswer | None:
        """The committed answer under a key."""
        with self._database.snapshot() as link:
            kept = answers_kept(self._tables, link.now)
            row = link.first(kept.where(_ANSWERS.c.scope == scope, _ANSWERS.c.key == key))
        return answer_of(row) if row else None

    def all_orders(self) -> Iterable[Order]:
        """Every order."""
        return map(order_of, self._database.stream(select(_ORDERS).order_by(_ORDERS.c.id)))

    def all_history(self) -> Iterable[tuple[OrderId, HistoryEntry]]:
        """Every history entry, by order and seq."""
        rows = self._database.stream(select(_HISTORY).order_by(_HISTORY.c.order_id, _HISTORY.c.seq))
        return ((OrderId(name), HistoryEntry(*entry)) for name, *entry in rows)

    def all_answers(self) -> Iterable[StoredAnswer]:
        """Every kept answer."""
        return map(answer_of, self._database.stream(select(self._tables.answers)))

    def _waiting(self) -> Query:
        return waiting(self._tables, _OLDEST_OPEN)


def _of(found: Select[Any], order: OrderId, owner: UserId | None) -> Select[Any]:
    one = found.where(_ORDERS.c.id == order, _ORDERS.c.state != OrderState.ABSENT.value)
    return one if owner is None else one.where(_ORDERS.c.user_id == owner)


def _row(order: Order) -> tuple[Any, ...]:
    terms, (state, version, updated_at, *rest) = order.terms, _moved(order)
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
        *rest,
        ",".join(news.trigger.value for news in order.early) if order.early else "",
        _early_terms(order.early) if order.early else None,
    )


def _only_moved(before: Order, after: Order) -> bool:
    return before.terms is after.terms and before.created_at is after.created_at and before.early is after.early


def _moved(order: Order) -> tuple[Any, ...]:
    return (
        order.state.value,
        order.version,
        order.updated_at,
        order.deadline_at,
        order.reason.value if order.reason else None,
    )


def order_of(row: Any) -> Order:
    """The order of a row of all columns; unpacked, because a look by name costs as much as the rest."""
    (
        id_, state, version, user, minor, code, items, metadata, created_at, updated_at, deadline_at, reason,
        early, early_terms,
    ) = row  # fmt: skip
    terms = None
    if user is not None:
        terms = Terms(UserId(user), money(minor, code), load_items(items), load_metadata(metadata))
    return Order(
        id=OrderId(id_),
        state=_STATES[state],
        version=version,
        terms=terms,
        created_at=created_at,
        updated_at=updated_at,
        deadline_at=deadline_at,
        reason=Reason(reason) if reason else None,
        early=_early(early, early_terms) if early else (),
    )


_Stated = tuple[str, int, str] | None
"""Customer, minor units and currency of early news."""

_write_stated = msgspec.json.Encoder().encode
_read_stated = msgspec.json.Decoder(list[_Stated]).decode


def _early_terms(early: Sequence[EarlyNews]) -> str:
    """What each early message states, in their order."""
    stated = (news.stated for news in early)
    return _write_stated(
        [(one.user_id, one.amount.minor, one.amount.currency.code) if one else None for one in stated]
    ).decode()


def _early(triggers: str, stated: str | None) -> tuple[EarlyNews, ...]:
    """Early news; a program that didn't know the second column has written some of it, or all, without terms."""
    terms = _read_stated(stated) if stated else []
    pairs = zip_longest(triggers.split(","), terms[: triggers.count(",") + 1])
    return tuple(EarlyNews(OrderTrigger(trigger), _stated(one)) for trigger, one in pairs)


def _stated(row: _Stated) -> StatedTerms | None:
    return StatedTerms(UserId(row[0]), money(row[1], row[2])) if row else None


def _entry_row(order_id: OrderId, entry: HistoryEntry) -> tuple[Any, ...]:
    return order_id, entry.seq, entry.at, entry.trigger, entry.before, entry.after, entry.detail


def _entry(row: Any) -> HistoryEntry:
    return HistoryEntry(row.seq, row.at, row.trigger, row.before, row.after, row.detail)
