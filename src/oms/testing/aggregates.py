"""Given/when/expect tests of one aggregate, without a system around it.

    given(Order, "place", "inventory.reserved").when("payment.success").expect(OrderConfirmed).state("CONFIRMED")

Each thing that happens is a trigger of the state table (docs/state-machines.md): an enum member, its value or its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, Generic, Self, TypeVar

import attrs

from oms.domain.errors import DomainError, ImpossibleTransition, OmsError
from oms.domain.events import BY_TOPIC, Event, PaymentEvent, Reason, Shortage
from oms.domain.money import Currency, Money
from oms.domain.order import Order
from oms.domain.order_table import OrderTrigger
from oms.domain.payment import Payment, PaymentTrigger
from oms.domain.reservation import Reservation, ReservationTrigger
from oms.domain.state_machine import Transition
from oms.domain.stated_terms import StatedTerms
from oms.domain.tasks import TaskKind
from oms.domain.terms import Terms
from oms.domain.values import Sku
from oms.testing import fulfilment_acts, part_samples
from oms.testing.fulfilment_acts import AT, ORDER_ID, Act

__tracebackhide__ = True  # pytest shows the failed line of the test, not this module

A = TypeVar("A", Order, Reservation, Payment)

LATER = AT + timedelta(minutes=15)
TERMS = Terms.checked("customer-1", Money.of(100, Currency.of("USD")), {"apple": 1})
"""The default terms: one apple for 100 USD."""


def _hears(trigger: OrderTrigger) -> Act:
    """Return the act that applies another service's event to an order; a payment's event states the order's terms."""
    names_terms = issubclass(BY_TOPIC[trigger.value], PaymentEvent)
    return lambda order, terms: order.hear(
        trigger, at=AT, stated=StatedTerms(terms.user_id, terms.total) if names_terms else None
    )


def _short(terms: Terms) -> tuple[Shortage, ...]:
    return tuple(Shortage(Sku(sku), units, 0) for sku, units in terms.items.items())


_ORDER_ACTS: Mapping[Enum, Act] = {
    OrderTrigger.PLACED: lambda order, terms: order.place(terms, at=AT, deadline_at=LATER),
    OrderTrigger.CREATED: lambda order, terms: order.created(terms, at=AT, deadline_at=LATER),
    OrderTrigger.RESERVED: lambda order, terms: order.reserved(terms, at=AT, deadline_at=LATER),
    OrderTrigger.CUSTOMER_CANCEL: lambda order, _terms: order.cancel(Reason.CUSTOMER, at=AT),
    OrderTrigger.OPERATOR_CANCEL: lambda order, _terms: order.cancel(Reason.OPERATOR, at=AT),
    OrderTrigger.DEADLINE: lambda order, _terms: order.deadline(at=AT),
    OrderTrigger.IMPORTED: lambda order, terms: order.imported(terms, at=AT, created_at=AT),
    OrderTrigger.RESUMED: lambda order, _terms: order.resume(at=AT, deadline_at=LATER),
    **fulfilment_acts.ORDER,
}
_ORDER: Mapping[Enum, Act] = {trigger: _ORDER_ACTS.get(trigger) or _hears(trigger) for trigger in OrderTrigger}
_RESERVATION: Mapping[Enum, Act] = {
    ReservationTrigger.FITS: lambda row, terms: row.hold(terms, at=AT),
    ReservationTrigger.SHORT: lambda row, terms: row.reject(_short(terms), at=AT),
    ReservationTrigger.CONFIRMED: lambda row, _terms: row.commit(at=AT),
    ReservationTrigger.CANCELLED: lambda row, _terms: row.release(at=AT),
    ReservationTrigger.REFUND: lambda row, terms: row.refunded(part_samples.refund_requested(ORDER_ID, terms), at=AT),
}
_PAYMENT: Mapping[Enum, Act] = {
    PaymentTrigger.RESERVED: lambda row, terms: row.start(terms, at=AT),
    PaymentTrigger.CANCELLING: lambda row, terms: row.cancel(terms.user_id, terms.total, at=AT),
    PaymentTrigger.CAPTURED: lambda row, _terms: row.captured("payment-1", at=AT),
    PaymentTrigger.DECLINED: lambda row, _terms: row.declined(at=AT),
    PaymentTrigger.NO_ANSWER: lambda row, _terms: row.unanswered(at=AT),
    PaymentTrigger.VOID_DONE: lambda row, _terms: row.void_done(at=AT),
    PaymentTrigger.VOID_LOST: lambda row, _terms: row.void_lost("payment-1", at=AT),
    PaymentTrigger.REFUND_DONE: lambda row, _terms: row.refund_done(at=AT),
    **fulfilment_acts.PAYMENT,
}
ACTS: Mapping[type, Mapping[Enum, Act]] = {Order: _ORDER, Reservation: _RESERVATION, Payment: _PAYMENT}
"""The method of the aggregate that each trigger calls."""


