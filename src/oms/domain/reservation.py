"""The reservation of an order's stock: all lines are held, or none is.

RELEASED and REJECTED are final: no later event changes them. A cancel that overtakes its order leaves a RELEASED
tombstone, so the order can't take stock afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

import attrs

from oms.domain.errors import ImpossibleTransition, TermsMismatch
from oms.domain.events import (
    Event,
    InventoryRejected,
    InventoryReleased,
    InventoryReserved,
    OrderRefundRequested,
    Reason,
    Shortage,
)
from oms.domain.state_machine import Cell, Effect, Transition, by_state, evolve, move, state_table, stay
from oms.domain.stock import Movement, MovementKind, movements
from oms.domain.terms import Terms
from oms.domain.values import Items, OrderId


class ReservationState(Enum):
    """The state of an order's reservation."""

    ABSENT = "ABSENT"
    HELD = "HELD"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    REJECTED = "REJECTED"


class ReservationTrigger(Enum):
    """The triggers of a reservation; `order.created` is two triggers, by whether the stock suffices."""

    FITS = "order.created, all lines fit"
    SHORT = "order.created, a line is short"
    CONFIRMED = "order.confirmed"
    CANCELLED = "order.cancelled"
    REFUND = "order.refund_requested"


S, T = ReservationState, ReservationTrigger
_held = move(S.HELD, InventoryReserved)
_rejected = move(S.REJECTED, InventoryRejected)
_committed = move(S.COMMITTED)
_released = move(S.RELEASED, InventoryReleased)
_restocked_held, _restocked_sold = move(S.HELD), move(S.COMMITTED)
_noted: Cell[ReservationState] = stay(Effect.NOTED)
_never: Cell[ReservationState] = stay(Effect.IMPOSSIBLE)

# fmt: off
RESERVATION_TABLE = state_table(ReservationState, ReservationTrigger, {
    T.FITS:      by_state(ABSENT=_held,     HELD=_noted,          COMMITTED=_noted,          RELEASED=_noted, REJECTED=_noted),
    T.SHORT:     by_state(ABSENT=_rejected, HELD=_noted,          COMMITTED=_noted,          RELEASED=_noted, REJECTED=_noted),
    T.CONFIRMED: by_state(ABSENT=_never,    HELD=_committed,      COMMITTED=_noted,          RELEASED=_noted, REJECTED=_never),
    T.CANCELLED: by_state(ABSENT=_released, HELD=_released,       COMMITTED=_released,       RELEASED=_noted, REJECTED=_noted),
    T.REFUND:    by_state(ABSENT=_never,    HELD=_restocked_held, COMMITTED=_restocked_sold, RELEASED=_never, REJECTED=_never),
})
# fmt: on

_MOVEMENTS: Mapping[tuple[ReservationState, ReservationState], MovementKind] = {
    (S.ABSENT, S.HELD): MovementKind.HOLD,
    (S.HELD, S.COMMITTED): MovementKind.COMMIT,
    (S.HELD, S.RELEASED): MovementKind.RELEASE,
    (S.COMMITTED, S.RELEASED): MovementKind.RESTOCK,
}


@attrs.frozen
class Restock:
    """Units that a refund made available again."""

    refund_id: str
    items: Items


@attrs.frozen(kw_only=True, slots=False)
class Reservation:
    """The units that one order holds; `items` is empty for a tombstone and for a rejected order.

    `restocks` are the refunds whose units are available again, so that no repeat restocks them twice.
    """

    order_id: OrderId
    state: ReservationState = ReservationState.ABSENT
    items: Items = attrs.field(factory=dict)
    updated_at: datetime | None = None
    restocks: tuple[Restock, ...] = ()

    def hold(self, terms: Terms, *, at: datetime) -> Transition[Reservation]:
        """Hold the items, because the stock suffices for every line."""
        held = evolve(self, items=terms.items) if self.state is S.ABSENT else self
        return _apply(held, ReservationTrigger.FITS, at, InventoryReserved(self.order_id, terms))

    def reject(self, short: tuple[Shortage, ...], *, at: datetime) -> Transition[Reservation]:
        """Reject the order, because the stock doesn't suffice for a line: nothing is held, now or later."""
        event = InventoryRejected(self.order_id, Reason.OUT_OF_STOCK, short)
        return _apply(self, ReservationTrigger.SHORT, at, event)

    def commit(self, *, at: datetime) -> Transition[Reservation]:
        """Sell the held units, because the order is confirmed."""
        return _apply(self, ReservationTrigger.CONFIRMED, at)

    def release(self, *, at: datetime) -> Transition[Reservation]:
        """Free the held units, or restock the sold ones, because the order is cancelled."""
        return _apply(self, ReservationTrigger.CANCELLED, at, InventoryReleased(self.order_id, self.items))

    def refunded(self, event: OrderRefundRequested, *, at: datetime) -> Transition[Reservation]:
        """Make the units of a refund available again, once, whether the held units are sold already or not.

        A refund without `restock` changes nothing. Raises `TermsMismatch` for more units than the order has left.
        """
        cell = RESERVATION_TABLE[self.state][ReservationTrigger.REFUND]
        if cell.to is None:
            return _apply(self, ReservationTrigger.REFUND, at)
        if not event.restock or any(one.refund_id == event.refund_id for one in self.restocks):
            return Transition(self)
        self._check_units(event)
        restock = Restock(event.refund_id, event.items)
        return Transition(evolve(self, restocks=(*self.restocks, restock), updated_at=at))

    def _check_units(self, event: OrderRefundRequested) -> None:
        for sku, units in event.items.items():
            back = sum(one.items.get(sku, 0) for one in self.restocks)
            if back + units > self.items.get(sku, 0):
                detail = f"refund {event.refund_id} restocks {units} units of {sku}"
                raise TermsMismatch(f"{detail}: order {self.order_id} has {self.items.get(sku, 0)}, {back} are back")

    def movements_to(self, after: Reservation) -> tuple[Movement, ...]:
        """Return the ledger rows of the change to `after`; none if no unit moves."""
        kind = _MOVEMENTS.get((self.state, after.state))
        moved = movements(self.order_id, kind, after.items) if kind else ()
        for restock in after.restocks[len(self.restocks) :]:
            reference = restock_reference(self.order_id, restock.refund_id)
            moved += movements(reference, MovementKind.REFUND, restock.items)
        return moved


def restock_reference(order_id: OrderId, refund_id: str) -> str:
    """Return the reference of a refund's ledger rows; an order id contains no slash."""
    return f"{order_id}/{refund_id}"


def _apply(
    reservation: Reservation, trigger: ReservationTrigger, at: datetime, event: Event | None = None
) -> Transition[Reservation]:
    """Apply the table's cell for this trigger; `event` is published if the cell publishes an event."""
    cell = RESERVATION_TABLE[reservation.state][trigger]
    if cell.effect is Effect.NOTED:
        return Transition(reservation)
    if cell.to is None:
        raise ImpossibleTransition("reservation", reservation.state.value, trigger.value)
    published = (event,) if cell.publishes and event else ()
    return Transition(evolve(reservation, state=cell.to, updated_at=at), published)
