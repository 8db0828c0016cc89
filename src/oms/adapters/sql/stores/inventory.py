"""The inventory service's tables: stock, its ledger and reservations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import func, select, update

from oms.adapters.sql.core.bulk_statements import BulkStatement
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.sender import Missed
from oms.adapters.sql.core.statements import Statement, columns_of
from oms.adapters.sql.stores.aggregates import AggregateTable, Versions
from oms.adapters.sql.stores.rows import dump, dump_json, load_items
from oms.adapters.sql.stores.store import SqlKeyedStore
from oms.adapters.sql.stores.tables import HELD, INVENTORY, InventoryTables
from oms.adapters.sql.stores.transaction import SqlKeyedTransaction
from oms.domain.reservation import Reservation, ReservationState, Restock
from oms.domain.stock import Movement, MovementKind, Stock
from oms.domain.values import Items, OrderId, Sku
from oms.ports.clock import Ids
from oms.ports.evidence import InventoryEvidence
from oms.ports.stores.inventory import InventoryStore, InventoryTransaction
from oms.ports.stores.rows import Page

DEFAULT_STOCK = "default_stock"
"""The name of the pinned `OMS_DEFAULT_STOCK`."""

DEFAULT_REFERENCE = "default"
"""The ledger's reference for the default stock of a product that was never counted."""

_STOCK, _LEDGER, _RESERVATIONS, _GATE = INVENTORY.stock, INVENTORY.ledger, INVENTORY.reservations, INVENTORY.gate
_ABSENT = ReservationState.ABSENT
_STATES = {state.value: state for state in ReservationState}
_KINDS = {kind.value: kind for kind in MovementKind}
_INSERT_LEDGER = BulkStatement(
    lambda row: row.insert_into(_LEDGER),
    columns_of(_LEDGER, "reference", "sku", "kind", "on_hand", "held"),
    columns_of(_LEDGER, "at"),
    key_length=3,
)
_INSERT_STOCK = BulkStatement(
    lambda row: row.insert_into(_STOCK).on_conflict_do_nothing().returning(_STOCK.c.sku),
    columns_of(_STOCK, "sku", "on_hand"),
    columns_of(_STOCK, "held"),
)
_MOVE_STOCK = BulkStatement(
    lambda row: (
        update(_STOCK)
        .where(_STOCK.c.sku == row["sku"])
        .values(on_hand=_STOCK.c.on_hand + row["on_hand"], held=_STOCK.c.held + row["held"])
    ),
    columns_of(_STOCK),
)
_SHARE_EPOCH = Statement(select(_GATE.c.epoch).with_for_update(read=True))
_LOCK_RESERVATIONS = Statement(
    select(_RESERVATIONS).order_by(_RESERVATIONS.c.order_id).with_for_update(), among=_RESERVATIONS.c.order_id
)
_READ_RESERVATIONS = Statement(select(_RESERVATIONS), among=_RESERVATIONS.c.order_id)
_LOCK_STOCK = Statement(select(_STOCK).order_by(_STOCK.c.sku).with_for_update(), among=_STOCK.c.sku)
_READ_STOCK = Statement(select(_STOCK), among=_STOCK.c.sku)


class SqlInventoryTransaction(SqlKeyedTransaction[InventoryTables], InventoryTransaction):
    """The inventory service's unit of work."""

    def gate_epoch(self) -> int:
        return int(self._connection.fetch(_SHARE_EPOCH)[0].epoch)

    def lock_gate(self) -> int:
        self._connection.lock_table(_GATE)
        return int(self._connection.first(select(_GATE.c.epoch).with_for_update()).epoch)

    def set_gate_epoch(self, epoch: int) -> None:
        self._connection.execute(update(_GATE).values(epoch=epoch))

    def lock_reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        return {known.order_id: known for known in map(reservation_of, self._connection.fetch(_LOCK_RESERVATIONS, ids))}

    def lock_stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        return {stock.sku: stock for stock in map(stock_of, self._connection.fetch(_LOCK_STOCK, skus))}

    def introduce_stock(self, levels: Mapping[Sku, int]) -> None:
        skus = sorted(Sku(sku) for (sku,) in self._connection.fetch_for_rows(_INSERT_STOCK, levels.items(), held=0))
        default = MovementKind.DEFAULT
        self._append([Movement(DEFAULT_REFERENCE, sku, default, levels[sku], 0) for sku in skus if levels[sku]])

    def save_reservations(self, changes: Sequence[tuple[Reservation, Reservation]]) -> None:
        _SAVED.save(self._connection, changes)

    def move_stock(self, movements: Sequence[Movement]) -> None:
        sums: defaultdict[Sku, list[int]] = defaultdict(lambda: [0, 0])
        for movement in movements:
            total = sums[movement.sku]
            total[0] += movement.on_hand
            total[1] += movement.held
        rows = [(sku, units, held) for sku, (units, held) in sums.items()]
        self._connection.change_every_row(_MOVE_STOCK, rows, missed=Missed.NO_PRODUCT)
        self._append(movements)

    def fold(self) -> tuple[Mapping[Sku, Stock], Mapping[OrderId, Items]]:
        stock = self._connection.all(select(_STOCK).order_by(_STOCK.c.sku))
        held = self._connection.all(select(_RESERVATIONS).where(HELD).order_by(_RESERVATIONS.c.order_id))
        return (
            {Sku(row.sku): stock_of(row) for row in stock},
            {OrderId(row.order_id): reservation_of(row).items for row in held},
        )

    def _append(self, movements: Sequence[Movement]) -> None:
        rows = [(one.reference, one.sku, one.kind.value, one.on_hand, one.held) for one in movements]
        self._connection.run_for_rows(_INSERT_LEDGER, rows, at=self._connection.now)


