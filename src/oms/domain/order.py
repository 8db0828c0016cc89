"""The order: the aggregate that follows the state table of `oms.domain.order_table`.

Of cancel, deadline and payment, the first to change (state, version) wins; the table defines the effect of the others.
"""

from __future__ import annotations

from datetime import datetime

import attrs

from oms.domain import part_events
from oms.domain.commands import InstructPayment, RefundOrder, ShipOrder
from oms.domain.errors import Conflict, ImpossibleTransition, NotFound, TermsMismatch
from oms.domain.events import (
    Event,
    OrderCompleted,
    OrderEvent,
    OrderRefundRequested,
    OrderShipped,
    PartEvent,
    PaymentRefundFailed,
    PaymentRefundPaid,
    Reason,
    RefundEvent,
)
from oms.domain.fulfilment import NOTHING_YET, Fulfilment
from oms.domain.order_table import ORDER_TABLE, TIMED, OrderPayment, OrderState, OrderTrigger
from oms.domain.refund import WHOLE, RefundKind, RefundState, Refusal
from oms.domain.state_machine import (
    Cell,
    Effect,
    HistoryEntry,
    Transition,
    evolve,
)
from oms.domain.stated_terms import StatedTerms
from oms.domain.tasks import TaskKey, TaskKind, TaskRequest
from oms.domain.terms import Terms
from oms.domain.values import OrderId

_TIMER = TaskKind.DEADLINE

S, T = OrderState, OrderTrigger

_REASONS = {
    OrderTrigger.REJECTED: Reason.OUT_OF_STOCK,
    OrderTrigger.DECLINED: Reason.PAYMENT_DECLINED,
    OrderTrigger.CUSTOMER_CANCEL: Reason.CUSTOMER,
    OrderTrigger.OPERATOR_CANCEL: Reason.OPERATOR,
    OrderTrigger.DEADLINE: Reason.DEADLINE,
}

_AFTER_CONFIRMATION = (
    OrderTrigger.SHIP,
    OrderTrigger.CANCEL_UNITS,
    OrderTrigger.GIVE_BACK,
)

_PAYMENT_RESULTS = {
    OrderTrigger.PAID: OrderPayment.CAPTURED,
    OrderTrigger.DECLINED: OrderPayment.DECLINED,
    OrderTrigger.VOIDED: OrderPayment.VOIDED,
    OrderTrigger.REFUNDED: OrderPayment.REFUNDED,
}

MAX_EARLY = 16
"""Different early messages that are kept for one order id. The services send six; only a forger sends more."""

EARLY_MISMATCH = "an early event contradicts its order and is not applied"


@attrs.frozen
class EarlyEvent:
    """An event that arrived before its order.

    `stated` is None if the event names no terms or was stored without them.
    """

    trigger: OrderTrigger
    stated: StatedTerms | None = None

    def contradicts(self, terms: Terms) -> bool:
        """Whether it names another customer or amount than `terms`."""
        return self.stated is not None and self.stated.differ_from(terms)


