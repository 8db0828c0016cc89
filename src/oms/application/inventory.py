"""The inventory service: holds, commits and releases stock. The SQL ledger decides; the gate only refuses early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import attrs

from oms.application.inventory_work import InventoryWork, Takes
from oms.application.stock_gate import GateDeltas, GateKeeper, GatePhase, GiveBacks, SettledOrders
from oms.domain.commands import AddStock, SetStock
from oms.domain.events import OrderCancelled, OrderConfirmed, OrderCreated, OrderRefundRequested
from oms.domain.reservation import ReservationState
from oms.domain.stock import Movement, MovementKind, Stock
from oms.domain.tasks import TaskKind, TaskRequest, composite_key
from oms.domain.values import OrderId, Sku
from oms.engine.service import Executor, Handler, Service
from oms.ports.clock import Clock
from oms.ports.gate import GateAnswer, StockGate
from oms.ports.stores.inventory import InventoryStore, InventoryTransaction
from oms.ports.stores.store import Transaction

NAME = "inventory"
GROUP = "inventory-group"


def created(event: OrderCreated, work: InventoryWork) -> None:
    """Hold every line of the order, or reject it."""
    reservation = work[event.order_id]
    taken = work.taken(event.order_id)
    if reservation.state is not ReservationState.ABSENT:
        if taken is not None and reservation.state in (ReservationState.RELEASED, ReservationState.REJECTED):
            _give_back(work, event.order_id)
        return
    refused = taken is not None and taken.answer is not GateAnswer.HELD
    short = (taken.shortages if taken is not None and refused else ()) or work.shortages(event)
    if not short and not refused:
        work.save(reservation.hold(event.terms, at=work.now))
        work.changes.note("Inventory reserved", order_id=event.order_id)
        return
    work.save(reservation.reject(short, at=work.now))
    work.changes.note("Inventory rejected", order_id=event.order_id)
    if not refused:
        _give_back(work, event.order_id)


def confirmed(event: OrderConfirmed, work: InventoryWork) -> None:
    """Sell the held units."""
    work.save(work[event.order_id].commit(at=work.now))


def cancelled(event: OrderCancelled, work: InventoryWork) -> None:
    """Release held units and restock sold ones; an order without a reservation never gets one after this."""
    release(event.order_id, work)


def refund_requested(event: OrderRefundRequested, work: InventoryWork) -> None:
    """Make the units of a refund available again."""
    before = work[event.order_id]
    after = work.save(before.refunded(event, at=work.now))
    if after is before:
        return
    work.changes.note("Inventory restocked", order_id=event.order_id, refund=event.refund_id)
    for sku, units in sorted(event.items.items()):
        _gate_delta(work, composite_key("refund", event.order_id, event.refund_id, sku), sku, units)


def release(order_id: OrderId, work: InventoryWork) -> None:
    """Release the units of a loaded reservation; without one, leave a tombstone."""
    before = work[order_id]
    after = work.save(before.release(at=work.now))
    if after.state is before.state:
        return
    work.changes.note("Inventory released", order_id=order_id)
    if before.state is ReservationState.COMMITTED:
        for sku, units in sorted(after.items.items()):
            _gate_delta(work, composite_key("restock", order_id, sku), sku, units)
    else:
        _give_back(work, order_id)


def _give_back(work: InventoryWork, order_id: OrderId) -> None:
    if work.gated:
        work.changes.tasks.append(TaskRequest(TaskKind.GIVE_BACK, order_id))


def _gate_delta(work: InventoryWork, key: str, sku: Sku, units: int) -> None:
    if work.gated and units:
        payload = f"{work.epoch} {units} {sku}"
        work.changes.tasks.append(TaskRequest(TaskKind.GATE_DELTA, key, payload=payload))


def set_stock(work: InventoryWork, command: SetStock, reference: str) -> Stock:
    """Set the units on hand; raises `Conflict` for fewer units than are held."""
    work.introduce(command.sku)
    delta = command.on_hand - work.stock(command.sku).on_hand
    return _adjust(work, Movement(reference, command.sku, MovementKind.COUNT, delta, 0))


def add_stock(work: InventoryWork, command: AddStock, reference: str) -> Stock:
    """Add a difference to the units on hand; raises `Conflict` if fewer units than are held would be left."""
    work.introduce(command.sku)
    return _adjust(work, Movement(reference, command.sku, MovementKind.RECEIVE, command.delta, 0))


def _adjust(work: InventoryWork, movement: Movement) -> Stock:
    work.move([movement])
    key = composite_key(movement.kind.value, movement.reference, movement.sku)
    _gate_delta(work, key, movement.sku, movement.on_hand)
    return work.stock(movement.sku)


ROUTES: Mapping[str, Handler[InventoryWork]] = {
    OrderCreated.topic: cast("Handler[InventoryWork]", created),
    OrderConfirmed.topic: cast("Handler[InventoryWork]", confirmed),
    OrderCancelled.topic: cast("Handler[InventoryWork]", cancelled),
    OrderRefundRequested.topic: cast("Handler[InventoryWork]", refund_requested),
}


@attrs.frozen
class InventoryService(Service[InventoryWork]):
    """The inventory service, and its gate phase for the use cases that change stock."""

    gate_phase: GatePhase | None = None
    """None if the system has no gate; the ledger alone then decides."""


def inventory_service(
    store: InventoryStore,
    clock: Clock,
    *,
    gate: StockGate | None,
    default_stock: int | None,
    look_every_s: float = 0.0,
) -> InventoryService:
    """Make the inventory service; without a gate the ledger alone decides.

    `default_stock` is the number of units with which an unknown product starts; None rejects orders for it.
    `look_every_s` is the time between two comparisons of the epochs of gate and ledger, in seconds.
    """

    def open_work(transaction: Transaction, takes: Takes | None = None) -> InventoryWork:
        return InventoryWork(
            cast("InventoryTransaction", transaction),
            clock.now(),
            takes=takes or {},
            gated=gate is not None,
            default_stock=default_stock,
        )

    if gate is None:
        return InventoryService(NAME, GROUP, store, ROUTES, open_work)
    keeper = GateKeeper(gate, store, clock, look_every_s)
    return _with_gate(InventoryService(NAME, GROUP, store, ROUTES, open_work), open_work, keeper, default_stock)


def _with_gate(
    service: InventoryService,
    open_work: Callable[[Transaction, Takes], InventoryWork],
    keeper: GateKeeper,
    default_stock: int | None,
) -> InventoryService:
    """Return the service with the gate's phase, tasks and rebuild."""
    gate, settled = keeper.gate, SettledOrders(keeper.gate)
    phase = GatePhase(gate, keeper.store, default_stock, keeper, open_work)
    executors: Mapping[TaskKind, Executor[InventoryWork]] = {
        TaskKind.GIVE_BACK: GiveBacks(gate),
        TaskKind.GATE_DELTA: GateDeltas(gate),
    }
    return attrs.evolve(
        service,
        executors=executors,
        prepare=phase,
        committed=lambda work: settled.offer(work.settled),
        steps=(keeper, settled),
        gate_phase=phase,
    )
