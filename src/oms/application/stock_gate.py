"""The stock gate in front of the ledger: the phase before each transaction, its tasks, and its rebuild."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from oms.application.inventory_work import InventoryWork, Takes
from oms.domain.events import OrderCreated
from oms.domain.values import OrderId, Sku
from oms.engine.retries import next_try
from oms.engine.service import OpenWork, Runnable
from oms.ports.call_executor import Ended
from oms.ports.clock import Clock
from oms.ports.errors import Closed, Retryable
from oms.ports.gate import GateAnswer, StockGate
from oms.ports.messages import Message
from oms.ports.stores.inventory import InventoryStore, InventoryTransaction
from oms.ports.stores.rows import Postponed, Task
from oms.ports.stores.store import Transaction


@attrs.frozen
class GatePhase:
    """Takes units at the gate for those orders of a batch that have no reservation row, before the transaction.

    A take is bound to the epoch that was valid before the rows were read. Otherwise a worker that pauses in between,
    while the order settles and the gate is rebuilt without it, would take units that are never given back.
    """

    gate: StockGate
    store: InventoryStore
    default_stock: int | None
    keeper: GateKeeper
    open_work: Callable[[Transaction, Takes], InventoryWork]

    def __call__(self, messages: Sequence[Message]) -> OpenWork[InventoryWork]:
        """Take units for these messages; return a function that opens a unit of work with the gate's answers."""
        takes = self.take(messages)
        return lambda transaction: self.open_work(transaction, takes)

    def take(self, messages: Sequence[Message]) -> Takes:
        """Take units for all orders in one call; add products that the gate doesn't know, and take again."""
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
        """Replace the gate's data with that of the ledger in any case; return the new epoch."""
        return self.keeper.rebuild()

    def make_known(self, sku: Sku) -> None:
        """Introduce a product at the gate before its count changes; else a change could be counted twice.

        An introduction reads the ledger, which may hold the change already.
        """
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
    """Task GIVE_BACK: gives the units of released orders back to the gate."""

    gate: StockGate

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:
        """Give back all orders in one call; no task has a call of its own."""
        orders = [OrderId(task.key) for task in tasks]
        self.gate.give_back(orders)
        self.gate.settle(orders)
        return {}

    def load(self, work: InventoryWork, tasks: Sequence[Task]) -> None:
        """Do nothing: the outcome changes no row."""

    def finish(self, work: InventoryWork, ended: Ended[Task]) -> Postponed | None:
        """Finish the task, or postpone it where the gate was closed."""
        return _later(work, ended)


@attrs.frozen
class GateDeltas:
    """Task GATE_DELTA: adds counts, receipts and restocks to the gate, each once by its key."""

    gate: StockGate

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:
        """Add all deltas with one call for each epoch; no task has a call of its own."""
        by_epoch: dict[int, list[tuple[str, Sku, int]]] = {}
        for task in tasks:
            epoch, units, sku = task.payload.split(" ", 2)
            by_epoch.setdefault(int(epoch), []).append((task.key, Sku(sku), int(units)))
        for bound_epoch, deltas in by_epoch.items():
            self.gate.add(deltas, bound_epoch)
        return {}

    def load(self, work: InventoryWork, tasks: Sequence[Task]) -> None:
        """Do nothing: the outcome changes no row."""

    def finish(self, work: InventoryWork, ended: Ended[Task]) -> Postponed | None:
        """Finish the task, or postpone it where the gate was closed."""
        return _later(work, ended)


def _later(work: InventoryWork, ended: Ended[Task]) -> Postponed | None:
    return Postponed(ended.token, next_try(work.now, ended.token.attempts)) if ended.error else None


class SettledOrders(Runnable):
    """Orders whose answers the gate may let expire, because they have settled.

    They are kept in memory: after a crash their answers stay at the gate until its next rebuild.
    """

    def __init__(self, gate: StockGate, *, limit: int = 100_000, batch: int = 1000) -> None:
        self._gate, self._batch = gate, batch
        self._orders: deque[OrderId] = deque(maxlen=limit)

    def offer(self, orders: Collection[OrderId]) -> None:
        """Add orders whose reservations were committed in a settled state."""
        self._orders.extend(orders)

    def run_once(self) -> int:
        """Report one batch to the gate."""
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
    """Rebuilds the gate from the ledger whenever the gate has lost its data or their epochs differ."""

    gate: StockGate
    store: InventoryStore
    clock: Clock
    look_every_s: float = 0.0
    """Seconds between two comparisons of the epochs; a batch that finds another one at the gate may wait this long."""

    _look_at: datetime | None = None
    _seen: int | None = None

    def epoch(self) -> int:
        """Return the epoch of ledger and gate at the last comparison; raises `Closed` if they differed."""
        if self._seen is None:
            self._compare()
        if self._seen is None:
            raise Closed("the gate waits for a rebuild")
        return self._seen

    def is_outdated(self, ledger: int) -> bool:
        """Whether another worker rebuilt the gate since the last comparison; `ledger` is the ledger's epoch now."""
        return self._seen not in (None, ledger)

    def run_once(self) -> int:
        """Compare the epochs if that is due; return 1 after a rebuild, else 0."""
        now = self.clock.steady()
        if self._look_at is not None and now < self._look_at:
            return 0
        ledger = self._compare()
        if self._seen is None:
            return self._rebuilt(since=ledger)
        self._look_at = now + timedelta(seconds=self.look_every_s)
        return 0

    def rebuild(self) -> int:
        """Rebuild the gate now, in any case; return the new epoch."""
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
        """Rebuild, unless another worker did so while this one waited for the lock."""
        with self.store.begin() as transaction:
            found = transaction.lock_gate()
            if found != since and found == self.gate.epoch():
                return 1
            epoch = self._next_epoch(transaction, found)
        self._write(epoch)
        return 1

    def _next_epoch(self, transaction: InventoryTransaction, epoch: int) -> int:
        """Commit and return a new epoch, above that of the gate: a ledger restored from a copy may be behind it.

        It is committed before the ledger is folded, so that a worker that loses its lock meanwhile can't write a stale
        fold.
        """
        following = max(epoch, self.gate.epoch() or 0) + 1
        transaction.set_gate_epoch(following)
        transaction.commit()
        return following

    def _write(self, epoch: int) -> None:
        with self.store.begin() as transaction:
            if transaction.lock_gate() != epoch:
                return  # another worker has begun a later epoch
            stock, held = transaction.fold()
            self.gate.rebuild({sku: row.available for sku, row in stock.items()}, held, epoch)
