"""Given/when/expect tests of a step of your own: the document, events and outside calls that an event leads to.

    given_step(app, "shipping", "order.confirmed").when("order.cancelled").saves({"status": "called off"})

Only the handlers run, on the document of one order, without a store or log.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Self, cast

import attrs

from oms.application.steps.context import OwnStep, StepContext
from oms.application.steps.work import DeclaredTopics, StepWork
from oms.bootstrap.app import App
from oms.domain.events import (
    BY_TOPIC,
    Event,
    InventoryRejected,
    InventoryReleased,
    OrderCancelled,
    OrderCancelling,
    OrderCompleted,
    OrderPaymentInstructed,
    OrderRefundRequested,
    OrderRejected,
    OrderShipped,
    PaymentRefundFailed,
    PaymentRefundPaid,
    Reason,
    Shortage,
)
from oms.domain.tasks import call_of
from oms.domain.terms import Terms
from oms.domain.values import OrderId, Sku
from oms.ports.messages import AnyEvent
from oms.ports.stores.steps import StepTransaction
from oms.testing import part_samples
from oms.testing.aggregates import TERMS
from oms.testing.fulfilment_acts import AT, ORDER_ID

__tracebackhide__ = True  # pytest shows the failed line of the test, not this module

Document = Mapping[str, object]

_AFTER_CONFIRMATION: Mapping[type[Event], Callable[[OrderId, Terms], Event]] = {
    OrderShipped: part_samples.shipped,
    OrderRefundRequested: part_samples.refund_requested,
    OrderCompleted: part_samples.completed,
    OrderPaymentInstructed: part_samples.instructed,
    PaymentRefundPaid: part_samples.refund_paid,
    PaymentRefundFailed: part_samples.refund_failed,
}


def event_of(topic: str, terms: Terms = TERMS) -> Event:
    """Return the system's event of a topic, for an order `order-1` with these terms."""
    kind: Any = BY_TOPIC.get(topic)
    if kind is None:
        raise ValueError(f"{topic!r} is no event of the system; give one of your own as a CustomEvent")
    if kind in _AFTER_CONFIRMATION:
        return _AFTER_CONFIRMATION[kind](ORDER_ID, terms)
    if kind is InventoryRejected:
        short = tuple(Shortage(Sku(sku), units, 0) for sku, units in terms.items.items())
        return InventoryRejected(ORDER_ID, Reason.OUT_OF_STOCK, short)
    if kind is InventoryReleased:
        return InventoryReleased(ORDER_ID, terms.items)
    if kind is OrderCancelling:
        return OrderCancelling(ORDER_ID, terms.user_id, terms.total, Reason.OPERATOR)
    if kind in (OrderCancelled, OrderRejected):
        return cast("Event", kind(ORDER_ID, terms.user_id, terms.total, Reason.OPERATOR, terms.metadata))
    if topic.startswith("payment."):
        return cast("Event", kind(ORDER_ID, terms.user_id, terms.total))
    return cast("Event", kind(ORDER_ID, terms))


def given_step(app: App, group: str, *past: AnyEvent | str, terms: Terms = TERMS) -> GivenStep:
    """Return the step of an app with this group, after it has handled these events (or topics) in this order."""
    step = app.own_steps.get(group)
    if step is None:
        raise ValueError(f"there is no step {group!r}; there are {', '.join(sorted(app.own_steps)) or 'none'}")
    so_far = GivenStep(step, group, terms)
    for event in past:
        so_far = so_far.when(event).as_given()
    return so_far


