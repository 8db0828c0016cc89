"""The reservation of an order's stock: all lines are held, or none is.

RELEASED and REJECTED are sticky: whatever comes later finds them and changes nothing. A cancel that overtakes
its order leaves a RELEASED tombstone, so the order can't take stock afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

import attrs

from oms.domain.errors import ImpossibleTransition
from oms.domain.events import Event, InventoryRejected, InventoryReleased, InventoryReserved, Reason, Shortage
from oms.domain.state_machine import Cell, Effect, Transition, evolve, move, row, stay
from oms.domain.stock import Movement, MovementKind, movements
from oms.domain.values import Items, OrderId, Terms


class ReservationState(Enum):
    """Where the stock of an order is."""

    ABSENT = "ABSENT"
    HELD = "HELD"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    REJECTED = "REJECTED"


class ReservationTrigger(Enum):
    """What can happen to a reservation; `order.created` comes with the answer of the stock."""

    FITS = "order.created, all lines fit"
    SHORT = "order.created, a line is short"
    CONFIRMED = "order.confirmed"
    CANCELLED = "order.cancelled"


S = ReservationState
_held = move(S.HELD, InventoryReserved)
_rejected = move(S.REJECTED, InventoryRejected)
_committed = move(S.COMMITTED)
_released = move(S.RELEASED, InventoryReleased)
_noted: Cell[ReservationState] = stay(Effect.NOTED)
_never: Cell[ReservationState] = stay(Effect.IMPOSSIBLE)

RESERVATION_TABLE: Mapping[ReservationState, Mapping[ReservationTrigger, Cell[ReservationState]]] = {
    S.ABSENT: row(ReservationTrigger, [_held, _rejected, _never, _released]),
    S.HELD: row(ReservationTrigger, [_noted, _noted, _committed, _released]),
    S.COMMITTED: row(ReservationTrigger, [_noted, _noted, _noted, _released]),
    S.RELEASED: row(ReservationTrigger, [_noted, _noted, _noted, _noted]),
    S.REJECTED: row(ReservationTrigger, [_noted, _noted, _never, _noted]),
}

_MOVEMENTS: Mapping[tuple[ReservationState, ReservationState], MovementKind] = {
    (S.ABSENT, S.HELD): MovementKind.HOLD,
    (S.HELD, S.COMMITTED): MovementKind.COMMIT,
    (S.HELD, S.RELEASED): MovementKind.RELEASE,
    (S.COMMITTED, S.RELEASED): MovementKind.RESTOCK,
}


@attrs.frozen(kw_only=True, slots=False)
class Reservation:
    """What one order holds; `items` is empty for a tombstone and for a rejected order."""

    order_id: OrderId
    state: ReservationState = ReservationState.ABSENT
    items: Items = attrs.field(factory=dict)
    updated_at: datetime | None = None

    def hold(self, terms: Terms, *, at: datetime) -> Transition[Reservation]:
        """The stock had room for every line."""
        held = evolve(self, items=terms.items) if self.state is S.ABSENT else self
        return held._on(ReservationTrigger.FITS, at, InventoryReserved(self.order_id, terms))

    def reject(self, short: tuple[Shortage, ...], *, at: datetime) -> Transition[Reservation]:
        """At least one line didn't fit: nothing is held, and nothing ever will be."""
        event = InventoryRejected(self.order_id, Reason.OUT_OF_STOCK, short)
        return self._on(ReservationTrigger.SHORT, at, event)

    def commit(self, *, at: datetime) -> Transition[Reservation]:
        """The order is confirmed: the held units are sold."""
        return self._on(ReservationTrigger.CONFIRMED, at)

    def release(self, *, at: datetime) -> Transition[Reservation]:
        """The order is cancelled: held units are free again, sold units are restocked."""
        return self._on(ReservationTrigger.CANCELLED, at, InventoryReleased(self.order_id, self.items))

    def movements_to(self, after: Reservation) -> tuple[Movement, ...]:
        """The ledger rows that belong to this change; none where no unit moves."""
        kind = _MOVEMENTS.get((self.state, after.state))
        return movements(self.order_id, kind, after.items) if kind else ()

    def _on(self, trigger: ReservationTrigger, at: datetime, event: Event | None = None) -> Transition[Reservation]:
        cell = RESERVATION_TABLE[self.state][trigger]
        if cell.effect is Effect.NOTED:
            return Transition(self)
        if cell.to is None:
            raise ImpossibleTransition("reservation", self.state.value, trigger.value)
        published = (event,) if cell.publishes and event else ()
        return Transition(evolve(self, state=cell.to, updated_at=at), published)
