"""Gate, ledger and orders held against each other: what an operator looks at when something seems stuck.

Read while the system works, so a difference may be one that is about to go; one that stays is real. Repairing is one
operation, the gate's rebuild from the ledger; nothing repairs single holds. Promise P2 is checked by the same rules.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain

import attrs

from oms.application.on_record import Movements, Records
from oms.domain.order import Order, OrderState
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.stock import MovementKind, Stock
from oms.domain.values import OrderId, Sku
from oms.ports.evidence import Evidence, GateEvidence
from oms.ports.gate import GateAnswer


@attrs.frozen
class Difference:
    """Two records that don't agree. `kind` is stable; a rebuild of the gate repairs those that begin with `gate`."""

    kind: str
    subject: str
    detail: str


def differences(evidence: Evidence, *, now: datetime, deadline_s: float, settle_s: float) -> list[Difference]:
    """Everything that doesn't agree, gate first."""
    kept = Records.of_inventory(evidence)
    orders = Records.of_orders(evidence).orders
    found = list(ledger_differences(kept.stock, kept.movements, kept.reservations.values()))
    if evidence.gate is not None:
        found = [*gate_differences(evidence.gate, kept.stock, kept.movements), *found]
    return [*found, *_orders(orders, kept.reservations, now - timedelta(seconds=deadline_s + settle_s))]


def gate_differences(gate: GateEvidence, stock: Mapping[Sku, Stock], movements: Movements) -> Iterator[Difference]:
    """Where the gate would sell something else than the ledger has, or keeps a hold that the ledger doesn't know."""
    if gate.epoch() is None:
        yield Difference("gate-closed", "gate", "is closed: it waits for a rebuild")
        return
    for sku, units in gate.all_available():
        available = stock[sku].available if sku in stock else 0
        if units != available:
            yield Difference("gate-stock", sku, f"the gate would sell {units}, the ledger {available}")
    for order_id, answer, _ in gate.all_answers():
        kinds = {row.kind for row in movements.get(order_id, ())}
        # What was sold is restocked by a delta of its own: the answer of its hold stays until it expires.
        if answer is GateAnswer.HELD and (MovementKind.HOLD not in kinds or MovementKind.RELEASE in kinds):
            yield Difference("gate-hold", order_id, "is held at the gate and not in the ledger")


def ledger_differences(
    stock: Mapping[Sku, Stock], movements: Movements, reservations: Iterable[Reservation]
) -> Iterator[Difference]:
    """Where stock isn't the fold of its ledger, or isn't held by the orders that say so."""
    fold: defaultdict[Sku, list[int]] = defaultdict(lambda: [0, 0])
    for movement in chain.from_iterable(movements.values()):
        fold[movement.sku][0] += movement.on_hand
        fold[movement.sku][1] += movement.held
    held: Counter[Sku] = Counter()
    for reservation in reservations:
        if reservation.state is ReservationState.HELD:
            held.update(reservation.items)
    for sku, row in stock.items():
        if tuple(fold[sku]) != (row.on_hand, row.held):
            found = f"stock is {row.on_hand}, {row.held} held; its ledger folds to {tuple(fold[sku])}"
            yield Difference("ledger", sku, found)
        if held[sku] != row.held:
            yield Difference("holds", sku, f"{row.held} held, but the orders that hold it want {held[sku]}")


_FITS = {
    OrderState.CONFIRMED: {ReservationState.COMMITTED, ReservationState.HELD},
    OrderState.CANCELLED: {ReservationState.RELEASED, ReservationState.REJECTED},
    OrderState.REJECTED: {ReservationState.REJECTED},
}


def _orders(
    orders: Mapping[OrderId, Order], reservations: Mapping[OrderId, Reservation], late: datetime
) -> Iterator[Difference]:
    for order_id, order in orders.items():
        reservation = reservations.get(order_id)
        if order.created_at is not None and order.created_at < late and not order.state.resting:
            yield Difference("order-late", order_id, f"is still {order.state.value}, long after its deadline")
        if order.state in _FITS and (reservation is None or reservation.state not in _FITS[order.state]):
            state = reservation.state.value if reservation else "ABSENT"
            yield Difference("order-stock", order_id, f"is {order.state.value}, its reservation is {state}")
    for order_id, reservation in reservations.items():
        if order_id not in orders and reservation.state is ReservationState.HELD:
            yield Difference("order-missing", order_id, "holds stock, and there is no such order")
