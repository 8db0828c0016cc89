"""Compares Redis, the stock ledger and the orders, for an operator who looks for something that is stuck.

The system works meanwhile, so a difference may disappear; a lasting one is real. The only repair is a rebuild of the
gate from the ledger; no operation repairs single holds. The check of promise P2 uses the same rules.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime

import attrs

from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.stock import Movement, MovementKind, Stock
from oms.domain.values import Sku
from oms.operations.merging import MemorySorter
from oms.operations.order_promises import CONFIRMED, late_from
from oms.operations.part_promises import missing_restocks, unknown_restocks
from oms.operations.record_snapshot import RecordSnapshot
from oms.operations.snapshot_rows import GateStock, OrderSnapshot
from oms.ports.evidence import Evidence
from oms.ports.sorting import MakeSorter


@attrs.frozen
class Difference:
    """Two records that don't agree. `kind` is stable; a rebuild of the gate repairs those that begin with `gate`."""

    kind: str
    subject: str
    detail: str


def differences(
    evidence: Evidence, *, now: datetime, settle_s: float, sorter: MakeSorter = MemorySorter
) -> list[Difference]:
    """Return all differences: of the gate, then of the ledger, then of the orders."""
    fold, gate, orders = LedgerFold(), list[Difference](), list[Difference]()
    with ExitStack() as moments:
        record = RecordSnapshot.of_stock(evidence, sorter, moments)
        if record.gate is not None:
            gate += gate_stock(record.gate, record.stock)
        for one in record.orders():
            fold.add(one)
            gate += gate_hold(one)
            orders += _order(one, now, settle_s)
    return [*gate, *fold.differences(record.stock), *orders]


def gate_stock(gate: GateStock, stock: Mapping[Sku, Stock]) -> Iterator[Difference]:
    """Yield the products of which the gate would sell another number of units than the ledger has."""
    if gate.closed:
        yield Difference("gate-closed", "gate", "is closed: it waits for a rebuild")
    for sku, units in gate.available.items():
        available = stock[sku].available if sku in stock else 0
        if units != available:
            yield Difference("gate-stock", sku, f"the gate would sell {units}, the ledger {available}")


def gate_hold(one: OrderSnapshot) -> Iterator[Difference]:
    """Yield the hold of an order that the gate keeps and the ledger doesn't have."""
    if one.gate_holds:
        kinds = {row.kind for row in one.movements}
        # Sold units are restocked by a delta, so the gate keeps its answer about the hold until it expires.
        if MovementKind.HOLD not in kinds or MovementKind.RELEASE in kinds:
            yield Difference("gate-hold", one.id, "is held at the gate and not in the ledger")


class LedgerFold:
    """Sums the ledger and the holds by product."""

    def __init__(self) -> None:
        self._sums: defaultdict[Sku, list[int]] = defaultdict(lambda: [0, 0])
        self._held: Counter[Sku] = Counter()

    def add(self, one: OrderSnapshot) -> None:
        """Add the records of one order, or of a change of stock by an operator."""
        self.add_movements(one.movements)
        if one.reservation is not None:
            self.add_reservation(one.reservation)

    def add_movements(self, rows: Iterable[Movement]) -> None:
        """Add rows of the ledger."""
        for row in rows:
            total = self._sums[row.sku]
            total[0] += row.on_hand
            total[1] += row.held

    def add_reservation(self, reservation: Reservation) -> None:
        """Add the items of a reservation that is HELD."""
        if reservation.state is ReservationState.HELD:
            self._held.update(reservation.items)

    def differences(self, stock: Mapping[Sku, Stock]) -> Iterator[Difference]:
        """Yield products whose stock isn't the sum of the ledger, or whose held units aren't those of the orders."""
        for sku, row in stock.items():
            fold = tuple(self._sums.get(sku, (0, 0)))
            if fold != (row.on_hand, row.held):
                detail = f"stock is {row.on_hand}, {row.held} held; its ledger folds to {fold}"
                yield Difference("ledger", sku, detail)
            if self._held[sku] != row.held:
                detail = f"{row.held} held, but the orders that hold it want {self._held[sku]}"
                yield Difference("holds", sku, detail)


_FITS = {
    **dict.fromkeys(CONFIRMED, (ReservationState.COMMITTED, ReservationState.HELD)),
    OrderState.CANCELLED: (ReservationState.RELEASED, ReservationState.REJECTED),
    OrderState.REJECTED: (ReservationState.REJECTED,),
}


def _order(one: OrderSnapshot, now: datetime, settle_s: float) -> Iterator[Difference]:
    order, reservation = one.order, one.reservation
    if order is None or order.state is OrderState.ABSENT:
        if reservation is not None and reservation.state is ReservationState.HELD:
            yield Difference("order-missing", one.id, "holds stock, and there is no such order")
        return
    late = late_from(order, settle_s)
    if late is not None and late < now:
        yield Difference("order-late", one.id, f"is still {order.state.value}, long after its deadline")
    if order.state in _FITS and (reservation is None or reservation.state not in _FITS[order.state]):
        state = reservation.state.value if reservation else "ABSENT"
        yield Difference("order-stock", one.id, f"is {order.state.value}, its reservation is {state}")
    yield from _refunds(order, reservation)


def _refunds(order: Order, reservation: Reservation | None) -> Iterator[Difference]:
    for _, missing in missing_restocks(order, reservation):
        yield Difference("refund-stock", order.id, missing.detail)
    for unknown in unknown_restocks(reservation, order) if reservation is not None else ():
        yield Difference("refund-stock", order.id, unknown.detail)
    for refusal in order.fulfilment.refusals:
        if refusal.instruction is None:
            detail = f"the gateway refused refund {refusal.of} at attempt {refusal.attempt}: {refusal.reason}"
            yield Difference("refund-refused", order.id, detail)