@attrs.frozen
class GivenStep:
    """A step, the events that it has handled, and the `document` that it has saved."""

    step: OwnStep
    group: str
    terms: Terms
    past: tuple[str, ...] = ()
    document: str | None = None

    def when(self, event: AnyEvent | str) -> ThenStep:
        """Handle an event; raises the exceptions of the handler."""
        heard = event_of(event, self.terms) if isinstance(event, str) else event
        handler = self.step.handlers.get(heard.topic)
        if handler is None:
            raise ValueError(f"{self.group} doesn't handle {heard.topic}")
        work, documents = self._work(heard.order_id)
        handler(heard, StepContext(work, heard.order_id, heard.topic))
        return ThenStep(self, heard.topic, heard.order_id, work, documents)

    def answered(self, call: str, result: object = None) -> ThenStep:
        """Handle the result of an outside call."""
        known = self.step.calls.get(call)
        if known is None:
            raise ValueError(
                f"{self.group} has no call {call!r}; it has {', '.join(sorted(self.step.calls)) or 'none'}"
            )
        work, documents = self._work(ORDER_ID)
        known.then(result, StepContext(work, ORDER_ID, call))
        return ThenStep(self, f"the answer to {call}", ORDER_ID, work, documents)

    def _work(self, order_id: str) -> tuple[StepWork, _Documents]:
        declared = DeclaredTopics(self.group, self.step.publishes, partial(_warn, self.group))
        documents = _Documents({} if self.document is None else {order_id: self.document})
        transaction = cast("StepTransaction", documents)
        work = StepWork(transaction, self.group, AT, declared, frozenset(self.step.calls))
        work.lock([order_id])
        return work, documents


@attrs.frozen
class _Documents:
    """The part of a step's transaction that handlers use, as a dictionary of documents by order."""

    by_order: dict[str, str]

    def lock_documents(self, _group: str, keys: Collection[str]) -> Mapping[str, str]:
        return {key: self.by_order[key] for key in keys if key in self.by_order}

    def save_documents(self, _group: str, changes: Sequence[tuple[str, str | None, str]]) -> None:
        self.by_order.update({key: after for key, _, after in changes})


@attrs.frozen
class ThenStep:
    """The result of an event or call. Each method checks one expectation and returns the object, for chained calls."""

    given: GivenStep
    happened: str
    order_id: str
    work: StepWork
    documents: _Documents

    def saves(self, document: Document | None) -> Self:
        """Expect this document of the order; None if the step never saved one."""
        return self._is(document, self.work.document(self.order_id), "saved")

    def publishes(self, *topics: str) -> Self:
        """Expect events of the step by topic, in this order; without arguments, none."""
        return self._is(list(topics), [event.topic for event, _ in self.work.changes.events], "published")

    def calls(self, *names: str) -> Self:
        """Expect requests of outside calls by name, in this order; without arguments, none."""
        return self._is(list(names), [call_of(task.key)[0] for task in self.work.changes.tasks], "called")

    def calls_with(self, name: str, **payload: object) -> Self:
        """Expect that one of the outside calls of this name has these arguments."""
        found = [json.loads(task.payload) for task in self.work.changes.tasks if call_of(task.key)[0] == name]
        closest = payload if payload in found else next(iter(found), None)
        return self._is(payload, closest, f"call of {name}")

    def changes_nothing(self) -> Self:
        """Expect an unchanged document, no event and no outside call."""
        before = json.loads(self.given.document) if self.given.document is not None else None
        return self.saves(before).publishes().calls()

    def as_given(self) -> GivenStep:
        """Return the step after this event or call, for another `when`."""
        self.work.flush()
        document = self.documents.by_order.get(self.order_id)
        return attrs.evolve(self.given, past=(*self.given.past, self.happened), document=document)

    def _is(self, wanted: object, found: object, what: str) -> Self:
        if wanted != found:
            past = ", then ".join(self.given.past) or "nothing"
            lines = [
                f"   given {self.given.group}: {past}; it remembers {self.given.document or 'nothing'}",
                f"    when {self.happened}",
                f"expected {what}: {wanted}",
                f"   found {what}: {found}",
            ]
            raise AssertionError("\n" + "\n".join(lines))
        return self


def _warn(group: str, topic: str) -> None:
    """Warn about an undeclared topic, at the line of the handler that publishes the event."""
    text = f"the step {group} doesn't declare the topic {topic!r}: add it to publishes=[...] of app.subscribe"
    warnings.warn(text, DeprecationWarning, stacklevel=4)