@attrs.frozen(kw_only=True, slots=False)
class Order:
    """One customer's order. Its methods return the `Transition` to save, and never change the order in place.

    `version` is the number of its history entries. `terms`, `created_at` and `deadline_at` are None while it is ABSENT;
    `early` then holds the events that wait for it. A LEGACY order has the `created_at` of the Spring system until it is
    resumed.
    """

    id: OrderId
    state: OrderState = OrderState.ABSENT
    version: int = 0
    terms: Terms | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    deadline_at: datetime | None = None
    reason: Reason | None = None
    early: tuple[EarlyEvent, ...] = ()
    payment: OrderPayment | None = None
    fulfilment: Fulfilment = NOTHING_YET

    @property
    def agreed(self) -> Terms:
        """The terms of the order; raises `NotFound` while it is ABSENT."""
        if self.terms is None:
            raise NotFound("order_not_found", f"there is no order {self.id}")
        return self.terms

    def place(self, terms: Terms, *, at: datetime, deadline_at: datetime) -> Transition[Order]:
        """Create the order by its customer's command, and start its timer."""
        return self._adopt(OrderTrigger.PLACED, terms, at, deadline_at)

    def created(self, terms: Terms, *, at: datetime, deadline_at: datetime) -> Transition[Order]:
        """Handle `order.created`: this service's own event, or one of another producer, whose order is adopted.

        An order that was adopted from `inventory.reserved` without lines gets the lines of this event.
        """
        known = self
        if self.terms is not None and terms.lines and not self.terms.lines:
            known = evolve(self, terms=self.terms.completed_by(terms))
        return known._adopt(OrderTrigger.CREATED, terms, at, deadline_at)  # noqa: SLF001 - the same order

    def reserved(self, terms: Terms, *, at: datetime, deadline_at: datetime) -> Transition[Order]:
        """Handle `inventory.reserved`, which may arrive before the `order.created` of another producer.

        Raises `TermsMismatch` if the order exists with other terms.
        """
        if self.terms is not None:
            StatedTerms.of(terms).check(self.id, self.terms)
        return self._adopt(OrderTrigger.RESERVED, terms, at, deadline_at)

    def imported(self, terms: Terms, *, at: datetime, created_at: datetime, detail: str = "") -> Transition[Order]:
        """Import an order of the Spring system as LEGACY, without an event. An order that exists stays as it is."""
        if self.state is not S.ABSENT:
            return _apply(self, OrderTrigger.IMPORTED, at)
        known = evolve(self, terms=terms, created_at=created_at, early=())
        return _with_news(known, OrderTrigger.IMPORTED, self.early, at, detail)

    def resume(self, *, at: datetime, deadline_at: datetime) -> Transition[Order]:
        """Turn a LEGACY order into a normal one, placed now. Raises `Conflict` if it is cancelled or rejected."""
        return _apply(self._timed(OrderTrigger.RESUMED, at, deadline_at), OrderTrigger.RESUMED, at)

    def hear(self, trigger: OrderTrigger, *, at: datetime, stated: StatedTerms | None = None) -> Transition[Order]:
        """Handle an event of inventory or payment; while the order is ABSENT, the event waits in `early`.

        `stated` are the terms that the message names. Raises `TermsMismatch` if they contradict the order's, or if
        `MAX_EARLY` different messages wait for the absent order already.
        """
        if self.terms is not None and stated is not None:
            stated.check(self.id, self.terms)
        if self.state is not S.ABSENT or ORDER_TABLE[self.state][trigger].effect is not Effect.EARLY:
            return _apply(self._without_whole_refusal(trigger), trigger, at)
        return _note(self._keep(EarlyEvent(trigger, stated)), trigger, at)

    def cancel(self, reason: Reason, *, at: datetime) -> Transition[Order]:
        """Cancel by its customer or an operator. Raises `NotFound` while ABSENT, `Conflict` if the table refuses."""
        by_operator = reason is Reason.OPERATOR
        return _apply(self, OrderTrigger.OPERATOR_CANCEL if by_operator else OrderTrigger.CUSTOMER_CANCEL, at)

    def deadline(self, *, at: datetime) -> Transition[Order]:
        """Handle the end of the order's time: begin to cancel it unless it is settled."""
        return _apply(self, OrderTrigger.DEADLINE, at)

    def ship(self, command: ShipOrder, shipment_id: str, *, at: datetime) -> Transition[Order]:
        """Ship open units under a new id.

        Raises `NotFound` while ABSENT, `Conflict` if the table refuses or units are missing.
        """
        if ORDER_TABLE[self.state][T.SHIP].to is None:
            return _apply(self, T.SHIP, at)
        items = self.agreed.items
        fulfilment = self.fulfilment.ship(shipment_id, command, items, at)
        trigger = T.SHIP if fulfilment.open_items(items) else T.SHIP_LAST
        return _apply(evolve(self, fulfilment=fulfilment), trigger, at, f"shipment {shipment_id}")

    def refund(self, command: RefundOrder, refund_id: str, *, at: datetime) -> Transition[Order]:
        """Refund units or money under a new id; a refund of the kind CANCEL takes open units out of the order.

        Raises `NotFound` while ABSENT, `Conflict` if the table refuses or if units or money are missing, and
        `InvalidValue` if the amount is wrong or is required.
        """
        cancels = command.kind is RefundKind.CANCEL
        trigger = T.CANCEL_UNITS if cancels else T.GIVE_BACK
        if ORDER_TABLE[self.state][trigger].to is None:
            return _apply(self, trigger, at)
        fulfilment = self.fulfilment.refunding(refund_id, command, self.agreed, at)
        if cancels and not fulfilment.open_items(self.agreed.items):
            trigger = T.CANCEL_LAST_UNITS
        return _apply(evolve(self, fulfilment=fulfilment), trigger, at, f"refund {refund_id}")

    def instruct(self, command: InstructPayment, by: str, *, at: datetime) -> Transition[Order]:
        """Tell the payment service to retry or resolve a refund that the gateway refused, as operator `by` decided.

        Raises `NotFound` for a refund that the order doesn't have, and `Conflict` (`nothing_refused`) unless its last
        attempt is known to be refused and has no instruction yet.
        """
        if ORDER_TABLE[self.state][T.INSTRUCT].to is None:
            return _apply(self, T.INSTRUCT, at)
        of = command.of
        if of != WHOLE and self.fulfilment.refund(of) is None:
            raise NotFound("refund_not_found", f"order {self.id} has no refund {of}")
        refusal = self.fulfilment.refusal(of)
        if refusal is None or refusal.instruction is not None:
            raise Conflict("nothing_refused", f"no refused attempt of refund {of} waits for an instruction")
        decided = attrs.evolve(refusal, instruction=command.what, by=by, why=command.why)
        known = evolve(self, fulfilment=self.fulfilment.with_refusal(decided))
        detail = f"{command.what.value} {of}, attempt {refusal.attempt}, by {by}: {command.why}"
        return _apply(known, T.INSTRUCT, at, detail)

    def refund_paid(self, event: PaymentRefundPaid, *, at: datetime) -> Transition[Order]:
        """Handle `payment.refund_paid`. Raises `TermsMismatch` if it contradicts the refund that was requested."""
        self._check_refund(T.REFUND_PAID, event)
        paid = self.fulfilment.without_refusal(event.refund_id)
        refund = paid.refund(event.refund_id)
        if refund is not None:
            paid = paid.with_refund(attrs.evolve(refund, state=RefundState.PAID, outside=event.outside))
        return _apply(evolve(self, fulfilment=paid), T.REFUND_PAID, at, f"refund {event.refund_id}")

    def refund_failed(self, event: PaymentRefundFailed, *, at: datetime) -> Transition[Order]:
        """Handle `payment.refund_failed`: a paid refund stays paid, and the highest attempt counts otherwise.

        Raises `TermsMismatch` if it contradicts the refund that was requested.
        """
        self._check_refund(T.REFUND_FAILED, event)
        why = f": {event.reason}" if event.reason else ""
        detail = f"refund {event.refund_id}, attempt {event.attempt}{why}"
        known = self if self._outdated(event) else evolve(self, fulfilment=self._with_refusal_of(event))
        return _apply(known, T.REFUND_FAILED, at, detail)

    def _without_whole_refusal(self, trigger: OrderTrigger) -> Order:
        """Return the order without the refusal of its whole refund if this trigger reports that it was paid.

        The payment, and the order's timeline, keep whether it was paid outside of the gateway.
        """
        if trigger is not T.REFUNDED or self.fulfilment.refusal(WHOLE) is None:
            return self
        return evolve(self, fulfilment=self.fulfilment.without_refusal(WHOLE))

    def _with_refusal_of(self, event: PaymentRefundFailed) -> Fulfilment:
        return self.fulfilment.with_refusal(Refusal(event.refund_id, event.attempt, event.reason or ""))

    def _outdated(self, event: PaymentRefundFailed) -> bool:
        """Whether a later result of the same refund is known."""
        refund, refusal = self.fulfilment.refund(event.refund_id), self.fulfilment.refusal(event.refund_id)
        if refusal is not None and refusal.attempt >= event.attempt:
            return True
        return self.payment is OrderPayment.REFUNDED if refund is None else refund.state is RefundState.PAID

    def _check_refund(self, trigger: OrderTrigger, event: RefundEvent) -> None:
        """Raise `ImpossibleTransition` if the table says so, `TermsMismatch` for another refund than was requested."""
        if ORDER_TABLE[self.state][trigger].effect is not Effect.NOTED:
            raise ImpossibleTransition("order", self.state.value, trigger.value)
        refund = self.fulfilment.refund(event.refund_id)
        cancelled = self.state in (S.CANCELLING, S.CANCELLED) and event.refund_id == WHOLE
        amount = refund.amount if refund is not None else self.agreed.total if cancelled else None
        if (event.user_id, event.amount) != (self.agreed.user_id, amount):
            asked = f"not {amount} of {self.agreed.user_id}" if amount is not None else "which the order doesn't have"
            said = f"refund {event.refund_id} of {event.amount} to {event.user_id}"
            raise TermsMismatch(f"the message about order {self.id} reports {said}, {asked}")

    def _keep(self, news: EarlyEvent) -> Order:
        if news in self.early:
            return self
        if len(self.early) >= MAX_EARLY:
            raise TermsMismatch(f"{MAX_EARLY} different messages wait for order {self.id}, which isn't here yet")
        return evolve(self, early=(*self.early, news))

    def _adopt(self, trigger: OrderTrigger, terms: Terms, at: datetime, deadline_at: datetime) -> Transition[Order]:
        if self.state is not OrderState.ABSENT:
            return _apply(self._timed(trigger, at, deadline_at), trigger, at)
        known = evolve(self, terms=terms, created_at=at, deadline_at=deadline_at, early=())
        return _with_news(known, trigger, self.early, at)

    def _timed(self, trigger: OrderTrigger, at: datetime, deadline_at: datetime) -> Order:
        """Return the order with new times if this trigger starts its timer."""
        begins = ORDER_TABLE[self.state][trigger].to in TIMED and self.state not in TIMED
        return evolve(self, created_at=at, deadline_at=deadline_at) if begins else self

    def event(self, kind: type[Event]) -> Event:
        """Return the event of this type about the whole order, as this order publishes it; it is equal each time."""
        if issubclass(kind, OrderEvent):
            return kind.of_order(self.id, self.agreed, self.reason)
        if kind is OrderCompleted:
            return part_events.completed(self.id, self.agreed, self.fulfilment)
        raise TypeError(f"an order publishes no {kind.__name__} about the whole order")

    def part_events(self) -> tuple[PartEvent, ...]:
        """Return the events about the parts of this order, as far as its row still has them; equal each time."""
        return tuple(part_events.all_parts(self.id, self.agreed, self.fulfilment))


