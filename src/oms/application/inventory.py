"""The inventory service: holds, commits and gives back stock. The SQL ledger has the last word, a gate the first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import cast

import attrs

from oms.domain.commands import AddStock, SetStock
from oms.domain.events import OrderCancelled, OrderConfirmed, OrderCreated, Shortage
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.state_machine import Transition
from oms.domain.stock import Movement, MovementKind, Stock, shortages
from oms.domain.tasks import TaskKind, TaskRequest, composite_key
from oms.domain.values import OrderId, Sku
from oms.engine.recorded_changes import IdentityMap, RecordedChanges
from oms.engine.retries import next_try
from oms.engine.service import Executor, Handler, OpenWork, Runnable, Service
from oms.ports.call_executor import Ended
from oms.ports.clock import Clock
from oms.ports.errors import Closed, Retryable
from oms.ports.gate import GateAnswer, StockGate, Taken
from oms.ports.messages import AnyEvent, Message
from oms.ports.stores.inventory import InventoryStore, InventoryTransaction
from oms.ports.stores.rows import Postponed, Task
from oms.ports.stores.store import Transaction

GROUP = "inventory-group"

Takes = Mapping[OrderId, Taken]
"""What the gate said of the orders of a batch; empty where there is no gate."""


class InventoryWork:
    """Reservations and stock under lock, and what was decided about them."""

    def __init__(
        self,
        transaction: InventoryTransaction,
        now: datetime,
        *,
        takes: Takes,
        gated: bool,
        default_stock: int | None,
    ) -> None:
        self.changes = RecordedChanges()
        self.settled: list[OrderId] = []
        """Orders that the gate is never asked about again, once this is committed."""
        self.now = now
        self.gated = gated
        self._takes = takes
        self._default_stock = default_stock
        self._transaction = transaction
        self._reservations: IdentityMap[OrderId, Reservation] = IdentityMap(
            lambda order_id: Reservation(order_id=order_id)
        )
        self._stock: dict[Sku, Stock] = {}
        self._movements: list[Movement] = []
        if takes:
            self._check_epoch(takes)

    def load(self, events: Sequence[AnyEvent]) -> None:
        """Lock reservations first, then the products they are about."""
        rows = self._transaction.lock_reservations({event.order_id for event in events})
        self._reservations.load(rows)
        wanted = {sku for row in rows.values() for sku in row.items}
        for event in events:
            if isinstance(event, OrderCreated) and event.order_id not in rows:
                wanted.update(event.terms.items)
        self.lock_stock(wanted)

    def lock_stock(self, skus: Collection[Sku]) -> None:
        """Lock products; unknown ones start with the default stock, where one is set."""
        found = self._transaction.lock_stock(skus)
        missing = sorted(set(skus) - set(found))
        if missing and self._default_stock is not None:
            self._transaction.introduce_stock(dict.fromkeys(missing, self._default_stock))
            found = {**found, **self._transaction.lock_stock(missing)}
        self._stock.update(found)

    def introduce(self, sku: Sku) -> None:
        """Lock a product for a count or delta; an unknown one starts at the default stock, else at 0."""
        self.lock_stock({sku})
        if sku not in self._stock:
            self._transaction.introduce_stock({sku: 0})
            self._stock.update(self._transaction.lock_stock({sku}))

    def __getitem__(self, order_id: OrderId) -> Reservation:
        return self._reservations[order_id]

    def taken(self, order_id: OrderId) -> Taken | None:
        """What the gate answered for this order in this batch."""
        return self._takes.get(order_id)

    def shortages(self, event: OrderCreated) -> tuple[Shortage, ...]:
        """The lines that the ledger has no room for."""
        return shortages(event.terms.items, self._stock)

    @property
    def epoch(self) -> int:
        """The ledger's epoch, shared-locked: a delta of an epoch that has passed is in the next one's fold."""
        return self._transaction.gate_epoch()

    def stock(self, sku: Sku) -> Stock:
        """A locked product."""
        return self._stock[sku]

    def save(self, step: Transition[Reservation]) -> Reservation:
        """Keep a step with the ledger rows that belong to it; raises, and keeps nothing, where they don't fit."""
        before = self[step.aggregate.order_id]
        self.move(before.movements_to(step.aggregate))
        reservation = self.changes.take(step, step.aggregate.order_id)
        self._reservations[reservation.order_id] = reservation
        if reservation.state in (ReservationState.COMMITTED, ReservationState.REJECTED):
            self.settled.append(reservation.order_id)  # a RELEASED one has a give-back, or was COMMITTED before
        return reservation

    def move(self, movements: Sequence[Movement]) -> None:
        """Append to the ledger; stock changes at once in this unit of work."""
        after = {movement.sku: self._stock[movement.sku].moved(movement) for movement in movements}
        self._stock.update(after)
        self._movements += movements

    def flush(self) -> None:
        """Write reservations, ledger and stock."""
        changes = self._reservations.changes()
        if changes:
            self._transaction.save_reservations(changes)
        if self._movements:
            self._transaction.move_stock(self._movements)

    def _check_epoch(self, takes: Takes) -> None:
        """A take of another epoch says nothing about this ledger: take again."""
        epoch = self._transaction.gate_epoch()
        if any(taken.epoch != epoch for taken in takes.values()):
            raise Closed(f"the gate was rebuilt under epoch {epoch} meanwhile")


