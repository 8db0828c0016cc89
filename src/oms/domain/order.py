"""The order: its state table and the aggregate that follows it.

The winner of cancel, deadline and payment is whoever changes (state, version) first; the table says what the
others find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum

import attrs

from oms.domain.errors import Conflict, ImpossibleTransition, NotFound, TermsMismatch
from oms.domain.events import (
    Event,
    OrderCancelled,
    OrderCancelling,
    OrderConfirmed,
    OrderCreated,
    OrderRejected,
    Reason,
)
from oms.domain.state_machine import Cell, Effect, HistoryEntry, Transition, evolve, move, row, stay
from oms.domain.stated_terms import StatedTerms
from oms.domain.tasks import TaskKey, TaskKind, TaskRequest
from oms.domain.values import OrderId, Terms


class OrderState(Enum):
    """Where an order is; `ABSENT` is no order yet, or only news that came before it.

    `LEGACY` is an order of the system replaced, imported and not resumed: nobody was told of it, and it has no deadline.
    """

    ABSENT = "ABSENT"
    LEGACY = "LEGACY"
    CREATED = "CREATED"
    RESERVED = "RESERVED"
    CANCELLING = "CANCELLING"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"

    @property
    def settled(self) -> bool:
        """Whether the order has ended (a confirmed one can still be cancelled by an operator)."""
        return self in SETTLED

    @property
    def resting(self) -> bool:
        """Whether nothing has to happen to it: it has ended, or waits for somebody to resume it."""
        return self in SETTLED or self is OrderState.LEGACY


SETTLED = frozenset({OrderState.CONFIRMED, OrderState.REJECTED, OrderState.CANCELLED})

_TIMER = TaskKind.DEADLINE
TIMED = (OrderState.CREATED, OrderState.RESERVED)
"""States in which the order's deadline is running."""


class OrderTrigger(Enum):
    """What can happen to an order; the value is the topic or the command."""

    PLACED = "place"
    CREATED = "order.created"
    RESERVED = "inventory.reserved"
    REJECTED = "inventory.rejected"
    RELEASED = "inventory.released"
    PAID = "payment.success"
    DECLINED = "payment.failed"
    VOIDED = "payment.voided"
    REFUNDED = "payment.refunded"
    CUSTOMER_CANCEL = "cancel by customer"
    OPERATOR_CANCEL = "cancel by operator"
    DEADLINE = "deadline"
    IMPORTED = "import"
    RESUMED = "resume"


S = OrderState
_created = move(S.CREATED, OrderCreated)
_adopted = move(S.CREATED)
_imported = move(S.LEGACY)
_reserved = move(S.RESERVED)
_rejected = move(S.REJECTED, OrderRejected)
_confirmed = move(S.CONFIRMED, OrderConfirmed)
_cancelled = move(S.CANCELLED, OrderCancelled)
_cancelling = move(S.CANCELLING, OrderCancelling)
_noted: Cell[OrderState] = stay(Effect.NOTED)
_early: Cell[OrderState] = stay(Effect.EARLY)
_never: Cell[OrderState] = stay(Effect.IMPOSSIBLE)
_unknown: Cell[OrderState] = stay(Effect.NOT_FOUND)
_same: Cell[OrderState] = stay(Effect.SAME)
_refused: Cell[OrderState] = stay(Effect.REFUSED)

