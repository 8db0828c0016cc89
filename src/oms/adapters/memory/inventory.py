"""The inventory service's store: reservations, stock, the ledger and the gate's row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from oms.adapters.memory import column_limits
from oms.adapters.memory.call_hooks import port_call
from oms.adapters.memory.service_tables import ServiceTables
from oms.adapters.memory.store import MemoryStore
from oms.adapters.memory.tables import Table
from oms.adapters.memory.transaction import MemoryKeyedTransaction
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.stock import Movement, MovementKind, Stock
from oms.domain.values import Items, OrderId, Sku
from oms.ports.clock import Clock, Ids
from oms.ports.errors import Permanent
from oms.ports.evidence import InventoryEvidence
from oms.ports.stores.inventory import InventoryStore, InventoryTransaction
from oms.ports.stores.rows import Page

GATE_ROW = "gate"
DEFAULT_REFERENCE = "default"


class InventoryTables(ServiceTables):
    """The inventory service's tables."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        super().__init__(clock, ids)
        self.reservations: Table[OrderId, Reservation] = Table(
            "reservations", check_row=column_limits.check_reservation
        )
        self.stock: Table[Sku, Stock] = Table("stock", check_row=column_limits.check_stock)
        self.ledger: Table[tuple[str, Sku, str], Movement] = Table("ledger", check_row=column_limits.check_ledger)
        self.gate: Table[str, int] = Table("gate")
        self.gate.rows[GATE_ROW] = 0
        self.default_stock: str | None = None


class MemoryInventoryTransaction(MemoryKeyedTransaction, InventoryTransaction):
    """The inventory service's unit of work."""

    _tables: InventoryTables

    @port_call
    def gate_epoch(self) -> int:
        self._open().share(self._tables.gate, GATE_ROW)
        return self.work.find(self._tables.gate, GATE_ROW) or 0

    @port_call
    def lock_gate(self) -> int:
        return self._open().lock_row(self._tables.gate, GATE_ROW) or 0

    @port_call
    def set_gate_epoch(self, epoch: int) -> None:
        self._open().lock(self._tables.gate, GATE_ROW)
        self.work.put(self._tables.gate, GATE_ROW, epoch)

    @port_call
    def lock_reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        return self._lock_rows(self._tables.reservations, ids)

    @port_call
    def lock_stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        return self._lock_rows(self._tables.stock, skus)

    @port_call
    def introduce_stock(self, levels: Mapping[Sku, int]) -> None:
        work = self._open()
        for sku, units in sorted(levels.items()):
            if work.insert(self._tables.stock, sku, Stock(sku, units)) and units:
                self._append(Movement(DEFAULT_REFERENCE, sku, MovementKind.DEFAULT, units, 0))

    @port_call
    def save_reservations(self, changes: Sequence[tuple[Reservation, Reservation]]) -> None:
        self._open()
        table = self._tables.reservations
        for before, after in sorted(changes, key=lambda pair: pair[1].order_id):
            if before.state is ReservationState.ABSENT:
                self._insert(table, after.order_id, after)
            else:
                self._update(table, after.order_id, after, lambda row, state=before.state: row.state is state)  # type: ignore[misc]

    @port_call
    def move_stock(self, movements: Sequence[Movement]) -> None:
        work = self._open()
        sums: dict[Sku, tuple[int, int]] = {}
        for movement in movements:
            on_hand, held = sums.get(movement.sku, (0, 0))
            sums[movement.sku] = on_hand + movement.on_hand, held + movement.held
        for sku, (on_hand, held) in sorted(sums.items()):
            stock = work.lock_row(self._tables.stock, sku)
            if stock is None:
                work.refuse(Permanent(f"there is no product {sku}"))
            after = Stock(sku, stock.on_hand + on_hand, stock.held + held)
            if not 0 <= after.held <= after.on_hand:
                work.refuse(Permanent(f"{sku} would have {after.on_hand} on hand and {after.held} held"))
            work.put(self._tables.stock, sku, after)
        for movement in movements:
            self._append(movement)

    @port_call
    def fold(self) -> tuple[Mapping[Sku, Stock], Mapping[OrderId, Items]]:
        work = self._open()
        reservations = sorted(work.scan(self._tables.reservations))
        held = {order: row.items for order, row in reservations if row.state is ReservationState.HELD}
        return dict(sorted(work.scan(self._tables.stock))), held

    def _append(self, movement: Movement) -> None:
        self._insert(self._tables.ledger, (movement.reference, movement.sku, movement.kind.value), movement)


class MemoryInventoryStore(MemoryStore[InventoryTables], InventoryStore, InventoryEvidence):
    """The inventory service's store in memory."""

    name = "inventory"

    @port_call
    def begin(self) -> InventoryTransaction:
        return MemoryInventoryTransaction(self._tables, self._hooks)

    @port_call
    def reservations(self, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
        rows = self._tables.reservations.rows
        return {order: rows[order] for order in sorted(set(ids)) if order in rows}

    @port_call
    def stock(self, skus: Collection[Sku]) -> Mapping[Sku, Stock]:
        rows = self._tables.stock.rows
        return {sku: rows[sku] for sku in sorted(set(skus)) if sku in rows}

    @port_call
    def stock_page(self, number: int, size: int) -> Page[Stock]:
        rows = self._tables.stock.rows
        skus = sorted(rows)[number * size : (number + 1) * size]
        return Page(tuple(rows[sku] for sku in skus), number, size, len(rows))

    def default_stock(self) -> str | None:
        return self._tables.default_stock

    def record_default_stock(self, text: str) -> None:
        if self._tables.default_stock is None:
            self._tables.default_stock = text

    def all_reservations(self) -> Iterable[Reservation]:
        return [row for _, row in sorted(self._evidence(self._tables.reservations).items())]

    def all_stock(self) -> Iterable[Stock]:
        return [row for _, row in sorted(self._evidence(self._tables.stock).items())]

    def all_movements(self) -> Iterable[Movement]:
        return [row for _, row in sorted(self._evidence(self._tables.ledger).items())]

    @classmethod
    def new_tables(cls, clock: Clock, ids: Ids) -> InventoryTables:
        """Empty tables of the inventory service."""
        return InventoryTables(clock, ids)
