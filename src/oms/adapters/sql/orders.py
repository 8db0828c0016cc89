"""The order service's record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, select, update

from oms.adapters.sql.rows import chunks, dump, load, money
from oms.adapters.sql.schema import OrderTables
from oms.adapters.sql.store import SqlStore
from oms.adapters.sql.transaction import SqlKeyedTransaction, answer_of
from oms.domain.events import Reason
from oms.domain.machine import HistoryEntry
from oms.domain.order import Order, OrderState, OrderTrigger
from oms.domain.values import OrderId, Sku, Terms, UserId
from oms.ports.errors import Permanent
from oms.ports.evidence import OrderEvidence
from oms.ports.store import OrderStore, OrderTransaction, Page, StoredAnswer


class SqlOrderTransaction(SqlKeyedTransaction[OrderTables], OrderTransaction):
    """The order service's unit of work."""

    def lock_orders(self, ids: Collection[OrderId]) -> Mapping[OrderId, Order]:
        """The orders with these ids."""
        table, found = self._tables.orders, {}
        for part in chunks(sorted(ids)):
            rows = self._rows(select(table).where(table.c.id.in_(part)).order_by(table.c.id))
            found.update({OrderId(row.id): order_of(row) for row in rows})
        return found

    def save_orders(
        self, changes: Sequence[tuple[Order, Order]], history: Sequence[tuple[OrderId, HistoryEntry]]
    ) -> None:
        """Insert and update by compare-and-set, then the history."""
        table = self._tables.orders
        self._many(insert(table), [_row(after) for before, after in changes if before.version == 0])
        changed = update(table).where(table.c.id == bindparam("k"), table.c.version == bindparam("v"))
        values: dict[str, Any] = {name: bindparam(f"n_{name}") for name in _CHANGING}
        parameters = [
            {"k": before.id, "v": before.version} | {f"n_{name}": value for name, value in _row(after).items()}
            for before, after in changes
            if before.version > 0
        ]
        for one in parameters:
            one.pop("n_id")
        self._cas(changed.values(**values), parameters)
        self._many(insert(self._tables.history), [_entry_row(order_id, entry) for order_id, entry in history])


class SqlOrderStore(SqlStore[OrderTables], OrderStore, OrderEvidence):
    """Orders, their history, and the answers to their keys."""

    def begin(self) -> SqlOrderTransaction:
        """Start a write transaction."""
        return SqlOrderTransaction(self._connect(), self._tables, self._clock.now())

    def join(self, connection: object) -> SqlOrderTransaction:
        """A transaction within the caller's."""
        if not isinstance(connection, Connection):
            raise Permanent("an order can join a transaction of a SQLAlchemy Connection only")
        return SqlOrderTransaction(connection, self._tables, self._clock.now(), joined=True)

    def order(self, id: OrderId, owner: UserId | None) -> Order | None:  # noqa: A002 - the field's name
        """A committed order of this owner."""
        table = self._tables.orders
        found = select(table).where(table.c.id == id, table.c.state != OrderState.ABSENT.value)
        if owner is not None:
            found = found.where(table.c.user_id == owner)
        return next((order_of(row) for row in self._read(found)), None)

    def orders(self, owner: UserId | None, number: int, size: int) -> Page[Order]:
        """A page, the newest first."""
        table = self._tables.orders
        which: ColumnElement[bool] = table.c.created_at.is_not(None)
        if owner is not None:
            which &= table.c.user_id == owner
        ((total,),) = self._read(select(func.count()).select_from(table).where(which))
        newest = table.c.created_at.desc(), table.c.id.desc()
        rows = self._read(select(table).where(which).order_by(*newest).limit(size).offset(number * size))
        return Page(tuple(order_of(row) for row in rows), number, size, total)

    def timeline(self, id: OrderId, owner: UserId | None) -> Sequence[HistoryEntry] | None:  # noqa: A002
        """The history of an order."""
        if self.order(id, owner) is None:
            return None
        table = self._tables.history
        return [_entry(row) for row in self._read(select(table).where(table.c.order_id == id).order_by(table.c.seq))]

    def all_orders(self) -> Iterable[Order]:
        """Every order."""
        return (order_of(row) for row in self._stream(select(self._tables.orders)))

    def all_history(self) -> Iterable[tuple[OrderId, HistoryEntry]]:
        """Every history entry, by order and seq."""
        table = self._tables.history
        rows = self._stream(select(table).order_by(table.c.order_id, table.c.seq))
        return ((OrderId(row.order_id), _entry(row)) for row in rows)

    def all_answers(self) -> Iterable[StoredAnswer]:
        """Every kept answer."""
        return (answer_of(row) for row in self._stream(select(self._tables.answers)))

    def _oldest_open(self) -> datetime | None:
        table = self._tables.orders
        oldest = select(func.min(table.c.created_at)).where(table.c.state == OrderState.CREATED.value)
        found: datetime | None = self._read(oldest)[0][0]
        return found


_CHANGING = (
    "state",
    "version",
    "user_id",
    "total_minor",
    "currency",
    "items",
    "metadata",
    "created_at",
    "updated_at",
    "deadline_at",
    "reason",
    "early",
)


def _row(order: Order) -> dict[str, Any]:
    terms = order.terms
    return {
        "id": order.id,
        "state": order.state.value,
        "version": order.version,
        "user_id": terms.user_id if terms else None,
        "total_minor": terms.total.minor if terms else None,
        "currency": terms.total.currency.code if terms else None,
        "items": dump(terms.items) if terms else None,
        "metadata": dump(terms.metadata) if terms and terms.metadata else None,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
        "deadline_at": order.deadline_at,
        "reason": order.reason.value if order.reason else None,
        "early": ",".join(news.value for news in order.early),
    }


def order_of(row: Any) -> Order:
    """The order of a row."""
    terms = None
    if row.user_id is not None:
        items = {Sku(sku): units for sku, units in load(row.items).items()}
        terms = Terms(UserId(row.user_id), money(row.total_minor, row.currency), items, load(row.metadata))
    return Order(
        id=OrderId(row.id),
        state=OrderState(row.state),
        version=row.version,
        terms=terms,
        created_at=row.created_at,
        updated_at=row.updated_at,
        deadline_at=row.deadline_at,
        reason=Reason(row.reason) if row.reason else None,
        early=tuple(OrderTrigger(name) for name in row.early.split(",") if name),
    )


def _entry_row(order_id: OrderId, entry: HistoryEntry) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "seq": entry.seq,
        "at": entry.at,
        "trigger": entry.trigger,
        "before": entry.before,
        "after": entry.after,
        "detail": entry.detail,
    }


def _entry(row: Any) -> HistoryEntry:
    return HistoryEntry(row.seq, row.at, row.trigger, row.before, row.after, row.detail)
