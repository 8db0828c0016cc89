"""The inventory service's unit of work: reservations, stock and ledger rows under lock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from oms.domain.events import OrderCreated, Shortage
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.state_machine import Transition
from oms.domain.stock import Movement, Stock, shortages
from oms.domain.values import OrderId, Sku
from oms.engine.recorded_changes import IdentityMap, RecordedChanges
from oms.ports.errors import Closed
from oms.ports.gate import Taken
from oms.ports.messages import AnyEvent
from oms.ports.stores.inventory import InventoryTransaction

Takes = Mapping[OrderId, Taken]
"""The gate's answers for the orders of a batch; empty if there is no gate."""


class InventoryWork:
    """Locked reservations and stock, and the changes that handlers decide."""

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
        """Orders that settle with this commit; the gate gets no further take for them."""
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
        """Lock the reservations of these events, then their products."""
        rows = self._transaction.lock_reservations({event.order_id for event in events})
        self._reservations.load(rows)
        wanted = {sku for row in rows.values() for sku in row.items}
        for event in events:
            if isinstance(event, OrderCreated) and event.order_id not in rows:
                wanted.update(event.terms.items)
        self.lock_stock(wanted)

    def lock_stock(self, skus: Collection[Sku]) -> None:
        """Lock products; unknown ones start with the default stock if one is set."""
        found = self._transaction.lock_stock(skus)
        missing = sorted(set(skus) - set(found))
        if missing and self._default_stock is not None:
            self._transaction.introduce_stock(dict.fromkeys(missing, self._default_stock))
            found = {**found, **self._transaction.lock_stock(missing)}
        self._stock.update(found)

    def introduce(self, sku: Sku) -> None:
        """Lock a product for a count or delta; an unknown one starts at the default stock, or at 0 without one."""
        self.lock_stock({sku})
        if sku not in self._stock:
            self._transaction.introduce_stock({sku: 0})
            self._stock.update(self._transaction.lock_stock({sku}))

    def __getitem__(self, order_id: OrderId) -> Reservation:
        return self._reservations[order_id]

    def taken(self, order_id: OrderId) -> Taken | None:
        """Return the gate's answer for an order of this batch; None if there is no gate."""
        return self._takes.get(order_id)

    def shortages(self, event: OrderCreated) -> tuple[Shortage, ...]:
        """Return the lines for which the ledger has too few units."""
        return shortages(event.terms.items, self._stock)

    @property
    def epoch(self) -> int:
        """The ledger's epoch, under a shared lock: a later rebuild includes the ledger rows of this transaction."""
        return self._transaction.gate_epoch()

    def stock(self, sku: Sku) -> Stock:
        """Return a locked product."""
        return self._stock[sku]

    def save(self, transition: Transition[Reservation]) -> Reservation:
        """Record a transition with its ledger rows; raises, and records nothing, if the stock can't cover them."""
        before = self[transition.aggregate.order_id]
        self.move(before.movements_to(transition.aggregate))
        reservation = self.changes.take(transition, transition.aggregate.order_id)
        self._reservations[reservation.order_id] = reservation
        if reservation.state in (ReservationState.COMMITTED, ReservationState.REJECTED):
            self.settled.append(reservation.order_id)  # a RELEASED one has a give-back, or was COMMITTED before
        return reservation

    def move(self, movements: Sequence[Movement]) -> None:
        """Append to the ledger; later handlers of this unit of work see the changed stock."""
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
        """Raise `Closed`, so that the batch is retried, if an answer of the gate isn't of the ledger's epoch."""
        epoch = self._transaction.gate_epoch()
        if any(taken.epoch != epoch for taken in takes.values()):
            raise Closed(f"the gate was rebuilt under epoch {epoch} meanwhile")
