"""The inventory service's record: stock, ledger and reservations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, update

from oms.adapters.sql.core.bulk import Bulk, of
from oms.adapters.sql.core.connection import Missed
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.query import Query
from oms.adapters.sql.stores.rows import dump, load_items, parted
from oms.adapters.sql.stores.store import SqlStore
from oms.adapters.sql.stores.tables import HELD, INVENTORY, InventoryTables
from oms.adapters.sql.stores.transaction import SqlKeyedTransaction
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.stock import Movement, MovementKind, Stock
from oms.domain.values import Items, OrderId, Sku
from oms.ports.clock import Ids
from oms.ports.evidence import InventoryEvidence
from oms.ports.stores.inventory import InventoryStore, InventoryTransaction
from oms.ports.stores.rows import Page

DEFAULT_STOCK = "default_stock"
"""The name of the pinned `OMS_DEFAULT_STOCK`."""

DEFAULT_REFERENCE = "default"
"""The ledger's reference for the stock that a product nobody counted starts with."""

_STOCK, _LEDGER, _RESERVATIONS, _GATE = INVENTORY.stock, INVENTORY.ledger, INVENTORY.reservations, INVENTORY.gate
_ABSENT = ReservationState.ABSENT
_COLUMNS = of(_RESERVATIONS)
_STATES = {state.value: state for state in ReservationState}
_KINDS = {kind.value: kind for kind in MovementKind}
_INSERT = Bulk(lambda new: new.into(_RESERVATIONS), _COLUMNS)
_UPDATE = Bulk(
    lambda new: (
        update(_RESERVATIONS)
        .where(_RESERVATIONS.c.order_id == new.order_id, _RESERVATIONS.c.state == new.before)
        .values(new.all_of(name for name in _COLUMNS if name != "order_id"))
    ),
    {**_COLUMNS, "before": _RESERVATIONS.c.state},
)
_MOVE_ON = Bulk(
    lambda new: (
        update(_RESERVATIONS)
        .where(_RESERVATIONS.c.order_id == new.order_id, _RESERVATIONS.c.state == new.before)
        .values(state=new.state, updated_at=new.updated_at)
    ),
    {**of(_RESERVATIONS, "order_id", "state", "updated_at"), "before": _RESERVATIONS.c.state},
)
"""To another state, with the same items."""

_APPEND = Bulk(
    lambda new: new.into(_LEDGER),
    of(_LEDGER, "reference", "sku", "kind", "on_hand", "held"),
    of(_LEDGER, "at"),
    key=3,
)
_INTRODUCE = Bulk(
    lambda new: new.into(_STOCK).on_conflict_do_nothing().returning(_STOCK.c.sku),
    of(_STOCK, "sku", "on_hand"),
    of(_STOCK, "held"),
)
_MOVE = Bulk(
    lambda moved: (
        update(_STOCK)
        .where(_STOCK.c.sku == moved.sku)
        .values(on_hand=_STOCK.c.on_hand + moved.on_hand, held=_STOCK.c.held + moved.held)
    ),
    of(_STOCK),
)
_EPOCH = Query(select(_GATE.c.epoch).with_for_update(read=True))
_LOCKED = Query(
    select(_RESERVATIONS).order_by(_RESERVATIONS.c.order_id).with_for_update(), among=_RESERVATIONS.c.order_id
)
_READ = Query(select(_RESERVATIONS), among=_RESERVATIONS.c.order_id)
_LOCKED_STOCK = Query(select(_STOCK).order_by(_STOCK.c.sku).with_for_update(), among=_STOCK.c.sku)
_READ_STOCK = Query(select(_STOCK), among=_STOCK.c.sku)