def _apply(order: Order, trigger: OrderTrigger, at: datetime, detail: str = "") -> Transition[Order]:
    """Apply the table's cell for this trigger in the order's state."""
    cell = ORDER_TABLE[order.state][trigger]
    if cell.to is not None:
        return _move(order, trigger, cell, at, detail)
    if cell.effect is Effect.NOTED:
        return _note(order, trigger, at, detail)
    if cell.effect is Effect.SAME:
        return Transition(order)
    if cell.effect is Effect.NOT_FOUND:
        raise NotFound("order_not_found", f"there is no order {order.id}")
    if cell.effect is Effect.REFUSED:
        raise _refusal(order, trigger)
    raise ImpossibleTransition("order", order.state.value, trigger.value)


def _refusal(order: Order, trigger: OrderTrigger) -> Conflict:
    if trigger is OrderTrigger.RESUMED:
        return Conflict("order_settled", f"order {order.id} is {order.state.value} and can't be resumed")
    if trigger is OrderTrigger.INSTRUCT:
        return Conflict("nothing_refused", f"order {order.id} is {order.state.value}, and no refund of it was refused")
    if trigger in _AFTER_CONFIRMATION:
        return _not_possible(order, trigger)
    if order.state is S.LEGACY:
        detail = f"order {order.id} was placed before this system: an operator has to cancel it"
        return Conflict("order_legacy", detail)
    if order.state in (S.FULFILLING, S.COMPLETED):
        detail = f"order {order.id} is {order.state.value}: cancel units that weren't shipped by a refund"
        return Conflict("order_settled", detail)
    return Conflict("order_settled", f"order {order.id} is {order.state.value} and can't be cancelled")