class SqlInventoryStore(SqlKeyedStore[InventoryTables], InventoryStore, InventoryEvidence):
    """Stock, its ledger and its reservations."""

    def __init__(self, database: Database, ids: Ids) -> None:
        super().__init__(database, INVENTORY, ids)

    def begin(self) -> SqlInventoryTransaction:
        return SqlInventoryTransaction(self._database, self._tables, self._database.begin())

    def reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        with self._database.reading() as connection:
            rows = connection.fetch(_READ_RESERVATIONS, ids)
        return {known.order_id: known for known in map(reservation_of, rows)}

    def stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        with self._database.reading() as connection:
            rows = connection.fetch(_READ_STOCK, skus)
        return {stock.sku: stock for stock in map(stock_of, rows)}

    def stock_page(self, number: int, size: int) -> Page[Stock]:
        with self._database.snapshot() as connection:
            (total,) = connection.first(select(func.count()).select_from(_STOCK))
            rows = connection.all(select(_STOCK).order_by(_STOCK.c.sku).limit(size).offset(number * size))
        return Page(tuple(map(stock_of, rows)), number, size, total)

    def default_stock(self) -> str | None:
        return self._pinned(DEFAULT_STOCK)

    def record_default_stock(self, text: str) -> None:
        self._pin(DEFAULT_STOCK, text)

    def all_reservations(self) -> Iterable[Reservation]:
        rows = self._database.stream(select(_RESERVATIONS).order_by(_RESERVATIONS.c.order_id))
        return map(reservation_of, rows)

    def all_stock(self) -> Iterable[Stock]:
        return map(stock_of, self._database.stream(select(_STOCK).order_by(_STOCK.c.sku)))

    def all_movements(self) -> Iterable[Movement]:
        ledger = _LEDGER.c
        columns = ledger.reference, ledger.sku, ledger.kind, ledger.on_hand, ledger.held
        rows = self._database.stream(select(*columns).order_by(*_LEDGER.primary_key.columns))
        return (Movement(name, sku, _KINDS[kind], on_hand, held) for name, sku, kind, on_hand, held in rows)


def _row_of(reservation: Reservation) -> tuple[Any, ...]:
    return (
        reservation.order_id,
        reservation.state.value,
        dump(reservation.items),
        reservation.updated_at,
        _restocks_text(reservation.restocks) if reservation.restocks else None,
    )


def _only_state_changed(before: Reservation, after: Reservation) -> bool:
    return before.items is after.items and before.restocks is after.restocks


def _state_row_of(reservation: Reservation) -> tuple[Any, ...]:
    return reservation.order_id, reservation.state.value, reservation.updated_at


_SAVED = AggregateTable(
    _RESERVATIONS,
    Versions[Reservation](
        _RESERVATIONS.c.state, of=lambda known: known.state.value, is_new=lambda known: known.state is _ABSENT
    ),
    _row_of,
    ("state", "updated_at"),
    _state_row_of,
    _only_state_changed,
)


def reservation_of(row: Any) -> Reservation:
    """Return the reservation of a row of all columns."""
    order_id, state, items, updated_at, restocks = row
    return Reservation(
        order_id=OrderId(order_id),
        state=_STATES[state],
        items=load_items(items),
        updated_at=updated_at,
        restocks=() if restocks is None else _restocks(restocks),
    )


class _Restock(msgspec.Struct, frozen=True):
    """One element of the column `restocks`."""

    refund: str
    items: dict[Sku, int]


_read_restocks = msgspec.json.Decoder(list[_Restock]).decode


def _restocks_text(restocks: Sequence[Restock]) -> str:
    return dump_json([_Restock(one.refund_id, dict(one.items)) for one in restocks])


def _restocks(text: str) -> tuple[Restock, ...]:
    return tuple(Restock(row.refund, MappingProxyType(row.items)) for row in _read_restocks(text))


def stock_of(row: Any) -> Stock:
    """Return the stock of a row."""
    return Stock(Sku(row.sku), row.on_hand, row.held)