# fmt: off
ORDER_TABLE: Mapping[OrderState, Mapping[OrderTrigger, Cell[OrderState]]] = {
    S.ABSENT:     row(OrderTrigger, [_created, _adopted, _reserved, _early,    _early, _early,     _early,     _early,     _early,     _unknown,    _unknown,    _noted,      _imported, _unknown]),
    S.LEGACY:     row(OrderTrigger, [_never,   _noted,   _reserved, _rejected, _noted, _confirmed, _cancelled, _never,     _never,     _refused,    _cancelling, _noted,      _same,     _created]),
    S.CREATED:    row(OrderTrigger, [_never,   _noted,   _reserved, _rejected, _noted, _confirmed, _cancelled, _never,     _never,     _cancelling, _cancelling, _cancelling, _same,     _same]),
    S.RESERVED:   row(OrderTrigger, [_never,   _noted,   _noted,    _never,    _noted, _confirmed, _cancelled, _never,     _never,     _cancelling, _cancelling, _cancelling, _same,     _same]),
    S.CANCELLING: row(OrderTrigger, [_never,   _noted,   _noted,    _noted,    _noted, _noted,     _cancelled, _cancelled, _cancelled, _same,       _same,       _noted,      _same,     _refused]),
    S.CONFIRMED:  row(OrderTrigger, [_never,   _noted,   _noted,    _never,    _noted, _noted,     _never,     _never,     _never,     _refused,    _cancelling, _noted,      _same,     _same]),
    S.REJECTED:   row(OrderTrigger, [_never,   _noted,   _never,    _noted,    _noted, _never,     _never,     _never,     _never,     _refused,    _refused,    _noted,      _same,     _refused]),
    S.CANCELLED:  row(OrderTrigger, [_never,   _noted,   _noted,    _noted,    _noted, _noted,     _noted,     _noted,     _noted,     _same,       _same,       _noted,      _same,     _refused]),
}
# fmt: on

_REASONS = {
    OrderTrigger.REJECTED: Reason.OUT_OF_STOCK,
    OrderTrigger.DECLINED: Reason.PAYMENT_DECLINED,
    OrderTrigger.CUSTOMER_CANCEL: Reason.CUSTOMER,
    OrderTrigger.OPERATOR_CANCEL: Reason.OPERATOR,
    OrderTrigger.DEADLINE: Reason.DEADLINE,
}


MAX_EARLY = 16
"""Different early messages that one order id keeps. The services send six; only a forger sends more."""

EARLY_MISMATCH = "early news contradicts its order and is not applied"


@attrs.frozen
class EarlyNews:
    """News that came before its order. `stated` is None where it names no terms, or was stored without them."""

    trigger: OrderTrigger
    stated: StatedTerms | None = None

    def contradicts(self, terms: Terms) -> bool:
        """Whether it is about another customer or amount than the order that came."""
        return self.stated is not None and self.stated.differ_from(terms)


