"""The order service's store: orders, their history and the listing by owner."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from oms.adapters.memory import column_limits
from oms.adapters.memory.call_hooks import CallHooks, no_point, port_call, raise_deadlock
from oms.adapters.memory.service_tables import ServiceTables
from oms.adapters.memory.store import MemoryStore
from oms.adapters.memory.tables import Table, TransactionState
from oms.adapters.memory.transaction import MemoryKeyedTransaction
from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.state_machine import HistoryEntry
from oms.domain.values import OrderId, UserId
from oms.ports.clock import Clock, Ids
from oms.ports.errors import Permanent
from oms.ports.evidence import OrderEvidence
from oms.ports.limits import IDEMPOTENCY_KEYS_KEPT
from oms.ports.stores.order import OrderStore, OrderTransaction
from oms.ports.stores.rows import Page, StoredResponse


class OrderTables(ServiceTables):
    """The order service's tables, and two indexes: orders by age, and orders that wait for inventory."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        super().__init__(clock, ids)
        self.orders: Table[OrderId, Order] = Table("orders", self._order_changed, column_limits.check_order)
        self.history: Table[tuple[OrderId, int], HistoryEntry] = Table(
            "history", self._entry_added, column_limits.check_history
        )
        self.entries: dict[OrderId, list[HistoryEntry]] = {}
        self.by_age: dict[UserId | None, list[tuple[datetime, OrderId]]] = {}
        self.waiting: dict[OrderId, datetime] = {}
        self.joining: Joining | None = None
        """Opens a unit of work within the caller's transaction. Only tests of joined orders set it."""

    def _order_changed(self, id: OrderId, before: Order | None, after: Order | None) -> None:  # noqa: A002
        if after is None or after.created_at is None or after.terms is None:
            return
        if before is None or before.created_at != after.created_at:
            for owner in (None, after.terms.user_id):
                known = self.by_age.setdefault(owner, [])
                if before is not None and before.created_at is not None:
                    known.remove((before.created_at, id))
                insort(known, (after.created_at, id))
        if after.state is OrderState.CREATED:
            self.waiting[id] = after.created_at
        else:
            self.waiting.pop(id, None)

    def _entry_added(self, key: tuple[OrderId, int], _before: HistoryEntry | None, entry: HistoryEntry | None) -> None:
        if entry is not None:
            insort(self.entries.setdefault(key[0], []), entry, key=lambda known: known.seq)


class MemoryOrderTransaction(MemoryKeyedTransaction, OrderTransaction):
    """The order service's unit of work."""

    _tables: OrderTables

    @port_call
    def lock_orders(self, ids: Collection[OrderId]) -> Mapping[OrderId, Order]:
        return self._lock_rows(self._tables.orders, ids)

    @port_call
    def save_orders(
        self,
        changes: Sequence[tuple[Order, Order]],
        history: Sequence[tuple[OrderId, HistoryEntry]],
    ) -> None:
        self._open()
        orders = self._tables.orders
        for before, after in sorted(changes, key=lambda pair: pair[1].id):
            if before.version == 0:
                self._insert(orders, after.id, after)
            else:
                self._update(orders, after.id, after, lambda row, version=before.version: row.version == version)  # type: ignore[misc]
        for order, entry in history:
            self._insert(self._tables.history, (order, entry.seq), entry)


class MemoryJoinedTransaction(MemoryOrderTransaction):
    """A unit of work within the caller's transaction, whose end calls `settle` or `drop`."""

    _written = False
    _failed = False

    @property
    def failed(self) -> bool:
        """Whether an error aborted it, so that the order may be written only in part."""
        return self._failed or self.work.state is not TransactionState.OPEN

    def commit(self) -> None:
        """End the writes of the order; it becomes visible with the caller's commit."""
        self._open()
        self._written = True

    def rollback(self) -> None:
        """Undo nothing, which is the caller's task. Without a `commit` before it, the caller can't commit."""
        self._failed = self._failed or not self._written

    def settle(self) -> Sequence[OrderId]:
        """Make the orders visible after the caller's commit; returns their ids."""
        orders = [order for order, _ in self.work.own(self._tables.orders)]
        self.end()
        return orders

    def drop(self) -> None:
        """Discard the orders after the caller's rollback."""
        super().rollback()


Joining = Callable[[object, Callable[[], MemoryJoinedTransaction], Callable[[], None]], MemoryJoinedTransaction]


class MemoryOrderStore(MemoryStore[OrderTables], OrderStore, OrderEvidence):
    """The order service's store in memory."""

    name = "orders"

    @port_call
    def begin(self) -> OrderTransaction:
        return MemoryOrderTransaction(self._tables, self._hooks)

    def join(self, connection: object, committing: Callable[[], None] = lambda: None) -> OrderTransaction:
        """Join the caller's transaction through `joining`; `Permanent` without it, because memory has no SQL."""
        if self._tables.joining is None:
            raise Permanent("an order can't join this connection: the orders are in memory (OMS_PROFILE=memory)")
        hooks = CallHooks(self.name, "caller", no_point, raise_deadlock, self._tables.dead)
        return self._tables.joining(connection, lambda: MemoryJoinedTransaction(self._tables, hooks), committing)

    @port_call
    def order(self, id: OrderId, owner: UserId | None) -> Order | None:  # noqa: A002 - the port's name
        return self._owned(id, owner)

    @port_call
    def orders(self, owner: UserId | None, number: int, size: int) -> Page[Order]:
        known = self._tables.by_age.get(owner, [])
        end = len(known) - number * size
        newest = reversed(known[max(0, end - size) : max(0, end)])
        rows = self._tables.orders.rows
        return Page(tuple(rows[order] for _, order in newest), number, size, len(known))

    @port_call
    def timeline(self, id: OrderId, owner: UserId | None) -> Sequence[HistoryEntry] | None:  # noqa: A002
        return list(self._tables.entries.get(id, ())) if self._owned(id, owner) is not None else None

    @port_call
    def stored_response(self, scope: str, key: str) -> StoredResponse | None:
        row = self._tables.responses.rows.get((scope, key))
        return row.response if row is not None and row.at > self._tables.clock.now() - IDEMPOTENCY_KEYS_KEPT else None

    def all_orders(self) -> Iterable[Order]:
        return [row for _, row in sorted(self._evidence(self._tables.orders).items())]

    def all_history(self) -> Iterable[tuple[OrderId, HistoryEntry]]:
        return [(order, entry) for (order, _), entry in sorted(self._evidence(self._tables.history).items())]

    def all_responses(self) -> Iterable[StoredResponse]:
        return [row.response for row in self._evidence(self._tables.responses).values()]

    def _owned(self, id: OrderId, owner: UserId | None) -> Order | None:  # noqa: A002
        order = self._tables.orders.rows.get(id)
        if order is None or order.terms is None or owner not in (None, order.terms.user_id):
            return None
        return order

    @classmethod
    def new_tables(cls, clock: Clock, ids: Ids) -> OrderTables:
        """Empty tables of the order service."""
        return OrderTables(clock, ids)

    def _oldest_open_at(self) -> datetime | None:
        return min(self._tables.waiting.values(), default=None)