def given(kind: type[A], *past: Enum | str, terms: Terms = TERMS) -> Given[A]:
    """Return an aggregate to which these triggers were applied in this order; without triggers it doesn't exist yet."""
    row: Any = Order(id=ORDER_ID) if kind is Order else kind(order_id=ORDER_ID)  # type: ignore[call-arg]
    happened = tuple(_trigger(kind, one) for one in past)
    for trigger in happened:
        row = ACTS[kind][trigger](row, terms).aggregate
    return Given(row, happened, terms)


@attrs.frozen
class Given(Generic[A]):
    """An aggregate, and the triggers that were applied to it."""

    aggregate: A
    past: tuple[Enum, ...]
    terms: Terms

    def when(self, happens: Enum | str) -> Then[A]:
        """Apply one trigger; a refusal is kept for `refused` and `impossible`."""
        kind = type(self.aggregate)
        trigger = _trigger(kind, happens)
        try:
            return Then(self, trigger, ACTS[kind][trigger](self.aggregate, self.terms))
        except (DomainError, ImpossibleTransition) as refusal:
            return Then(self, trigger, None, refusal)


@attrs.frozen
class Then(Generic[A]):
    """The result of a trigger. Each method checks one expectation and returns the object, so calls can be chained."""

    given: Given[A]
    trigger: Enum
    made: Transition[A] | None
    refusal: OmsError | None = None

    @property
    def step(self) -> Transition[A]:
        """The transition: aggregate, events, tasks and history; raises `AssertionError` if the trigger was refused."""
        if self.made is None:
            raise self._unmet("a step", self._outcome())
        return self.made

    def expect(self, *events: type[Event] | str) -> Self:
        """Expect these events, by type or topic, in this order; without arguments, no event."""
        wanted = [one if isinstance(one, str) else one.topic for one in events]
        found = [event.topic for event in self.made.events] if self.made else None
        return self._is(wanted, found, f"events {', '.join(wanted) or 'none'}")

    def state(self, state: Enum | str) -> Self:
        """Expect that the aggregate is in this state."""
        wanted = state if isinstance(state, str) else state.value
        found = self.made.aggregate.state.value if self.made else None
        return self._is(wanted, found, f"state {wanted}")

    def starts(self, *kinds: TaskKind | str) -> Self:
        """Expect that the transition creates tasks of these kinds and no others."""
        wanted = sorted(TaskKind(kind).value for kind in kinds)
        found = sorted(task.kind.value for task in self.made.tasks) if self.made else None
        return self._is(wanted, found, f"tasks {', '.join(wanted) or 'none'}")

    def changes_nothing(self) -> Self:
        """Expect the same state, no event and no task."""
        return self.expect().starts().state(self.given.aggregate.state)

    def refused(self, code: str) -> Self:
        """Expect a domain error with this stable code."""
        found = self.refusal.code if isinstance(self.refusal, DomainError) else None
        return self._is(code, found, f"a refusal {code}")

    def impossible(self) -> Self:
        """Expect an impossible transition by the state table; such a message becomes a dead letter."""
        found = isinstance(self.refusal, ImpossibleTransition)
        return self._is(True, found, "an impossible transition")  # noqa: FBT003

    def _is(self, wanted: object, found: object, words: str) -> Self:
        if wanted != found:
            raise self._unmet(words, self._outcome())
        return self

    def _outcome(self) -> str:
        if self.made is None:
            return f"{type(self.refusal).__name__}: {self.refusal}"
        events = ", ".join(event.topic for event in self.made.events) or "none"
        tasks = ", ".join(task.kind.value for task in self.made.tasks) or "none"
        return f"state {self.made.aggregate.state.value}; events {events}; tasks {tasks}"

    def _unmet(self, wanted: str, found: str) -> AssertionError:
        row = self.given.aggregate
        past = ", then ".join(one.value for one in self.given.past) or "nothing"
        lines = [
            f"   given {type(row).__name__}: {past}; so it is {row.state.value}",
            f"    when {self.trigger.value}",
            f"expected {wanted}",
            f"   found {found}",
        ]
        return AssertionError("\n" + "\n".join(lines))


def _trigger(kind: type, happens: Enum | str) -> Enum:
    """Return a trigger of this kind of aggregate; for an unknown trigger, raises a `ValueError` that lists all."""
    known = ACTS[kind]
    for trigger in known:
        if happens is trigger or happens in (trigger.value, trigger.name):
            return trigger
    names = ", ".join(f"{trigger.value!r}" for trigger in known)
    raise ValueError(f"{happens!r} can't happen to a {kind.__name__}; this can: {names}")