@attrs.frozen(kw_only=True, slots=False)
class Order:
    """One customer's order. Every method answers with the `Transition` to save; none changes the order in place.

    `version` is the number of its history entries. `terms`, `created_at` and `deadline_at` are None while it is
    ABSENT, `early` is then the news that waits for it. Of a LEGACY order `created_at` is the system replaced's, and its
    time begins anew when it is resumed.
    """

    id: OrderId
    state: OrderState = OrderState.ABSENT
    version: int = 0
    terms: Terms | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    deadline_at: datetime | None = None
    reason: Reason | None = None
    early: tuple[EarlyNews, ...] = ()

    @property
    def agreed(self) -> Terms:
        """The terms of an order that exists; `NotFound` for one that is ABSENT."""
        if self.terms is None:
            raise NotFound("order_not_found", f"there is no order {self.id}")
        return self.terms

    def place(self, terms: Terms, *, at: datetime, deadline_at: datetime) -> Transition[Order]:
        """The customer's own command: CREATED, with its timer."""
        return self._adopt(OrderTrigger.PLACED, terms, at, deadline_at)

    def created(self, terms: Terms, *, at: datetime, deadline_at: datetime) -> Transition[Order]:
        """`order.created` came back to us, or from a foreign producer whose order is adopted."""
        return self._adopt(OrderTrigger.CREATED, terms, at, deadline_at)

    def reserved(self, terms: Terms, *, at: datetime, deadline_at: datetime) -> Transition[Order]:
        """Inventory holds every line; it may know a foreign order before the order service does.

        Raises `TermsMismatch` where the order exists with other terms.
        """
        if self.terms is not None:
            StatedTerms.of(terms).check(self.id, self.terms)
        return self._adopt(OrderTrigger.RESERVED, terms, at, deadline_at)

    def imported(self, terms: Terms, *, at: datetime, created_at: datetime, detail: str = "") -> Transition[Order]:
        """From the system replaced: LEGACY, told to nobody. An order that is here already stays as it is."""
        if self.state is not S.ABSENT:
            return self._on(OrderTrigger.IMPORTED, at)
        known = evolve(self, terms=terms, created_at=created_at, early=())
        return _with_news(known, OrderTrigger.IMPORTED, self.early, at, detail)

    def resume(self, *, at: datetime, deadline_at: datetime) -> Transition[Order]:
        """A LEGACY order becomes one like any other, placed now; `Conflict` for one that ended otherwise."""
        return self._timed(OrderTrigger.RESUMED, at, deadline_at)._on(OrderTrigger.RESUMED, at)

    def hear(self, trigger: OrderTrigger, *, at: datetime, stated: StatedTerms | None = None) -> Transition[Order]:
        """News of inventory or payment; where the order is still absent it waits in `early`.

        `stated` are the terms that the message names. Raises `TermsMismatch` where they contradict the order's, or
        where `MAX_EARLY` different messages wait for an absent order already.
        """
        if self.terms is not None and stated is not None:
            stated.check(self.id, self.terms)
        if self.state is not S.ABSENT or ORDER_TABLE[self.state][trigger].effect is not Effect.EARLY:
            return self._on(trigger, at)
        return self._keep(EarlyNews(trigger, stated))._note(trigger, at)

    def cancel(self, reason: Reason, *, at: datetime) -> Transition[Order]:
        """By its customer or an operator. `NotFound` while ABSENT; `Conflict` where the table refuses."""
        by_operator = reason is Reason.OPERATOR
        return self._on(OrderTrigger.OPERATOR_CANCEL if by_operator else OrderTrigger.CUSTOMER_CANCEL, at)

    def deadline(self, *, at: datetime) -> Transition[Order]:
        """Its time is over: an order that isn't settled yet shall end cancelled."""
        return self._on(OrderTrigger.DEADLINE, at)

    def _keep(self, news: EarlyNews) -> Order:
        if news in self.early:
            return self
        if len(self.early) >= MAX_EARLY:
            raise TermsMismatch(f"{MAX_EARLY} different messages wait for order {self.id}, which isn't here yet")
        return evolve(self, early=(*self.early, news))

    def _adopt(self, trigger: OrderTrigger, terms: Terms, at: datetime, deadline_at: datetime) -> Transition[Order]:
        if self.state is not OrderState.ABSENT:
            return self._timed(trigger, at, deadline_at)._on(trigger, at)
        known = evolve(self, terms=terms, created_at=at, deadline_at=deadline_at, early=())
        return _with_news(known, trigger, self.early, at)

    def _timed(self, trigger: OrderTrigger, at: datetime, deadline_at: datetime) -> Order:
        """With a time of its own, where this trigger begins it."""
        begins = ORDER_TABLE[self.state][trigger].to in TIMED and self.state not in TIMED
        return evolve(self, created_at=at, deadline_at=deadline_at) if begins else self

    def _on(self, trigger: OrderTrigger, at: datetime, detail: str = "") -> Transition[Order]:
        cell = ORDER_TABLE[self.state][trigger]
        if cell.to is not None:
            return self._move(trigger, cell, cell.to, at, detail)
        if cell.effect is Effect.NOTED:
            return self._note(trigger, at)
        if cell.effect is Effect.SAME:
            return Transition(self)
        if cell.effect is Effect.NOT_FOUND:
            raise NotFound("order_not_found", f"there is no order {self.id}")
        if cell.effect is Effect.REFUSED:
            raise self._refusal(trigger)
        raise ImpossibleTransition("order", self.state.value, trigger.value)

    def _refusal(self, trigger: OrderTrigger) -> Conflict:
        if trigger is OrderTrigger.RESUMED:
            return Conflict("order_settled", f"order {self.id} is {self.state.value} and can't be resumed")
        if self.state is S.LEGACY:
            return Conflict(
                "order_legacy", f"order {self.id} was placed before this system: an operator has to cancel it"
            )
        return Conflict("order_settled", f"order {self.id} is {self.state.value} and can't be cancelled")

    def _move(
        self, trigger: OrderTrigger, cell: Cell[OrderState], to: OrderState, at: datetime, detail: str
    ) -> Transition[Order]:
        moved = evolve(
            self,
            state=to,
            version=self.version + 1,
            updated_at=at,
            reason=self.reason or _REASONS.get(trigger),
        )
        events = (moved.event(cell.publishes),) if cell.publishes else ()
        timed, timed_before = to in TIMED, self.state in TIMED
        started = (TaskRequest(_TIMER, self.id, self.deadline_at),) if timed and not timed_before else ()
        ended = (TaskKey(_TIMER, self.id),) if timed_before and not timed else ()
        return Transition(moved, events, started, ended, (self._entry(trigger, to, at, detail),))

    def _note(self, trigger: OrderTrigger, at: datetime) -> Transition[Order]:
        noted = evolve(self, version=self.version + 1, updated_at=at)
        return Transition(noted, history=(self._entry(trigger, self.state, at),))

    def _entry(self, trigger: OrderTrigger, to: OrderState, at: datetime, detail: str = "") -> HistoryEntry:
        return HistoryEntry(self.version + 1, at, trigger.value, self.state.value, to.value, detail)

    def event(self, kind: type[Event]) -> Event:
        """The event of this type as this order publishes it; equal each time."""
        return _MAKE[kind](self, self.agreed)