def _not_possible(order: Order, trigger: OrderTrigger) -> Conflict:
    """Return the error for a command that needs a confirmed order."""
    code = "order_not_confirmed"
    if order.state.settled:
        code = "order_completed" if order.state is S.COMPLETED else "order_settled"
    return Conflict(code, f"order {order.id} is {order.state.value} and can't take the command {trigger.value!r}")


def _move(order: Order, trigger: OrderTrigger, cell: Cell[OrderState], at: datetime, detail: str) -> Transition[Order]:
    to = cell.to or order.state
    reason = order.reason or _REASONS.get(trigger)
    payment = _payment_after(order, trigger)
    moved = evolve(order, state=to, version=order.version + 1, updated_at=at, reason=reason, payment=payment)
    events = tuple(_published(moved, kind) for kind in cell.publishes)
    timed, timed_before = to in TIMED, order.state in TIMED
    started = (TaskRequest(_TIMER, order.id, order.deadline_at),) if timed and not timed_before else ()
    ended = (TaskKey(_TIMER, order.id),) if timed_before and not timed else ()
    return Transition(moved, events, started, ended, (_entry(order, trigger, to, at, detail),))


def _note(order: Order, trigger: OrderTrigger, at: datetime, detail: str = "") -> Transition[Order]:
    noted = evolve(order, version=order.version + 1, updated_at=at, payment=_payment_after(order, trigger))
    return Transition(noted, history=(_entry(order, trigger, order.state, at, detail),))