class SqlInventoryTransaction(SqlKeyedTransaction[InventoryTables], InventoryTransaction):
    """The inventory service's unit of work."""

    def gate_epoch(self) -> int:
        """The ledger's epoch, shared-locked."""
        return int(self._link.found(_EPOCH)[0].epoch)

    def lock_gate(self) -> int:
        """The ledger's epoch, locked alone."""
        self._link.lock_table(_GATE)
        return int(self._link.first(select(_GATE.c.epoch).with_for_update()).epoch)

    def set_gate_epoch(self, epoch: int) -> None:
        """Write the epoch."""
        self._link.do(update(_GATE).values(epoch=epoch))

    def lock_reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        """The reservations of these orders."""
        return {known.order_id: known for known in map(reservation_of, self._link.found(_LOCKED, ids))}

    def lock_stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        """The stock of these products."""
        return {stock.sku: stock for stock in map(stock_of, self._link.found(_LOCKED_STOCK, skus))}

    def introduce_stock(self, levels: Mapping[Sku, int]) -> None:
        """Insert products that aren't there, with the ledger row that says why."""
        skus = sorted(Sku(sku) for (sku,) in self._link.answers(_INTRODUCE, levels.items(), held=0))
        default = MovementKind.DEFAULT
        self._append([Movement(DEFAULT_REFERENCE, sku, default, levels[sku], 0) for sku in skus if levels[sku]])

    def save_reservations(self, changes: Sequence[tuple[Reservation, Reservation]]) -> None:
        """Insert, and update by compare-and-set."""
        self._link.many(_INSERT, [_row(after) for before, after in changes if before.state is _ABSENT])
        moved, others = parted([change for change in changes if change[0].state is not _ABSENT], _only_moved)
        self._link.each(_UPDATE, [(*_row(after), before.state.value) for before, after in others])
        self._link.each(_MOVE_ON, [(*_moved(after), before.state.value) for before, after in moved])

    def move_stock(self, movements: Sequence[Movement]) -> None:
        """One summed update a product, and the ledger rows that say why."""
        sums: defaultdict[Sku, list[int]] = defaultdict(lambda: [0, 0])
        for movement in movements:
            total = sums[movement.sku]
            total[0] += movement.on_hand
            total[1] += movement.held
        rows = [(sku, units, held) for sku, (units, held) in sums.items()]
        self._link.each(_MOVE, rows, missed=Missed.NO_PRODUCT)
        self._append(movements)

    def fold(self) -> tuple[Mapping[Sku, Stock], Mapping[OrderId, Items]]:
        """All stock, and what every HELD reservation holds."""
        stock = self._link.rows(select(_STOCK).order_by(_STOCK.c.sku))
        held = self._link.rows(select(_RESERVATIONS).where(HELD).order_by(_RESERVATIONS.c.order_id))
        return (
            {Sku(row.sku): stock_of(row) for row in stock},
            {OrderId(row.order_id): reservation_of(row).items for row in held},
        )

    def _append(self, movements: Sequence[Movement]) -> None:
        rows = [(one.reference, one.sku, one.kind.value, one.on_hand, one.held) for one in movements]
        self._link.many(_APPEND, rows, at=self._link.now)


class SqlInventoryStore(SqlStore[InventoryTables], InventoryStore, InventoryEvidence):
    """Stock, its ledger and its reservations."""

    def __init__(self, database: Database, ids: Ids) -> None:
        super().__init__(database, INVENTORY, ids)

    def begin(self) -> SqlInventoryTransaction:
        """Start a write transaction."""
        return SqlInventoryTransaction(self._database, self._tables, self._database.begin())

    def reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        """Committed reservations."""
        with self._database.reading() as link:
            rows = link.found(_READ, ids)
        return {known.order_id: known for known in map(reservation_of, rows)}

    def stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        """Committed stock."""
        with self._database.reading() as link:
            rows = link.found(_READ_STOCK, skus)
        return {stock.sku: stock for stock in map(stock_of, rows)}

    def stock_page(self, number: int, size: int) -> Page[Stock]:
        """A page of products, by sku."""
        with self._database.snapshot() as link:
            (total,) = link.first(select(func.count()).select_from(_STOCK))
            rows = link.rows(select(_STOCK).order_by(_STOCK.c.sku).limit(size).offset(number * size))
        return Page(tuple(map(stock_of, rows)), number, size, total)

    def default_stock(self) -> str | None:
        """`OMS_DEFAULT_STOCK` of the first start."""
        return self._pinned(DEFAULT_STOCK)

    def record_default_stock(self, text: str) -> None:
        """Record it, unless a value is recorded."""
        self._pin(DEFAULT_STOCK, text)

    def all_reservations(self) -> Iterable[Reservation]:
        """Every reservation."""
        rows = self._database.stream(select(_RESERVATIONS).order_by(_RESERVATIONS.c.order_id))
        return map(reservation_of, rows)

    def all_stock(self) -> Iterable[Stock]:
        """Every product."""
        return map(stock_of, self._database.stream(select(_STOCK).order_by(_STOCK.c.sku)))

    def all_movements(self) -> Iterable[Movement]:
        """The whole ledger."""
        ledger = _LEDGER.c
        columns = ledger.reference, ledger.sku, ledger.kind, ledger.on_hand, ledger.held
        rows = self._database.stream(select(*columns).order_by(*_LEDGER.primary_key.columns))
        return (Movement(name, sku, _KINDS[kind], on_hand, held) for name, sku, kind, on_hand, held in rows)


def _row(reservation: Reservation) -> tuple[Any, ...]:
    return reservation.order_id, reservation.state.value, dump(reservation.items), reservation.updated_at


def _only_moved(before: Reservation, after: Reservation) -> bool:
    return before.items is after.items


def _moved(reservation: Reservation) -> tuple[Any, ...]:
    return reservation.order_id, reservation.state.value, reservation.updated_at


def reservation_of(row: Any) -> Reservation:
    """The reservation of a row of all columns."""
    order_id, state, items, updated_at = row
    return Reservation(order_id=OrderId(order_id), state=_STATES[state], items=load_items(items), updated_at=updated_at)


def stock_of(row: Any) -> Stock:
    """The product of a row."""
    return Stock(Sku(row.sku), row.on_hand, row.held)