def _why(order: Order) -> Reason:
    if order.reason is None:
        raise ImpossibleTransition("order", order.state.value, "an end without a reason")
    return order.reason


_MAKE: Mapping[type[Event], Callable[[Order, Terms], Event]] = {
    OrderCreated: lambda order, terms: OrderCreated(order.id, terms),
    OrderConfirmed: lambda order, terms: OrderConfirmed(order.id, terms),
    OrderCancelling: lambda order, terms: OrderCancelling(order.id, terms.user_id, terms.total, _why(order)),
    OrderCancelled: lambda order, terms: OrderCancelled(
        order.id, terms.user_id, terms.total, _why(order), terms.metadata
    ),
    OrderRejected: lambda order, terms: OrderRejected(
        order.id, terms.user_id, terms.total, _why(order), terms.metadata
    ),
}


def _with_news(
    known: Order, trigger: OrderTrigger, early: tuple[EarlyNews, ...], at: datetime, detail: str = ""
) -> Transition[Order]:
    """The order's first step, and behind it the early news that agrees with its terms.

    News that contradicts them changes nothing, wherever it came in the order of arrival: it raises an alert, and the
    first entry of the history names it.
    """
    refused = [news for news in early if news.contradicts(known.agreed)]
    ignored = "; ".join(f"{news.trigger.value} ignored: {news.stated}" for news in refused)
    step = known._on(trigger, at, "; ".join(filter(None, (detail, ignored))))
    for news in early:
        if news not in refused:
            step = _joined(step, step.aggregate._on(news.trigger, at))
    return attrs.evolve(step, alert=EARLY_MISMATCH) if refused else step


def _joined(first: Transition[Order], second: Transition[Order]) -> Transition[Order]:
    """Both steps as one; a task that the second one ends isn't started."""
    started = tuple(task for task in first.tasks if TaskKey(task.kind, task.key) not in second.ended)
    return Transition(
        second.aggregate,
        first.events + second.events,
        started + second.tasks,
        first.ended + second.ended,
        first.history + second.history,
    )
