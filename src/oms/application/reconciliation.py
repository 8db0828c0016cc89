"""Gate, ledger and orders held against each other: what an operator looks at when something seems stuck.

Read while the system works, so a difference may be one that is about to go; one that stays is real. Repairing is one
operation, the gate's rebuild from the ledger; nothing repairs single holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import attrs

from oms.domain.order import Order, OrderState
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.values import OrderId, Sku
from oms.ports.evidence import Evidence, GateEvidence, InventoryEvidence
from oms.ports.gate import GateAnswer


@attrs.frozen
class Difference:
    """Two records that don't agree. `kind` is stable; a rebuild of the gate repairs those that begin with `gate`."""

    kind: str
    subject: str
    detail: str


def differences(evidence: Evidence, *, now: datetime, deadline_s: float, settle_s: float) -> list[Difference]:
    """Everything that doesn't agree, gate first."""
    reservations = {row.order_id: row for row in evidence.inventory.all_reservations()}
    orders = {order.id: order for order in evidence.order.all_orders() if order.state is not OrderState.ABSENT}
    found = list(_ledger(evidence.inventory, reservations))
    if evidence.gate is not None:
        found = [*_gate(evidence.gate, evidence.inventory, reservations), *found]
    return [*found, *_orders(orders, reservations, now - timedelta(seconds=deadline_s + settle_s))]


def _gate(
    gate: GateEvidence, inventory: InventoryEvidence, reservations: dict[OrderId, Reservation]
) -> Iterator[Difference]:
    if gate.epoch() is None:
        yield Difference("gate-closed", "gate", "has no memory of this ledger; inventory rebuilds it while it runs")
        return
    stock = {row.sku: row.available for row in inventory.all_stock()}
    for sku, units in gate.all_available():
        if units != stock.get(sku, 0):
            yield Difference("gate-stock", sku, f"the gate would sell {units}, the ledger {stock.get(sku, 0)}")
    for order_id, answer, _ in gate.all_answers():
        if answer is GateAnswer.HELD and order_id not in reservations:
            yield Difference("gate-hold", order_id, "is held at the gate, and the ledger doesn't know it")


def _ledger(inventory: InventoryEvidence, reservations: dict[OrderId, Reservation]) -> Iterator[Difference]:
    held: Counter[Sku] = Counter()
    for reservation in reservations.values():
        if reservation.state is ReservationState.HELD:
            held.update(reservation.items)
    fold: dict[Sku, list[int]] = {}
    for movement in inventory.all_movements():
        units = fold.setdefault(movement.sku, [0, 0])
        units[0] += movement.on_hand
        units[1] += movement.held
    for row in inventory.all_stock():
        if fold.get(row.sku, [0, 0]) != [row.on_hand, row.held]:
            yield Difference("ledger", row.sku, f"{row.on_hand} on hand, {row.held} held; the ledger says otherwise")
        if held[row.sku] != row.held:
            yield Difference("holds", row.sku, f"{row.held} held, but the orders that hold it want {held[row.sku]}")


_FITS = {
    OrderState.CONFIRMED: {ReservationState.COMMITTED, ReservationState.HELD},
    OrderState.CANCELLED: {ReservationState.RELEASED, ReservationState.REJECTED},
    OrderState.REJECTED: {ReservationState.REJECTED},
}


def _orders(
    orders: dict[OrderId, Order], reservations: dict[OrderId, Reservation], late: datetime
) -> Iterator[Difference]:
    for order_id, order in orders.items():
        reservation = reservations.get(order_id)
        if order.created_at is not None and order.created_at < late and not order.state.settled:
            yield Difference("order-late", order_id, f"is still {order.state.value}, long after its deadline")
        if order.state in _FITS and (reservation is None or reservation.state not in _FITS[order.state]):
            state = reservation.state.value if reservation else "ABSENT"
            yield Difference("order-stock", order_id, f"is {order.state.value}, its reservation is {state}")
    for order_id, reservation in reservations.items():
        if order_id not in orders and reservation.state is ReservationState.HELD:
            yield Difference("order-missing", order_id, "holds stock, and there is no such order")