def created(event: OrderCreated, work: InventoryWork) -> None:
    """Hold every line, or none."""
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
    """The held units are sold."""
    work.save(work[event.order_id].commit(at=work.now))


def cancelled(event: OrderCancelled, work: InventoryWork) -> None:
    """Held units are free, sold units come back; an order that isn't here yet never will be."""
    release(event.order_id, work)


def release(order_id: OrderId, work: InventoryWork) -> None:
    """Release what a loaded reservation holds; without one, leave a tombstone."""
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
    """A count: refused below what is held."""
    work.introduce(command.sku)
    delta = command.on_hand - work.stock(command.sku).on_hand
    return _adjust(work, Movement(reference, command.sku, MovementKind.COUNT, delta, 0))


def add_stock(work: InventoryWork, command: AddStock, reference: str) -> Stock:
    """A delta: refused where held units would be missing."""
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
}


@attrs.frozen
class GatePhase:
    """Asks the gate about the orders of a batch that have no reservation row yet, before the transaction.

    A take is bound to the epoch that was open before the rows were read: a worker that stands still in between, while
    the order is settled and the gate rebuilt without it, would take units that nobody gives back.
    """

    gate: StockGate
    store: InventoryStore
    default_stock: int | None
    keeper: GateKeeper
    open_work: Callable[[Transaction, Takes], InventoryWork]

    def __call__(self, messages: Sequence[Message]) -> OpenWork[InventoryWork]:
        """Return the work that knows the gate's answers about these messages."""
        takes = self.take(messages)
        return lambda transaction: self.open_work(transaction, takes)

    def take(self, messages: Sequence[Message]) -> Takes:
        """One batched take; products the gate doesn't know are introduced from the ledger and asked for again."""
        events = [message.event for message in messages if isinstance(message.event, OrderCreated)]
        if not events:
            return {}
        epoch = self.keeper.epoch()
        known = self.store.reservations({event.order_id for event in events})
        orders = {event.order_id: event.terms.items for event in events if event.order_id not in known}
        if not orders:
            return {}
        takes = dict(self.gate.take(orders, epoch))
        unknown = {sku for taken in takes.values() for sku in taken.unknown}
        if unknown and self._introduce(unknown):
            again = {order: orders[order] for order, taken in takes.items() if taken.answer is GateAnswer.UNKNOWN}
            takes.update(self.gate.take(again, epoch))
        return takes

    def rebuild(self) -> int:
        """Replace the gate's data by the ledger's, whatever the gate holds; returns the new epoch."""
        return self.keeper.rebuild()

    def make_known(self, sku: Sku) -> None:
        """Have the gate know a product before its count changes: a delta that it missed could be added twice."""
        with self.store.begin() as transaction:
            transaction.introduce_stock({sku: self.default_stock or 0})
            transaction.commit()
        self._introduce({sku})

    def _introduce(self, skus: Collection[Sku]) -> bool:
        with self.store.begin() as transaction:
            epoch = transaction.gate_epoch()
            if self.default_stock is not None:
                transaction.introduce_stock(dict.fromkeys(sorted(skus), self.default_stock))
            stock = transaction.lock_stock(skus)
            transaction.commit()
        self.gate.introduce({sku: row.available for sku, row in sorted(stock.items())}, epoch)
        return bool(stock)


@attrs.frozen
class GiveBacks:
    """Tells the gate what the ledger has released."""

    gate: StockGate

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:
        """One call for all of them: nothing is left to do for each."""
        orders = [OrderId(task.key) for task in tasks]
        self.gate.give_back(orders)
        self.gate.settle(orders)
        return {}

    def load(self, work: InventoryWork, tasks: Sequence[Task]) -> None:
        """Nothing."""

    def finish(self, work: InventoryWork, ended: Ended[Task]) -> Postponed | None:
        """Done, unless the gate was closed."""
        return _later(work, ended)


@attrs.frozen
class GateDeltas:
    """Tells the gate of counts, receipts and restocks, each once by its key."""

    gate: StockGate

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:
        """One call an epoch adds all of them."""
        by_epoch: dict[int, list[tuple[str, Sku, int]]] = {}
        for task in tasks:
            epoch, units, sku = task.payload.split(" ", 2)
            by_epoch.setdefault(int(epoch), []).append((task.key, Sku(sku), int(units)))
        for bound_to, deltas in by_epoch.items():
            self.gate.add(deltas, bound_to)
        return {}

    def load(self, work: InventoryWork, tasks: Sequence[Task]) -> None:
        """Nothing."""

    def finish(self, work: InventoryWork, ended: Ended[Task]) -> Postponed | None:
        """Done, unless the gate was closed."""
        return _later(work, ended)