def _payment_after(order: Order, trigger: OrderTrigger) -> OrderPayment | None:
    """Return the payment's last result after this trigger, whatever the sequence in which results arrive.

    REFUNDED follows every other result, also VOIDED if the gateway captured after all. Each other result follows only
    the capture.
    """
    result = _PAYMENT_RESULTS.get(trigger)
    if result is None or order.state is S.ABSENT:
        return order.payment
    if order.payment in (None, OrderPayment.CAPTURED) or result is OrderPayment.REFUNDED:
        return result
    return order.payment


def _published(order: Order, kind: type[Event]) -> Event:
    """Return the event of a transition: of its newest shipment, refund or instruction for an event about a part."""
    terms, fulfilment = order.terms, order.fulfilment
    if not issubclass(kind, PartEvent) or terms is None:
        return order.event(kind)
    if kind is OrderShipped:
        return part_events.shipped(order.id, terms, fulfilment, fulfilment.shipments[-1])
    if kind is OrderRefundRequested:
        return part_events.refund_requested(order.id, terms, fulfilment.refunds[-1])
    return part_events.instructed(order.id, terms, fulfilment.refusals[-1])


def _entry(order: Order, trigger: OrderTrigger, to: OrderState, at: datetime, detail: str = "") -> HistoryEntry:
    return HistoryEntry(order.version + 1, at, trigger.value, order.state.value, to.value, detail)


def _with_news(
    known: Order, trigger: OrderTrigger, early: tuple[EarlyEvent, ...], at: datetime, detail: str = ""
) -> Transition[Order]:
    """Return the order's first transition, followed by those of early events that agree with its terms.

    An event that contradicts the terms changes nothing, in whatever order it arrived: it raises an alert, and the first
    entry of the history names it.
    """
    refused = [news for news in early if news.contradicts(known.agreed)]
    ignored = "; ".join(f"{news.trigger.value} ignored: {news.stated}" for news in refused)
    transition = _apply(known, trigger, at, "; ".join(filter(None, (detail, ignored))))
    for news in early:
        if news not in refused:
            transition = _joined(transition, _apply(transition.aggregate, news.trigger, at))
    return attrs.evolve(transition, alert=EARLY_MISMATCH) if refused else transition


def _joined(first: Transition[Order], second: Transition[Order]) -> Transition[Order]:
    """Return both transitions as one; a task that the second one ends isn't started."""
    started = tuple(task for task in first.tasks if TaskKey(task.kind, task.key) not in second.ended)
    return Transition(
        second.aggregate,
        first.events + second.events,
        started + second.tasks,
        first.ended + second.ended,
        first.history + second.history,
    )
