"""The inventory service's record: stock, ledger and reservations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.dialects import sqlite

from oms.adapters.sql.rows import chunks, dump, load
from oms.adapters.sql.schema import InventoryTables
from oms.adapters.sql.store import SqlStore
from oms.adapters.sql.transaction import SqlKeyedTransaction
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.stock import Movement, MovementKind, Stock
from oms.domain.values import Items, OrderId, Sku
from oms.ports.evidence import InventoryEvidence
from oms.ports.store import InventoryStore, InventoryTransaction, Page

DEFAULT_REFERENCE = "default"
"""The ledger's reference for the stock that a product nobody counted starts with."""


class SqlInventoryTransaction(SqlKeyedTransaction[InventoryTables], InventoryTransaction):
    """The inventory service's unit of work."""

    def gate_epoch(self) -> int:
        """The ledger's epoch; the write lock is ours already."""
        rows = self._rows(select(self._tables.gate.c.epoch))
        return int(rows[0].epoch) if rows else 0

    def lock_gate(self) -> int:
        """The ledger's epoch; the write lock is ours already."""
        return self.gate_epoch()

    def set_gate_epoch(self, epoch: int) -> None:
        """Write the epoch."""
        row = sqlite.insert(self._tables.gate).values(id=1, epoch=epoch)
        self._do(row.on_conflict_do_update(index_elements=["id"], set_={"epoch": epoch}))

    def lock_reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        """The reservations of these orders."""
        table, found = self._tables.reservations, {}
        for part in chunks(sorted(ids)):
            rows = self._rows(select(table).where(table.c.order_id.in_(part)).order_by(table.c.order_id))
            found.update({OrderId(row.order_id): reservation_of(row) for row in rows})
        return found

    def lock_stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        """The stock of these products."""
        table, found = self._tables.stock, {}
        for part in chunks(sorted(skus)):
            rows = self._rows(select(table).where(table.c.sku.in_(part)).order_by(table.c.sku))
            found.update({Sku(row.sku): stock_of(row) for row in rows})
        return found

    def introduce_stock(self, levels: Mapping[Sku, int]) -> None:
        """Insert products that aren't there, with the ledger row that says why."""
        known = self.lock_stock(list(levels))
        new = [(sku, units) for sku, units in sorted(levels.items()) if sku not in known]
        self._many(insert(self._tables.stock), [{"sku": sku, "on_hand": units, "held": 0} for sku, units in new])
        default = MovementKind.DEFAULT
        self._append([Movement(DEFAULT_REFERENCE, sku, default, units, 0) for sku, units in new if units])

    def save_reservations(self, changes: Sequence[tuple[Reservation, Reservation]]) -> None:
        """Insert, and update by compare-and-set."""
        table, absent = self._tables.reservations, ReservationState.ABSENT
        new = [_row(after) for before, after in changes if before.state is absent]
        self._many(insert(table), new)
        changed = (
            update(table)
            .where(table.c.order_id == bindparam("k"), table.c.state == bindparam("v"))
            .values(state=bindparam("s"), items=bindparam("i"), updated_at=bindparam("u"))
        )
        parameters = [
            {
                "k": before.order_id,
                "v": before.state.value,
                "s": after.state.value,
                "i": dump(after.items),
                "u": after.updated_at,
            }
            for before, after in changes
            if before.state is not absent
        ]
        self._cas(changed, parameters)

    def move_stock(self, movements: Sequence[Movement]) -> None:
        """Append to the ledger, and one summed update a product."""
        self._append(movements)
        sums: defaultdict[Sku, list[int]] = defaultdict(lambda: [0, 0])
        for movement in movements:
            sums[movement.sku][0] += movement.on_hand
            sums[movement.sku][1] += movement.held
        table = self._tables.stock
        moved = (
            update(table)
            .where(table.c.sku == bindparam("k"))
            .values(on_hand=table.c.on_hand + bindparam("a"), held=table.c.held + bindparam("b"))
        )
        self._cas(moved, [{"k": sku, "a": units, "b": held} for sku, (units, held) in sorted(sums.items())])

    def fold(self) -> tuple[Mapping[Sku, Stock], Mapping[OrderId, Items]]:
        """All stock, and what every HELD reservation holds."""
        reservations = self._tables.reservations
        held = select(reservations).where(reservations.c.state == ReservationState.HELD.value)
        stock = self._rows(select(self._tables.stock).order_by(self._tables.stock.c.sku))
        return (
            {Sku(row.sku): stock_of(row) for row in stock},
            {OrderId(row.order_id): reservation_of(row).items for row in self._rows(held)},
        )

    def _append(self, movements: Sequence[Movement]) -> None:
        rows = [
            {
                "reference": movement.reference,
                "sku": movement.sku,
                "kind": movement.kind.value,
                "on_hand": movement.on_hand,
                "held": movement.held,
                "at": self._now,
            }
            for movement in movements
        ]
        self._many(insert(self._tables.ledger), rows)


class SqlInventoryStore(SqlStore[InventoryTables], InventoryStore, InventoryEvidence):
    """Stock, its ledger and its reservations."""

    def begin(self) -> SqlInventoryTransaction:
        """Start a write transaction."""
        return SqlInventoryTransaction(self._connect(), self._tables, self._clock.now())

    def reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        """Committed reservations."""
        table, found = self._tables.reservations, {}
        for part in chunks(sorted(ids)):
            rows = self._read(select(table).where(table.c.order_id.in_(part)))
            found.update({OrderId(row.order_id): reservation_of(row) for row in rows})
        return found

    def stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        """Committed stock."""
        table, found = self._tables.stock, {}
        for part in chunks(sorted(skus)):
            rows = self._read(select(table).where(table.c.sku.in_(part)))
            found.update({Sku(row.sku): stock_of(row) for row in rows})
        return found

    def stock_page(self, number: int, size: int) -> Page[Stock]:
        """A page of products, by sku."""
        table = self._tables.stock
        ((total,),) = self._read(select(func.count()).select_from(table))
        rows = self._read(select(table).order_by(table.c.sku).limit(size).offset(number * size))
        return Page(tuple(stock_of(row) for row in rows), number, size, total)

    def all_reservations(self) -> Iterable[Reservation]:
        """Every reservation."""
        return (reservation_of(row) for row in self._stream(select(self._tables.reservations)))

    def all_stock(self) -> Iterable[Stock]:
        """Every product."""
        return (stock_of(row) for row in self._stream(select(self._tables.stock)))

    def all_movements(self) -> Iterable[Movement]:
        """The whole ledger."""
        rows = self._stream(select(self._tables.ledger))
        return (Movement(r.reference, Sku(r.sku), MovementKind(r.kind), r.on_hand, r.held) for r in rows)


def _row(reservation: Reservation) -> dict[str, Any]:
    return {
        "order_id": reservation.order_id,
        "state": reservation.state.value,
        "items": dump(reservation.items),
        "updated_at": reservation.updated_at,
    }


def reservation_of(row: Any) -> Reservation:
    """The reservation of a row."""
    return Reservation(
        order_id=OrderId(row.order_id),
        state=ReservationState(row.state),
        items={Sku(sku): units for sku, units in load(row.items).items()},
        updated_at=row.updated_at,
    )


def stock_of(row: Any) -> Stock:
    """The product of a row."""
    return Stock(Sku(row.sku), row.on_hand, row.held)