def _later(work: InventoryWork, ended: Ended[Task]) -> Postponed | None:
    return Postponed(ended.token, next_try(work.now, ended.token.attempts)) if ended.error else None


class Settled(Runnable):
    """Tells the gate whose answers may expire. What a crash forgets here stays at the gate until its next rebuild."""

    def __init__(self, gate: StockGate, *, limit: int = 100_000, batch: int = 1000) -> None:
        self._gate, self._batch = gate, batch
        self._orders: deque[OrderId] = deque(maxlen=limit)

    def offer(self, orders: Collection[OrderId]) -> None:
        """Orders whose reservation was just committed in a settled state."""
        self._orders.extend(orders)

    def run_once(self) -> int:
        """Tell one batch."""
        if not self._orders:
            return 0
        batch = [self._orders.popleft() for _ in range(min(self._batch, len(self._orders)))]
        try:
            self._gate.settle(batch)
        except Retryable:
            self._orders.extendleft(reversed(batch))
            raise
        return len(batch)


@attrs.define
class GateKeeper(Runnable):
    """Rebuilds the gate from the ledger whenever it has lost its memory or its epoch isn't the ledger's."""

    gate: StockGate
    store: InventoryStore
    clock: Clock
    look_every_s: float = 0.0
    """How often to compare the two; a batch that meets a gate of another epoch waits for so long."""

    _look_at: datetime | None = None
    _seen: int | None = None

    def epoch(self) -> int:
        """The epoch that ledger and gate had in common when they were last compared; `Closed` where they hadn't."""
        if self._seen is None:
            self._compare()
        if self._seen is None:
            raise Closed("the gate waits for a rebuild")
        return self._seen

    def run_once(self) -> int:
        """1 after a rebuild, else 0."""
        now = self.clock.steady()
        if self._look_at is not None and now < self._look_at:
            return 0
        ledger = self._compare()
        if self._seen is None:
            return self._rebuilt(since=ledger)
        self._look_at = now + timedelta(seconds=self.look_every_s)
        return 0

    def rebuild(self) -> int:
        """Rebuild it now, whatever it knows; answers with the new epoch."""
        with self.store.begin() as transaction:
            epoch = self._next_epoch(transaction, transaction.lock_gate())
        self._write(epoch)
        return epoch

    def _compare(self) -> int:
        with self.store.begin() as transaction:
            ledger = transaction.gate_epoch()
        self._seen = ledger if ledger != 0 and ledger == self.gate.epoch() else None
        return ledger

    def _rebuilt(self, since: int) -> int:
        """Rebuild, unless another worker did while this one waited for the lock."""
        with self.store.begin() as transaction:
            found = transaction.lock_gate()
            if found != since and found == self.gate.epoch():
                return 1
            epoch = self._next_epoch(transaction, found)
        self._write(epoch)
        return 1

    def _next_epoch(self, transaction: InventoryTransaction, epoch: int) -> int:
        """Committed before the ledger is folded: a worker that loses its lock meanwhile can't write a stale fold.

        A ledger that was restored from a copy may be behind the gate.
        """
        following = max(epoch, self.gate.epoch() or 0) + 1
        transaction.set_gate_epoch(following)
        transaction.commit()
        return following

    def _write(self, epoch: int) -> None:
        with self.store.begin() as transaction:
            if transaction.lock_gate() != epoch:
                return  # somebody went on to a later one
            stock, held = transaction.fold()
            self.gate.rebuild({sku: row.available for sku, row in stock.items()}, held, epoch)


@attrs.frozen
class InventoryService(Service[InventoryWork]):
    """The inventory service, and its gate phase for the use cases that change stock."""

    gate_phase: GatePhase | None = None
    """None where the system has no gate: the ledger alone decides then."""


def inventory_service(
    store: InventoryStore,
    clock: Clock,
    *,
    gate: StockGate | None,
    default_stock: int | None,
    look_every_s: float = 0.0,
) -> InventoryService:
    """The inventory service; without a gate the ledger alone decides. `default_stock` None rejects unknown products."""

    def open_work(transaction: Transaction, takes: Takes | None = None) -> InventoryWork:
        return InventoryWork(
            cast("InventoryTransaction", transaction),
            clock.now(),
            takes=takes or {},
            gated=gate is not None,
            default_stock=default_stock,
        )

    if gate is None:
        return InventoryService("inventory", GROUP, store, ROUTES, open_work)
    settled, keeper = Settled(gate), GateKeeper(gate, store, clock, look_every_s)
    phase = GatePhase(gate, store, default_stock, keeper, open_work)
    executors: Mapping[TaskKind, Executor[InventoryWork]] = {
        TaskKind.GIVE_BACK: GiveBacks(gate),
        TaskKind.GATE_DELTA: GateDeltas(gate),
    }
    return InventoryService(
        "inventory",
        GROUP,
        store,
        ROUTES,
        open_work,
        executors,
        prepare=phase,
        committed=lambda work: settled.offer(work.settled),
        steps=(keeper, settled),
        gate_phase=phase,
    )
