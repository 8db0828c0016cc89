"""The order saga as one table: who does what on which news, how it is undone, and what bounds it.

The documents, the answer to "what can still happen?" and the check of the routing are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from oms.domain.events import (
    Event,
    InventoryRejected,
    InventoryReleased,
    InventoryReserved,
    OrderCancelled,
    OrderCancelling,
    OrderConfirmed,
    OrderCreated,
    OrderRejected,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    PaymentVoided,
)
from oms.domain.order import ORDER_TABLE, SETTLED, OrderState, OrderTrigger

Events = tuple[type[Event], ...]


@attrs.frozen
class SagaStep:
    """One step: `listens` to news, `publishes` at most one of these; `undone_by` names the compensating step."""

    name: str
    service: str
    listens: Events
    publishes: Events
    undone_by: str
    bound: str


_deadline = "the order's deadline: cancel"
_once = "at once"
_patient = "asked again with back-off for ever, alert after a bound; stock stays held"
_asked = "customer, operator or deadline, any time before the end; operator also after a confirmation"
_money_ended = (PaymentFailed, PaymentVoided, PaymentRefunded)
_news = (PaymentSucceeded, *_money_ended, OrderConfirmed, OrderCancelled, OrderRejected)

# fmt: off
SAGA: tuple[SagaStep, ...] = (
    #        step                service         listens to            publishes one of
    #                            undone by         bound
    SagaStep("place or adopt",    "order",        (OrderCreated,),      (OrderCreated,),
                                  "cancel",         _deadline),
    SagaStep("reserve stock",     "inventory",    (OrderCreated,),      (InventoryReserved, InventoryRejected),
                                  "release stock",  _deadline),
    SagaStep("note the hold",     "order",        (InventoryReserved,), (),
                                  "",               _deadline),
    SagaStep("reject",            "order",        (InventoryRejected,), (OrderRejected,),
                                  "",               _once),
    SagaStep("charge",            "payment",      (InventoryReserved,), (PaymentSucceeded, PaymentFailed),
                                  "void or refund", f"{_deadline}; {_patient}"),
    SagaStep("confirm",           "order",        (PaymentSucceeded,),  (OrderConfirmed,),
                                  "cancel",         _once),
    SagaStep("sell stock",        "inventory",    (OrderConfirmed,),    (),
                                  "release stock",  _once),
    SagaStep("cancel",            "order",        (),                   (OrderCancelling,),
                                  "",               _asked),
    SagaStep("void or refund",    "payment",      (OrderCancelling,),   _money_ended,
                                  "",               _patient),
    SagaStep("close",             "order",        _money_ended,         (OrderCancelled,),
                                  "",               _once),
    SagaStep("release stock",     "inventory",    (OrderCancelled,),    (InventoryReleased,),
                                  "",               _once),
    SagaStep("note the release",  "order",        (InventoryReleased,), (),
                                  "",               _once),
    SagaStep("tell the customer", "notification", _news,                (),
                                  "",               "24 h of tries, then a dead letter"),
)
# fmt: on


def routes() -> Mapping[str, tuple[str, ...]]:
    """The services that consume each topic, sorted: what the subscriptions have to be."""
    consumers: dict[str, set[str]] = {}
    for step in SAGA:
        for event in step.listens:
            consumers.setdefault(event.topic, set()).add(step.service)
    return {topic: tuple(sorted(services)) for topic, services in consumers.items()}


def publisher(topic: str) -> str:
    """The service that sends a topic; for a trigger that is no topic (a command, the deadline) it is order."""
    return next((s.service for s in SAGA for event in s.publishes if event.topic == topic), "order")


@attrs.frozen
class Prospect:
    """Something that can still change an order: what would have to happen, where it leads, who would be told."""

    trigger: OrderTrigger
    by: str
    to: OrderState
    publishes: str


def what_can_still_happen(state: OrderState) -> tuple[Prospect, ...]:
    """Every trigger that moves an order on from `state`, in the order of its table; none where all is over."""
    return tuple(
        Prospect(trigger, publisher(trigger.value), cell.to, cell.publishes.topic if cell.publishes else "")
        for trigger, cell in ORDER_TABLE[state].items()
        if cell.to is not None
    )


def possible_ends(state: OrderState) -> frozenset[OrderState]:
    """The settled states that an order can still end in, `state` itself included where it is one."""
    found, open_states = {state}, [state]
    while open_states:
        following = {prospect.to for prospect in what_can_still_happen(open_states.pop())} - found
        found |= following
        open_states += following
    return frozenset(found & SETTLED)
