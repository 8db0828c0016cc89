"""The order saga as one table: the services, the events that start their steps, compensations and limits.

Pages, the possible ends of an order, topic access and the check of the routing are derived from it.
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
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderPaymentInstructed,
    OrderRefundRequested,
    OrderRejected,
    OrderShipped,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundPaid,
    PaymentSucceeded,
    PaymentVoided,
)
from oms.domain.order_table import ORDER_TABLE, SETTLED, OrderState, OrderTrigger

Events = tuple[type[Event], ...]


@attrs.frozen
class SagaStep:
    """One step: the events that start it, the events of which it publishes at most one, and the step that undoes it."""

    name: str
    service: str
    listens: Events
    publishes: Events
    undone_by: str
    limit: str


_deadline = "the order's deadline: cancel"
_once = "at once"
_repeated = "repeated with back-off, without limit; an alert at each tenth try"
_unlimited = f"{_repeated}; the stock stays held"
_cancellable = "customer, operator or deadline, until the order is settled; operator also when it is confirmed"
_payment_ended = (PaymentFailed, PaymentVoided, PaymentRefunded)
_refund_ended = (PaymentRefundPaid, PaymentRefundFailed)
_notified = (PaymentSucceeded, *_payment_ended, OrderConfirmed, OrderCancelled, OrderRejected)
_notified_later = (OrderShipped, PaymentRefundPaid, OrderCompleted)
_operator = "by operators, of a confirmed order"
_refused = f"{_repeated}; an operator decides about a refused refund"

# fmt: off
SAGA: tuple[SagaStep, ...] = (
    #        step                   service         listens to            publishes one of
    #                               undone by         limit
    SagaStep("place or adopt",      "order",        (OrderCreated,),      (OrderCreated,),
                                    "cancel",         _deadline),
    SagaStep("reserve stock",       "inventory",    (OrderCreated,),      (InventoryReserved, InventoryRejected),
                                    "release stock",  _deadline),
    SagaStep("record the hold",     "order",        (InventoryReserved,), (),
                                    "",               _deadline),
    SagaStep("reject",              "order",        (InventoryRejected,), (OrderRejected,),
                                    "",               _once),
    SagaStep("charge",              "payment",      (InventoryReserved,), (PaymentSucceeded, PaymentFailed),
                                    "void or refund", f"{_deadline}; {_unlimited}"),
    SagaStep("confirm",             "order",        (PaymentSucceeded,),  (OrderConfirmed,),
                                    "cancel",         _once),
    SagaStep("sell stock",          "inventory",    (OrderConfirmed,),    (),
                                    "release stock",  _once),
    SagaStep("cancel",              "order",        (),                   (OrderCancelling,),
                                    "",               _cancellable),
    SagaStep("void or refund",      "payment",      (OrderCancelling,),   (*_payment_ended, PaymentRefundFailed),
                                    "",               _refused),
    SagaStep("close",               "order",        _payment_ended,       (OrderCancelled,),
                                    "",               _once),
    SagaStep("release stock",       "inventory",    (OrderCancelled,),    (InventoryReleased,),
                                    "",               _once),
    SagaStep("record the release",  "order",        (InventoryReleased,), (),
                                    "",               _once),
    SagaStep("ship units",          "order",        (),                   (OrderShipped,),
                                    "request a refund", _operator),
    SagaStep("request a refund",    "order",        (),                   (OrderRefundRequested,),
                                    "",               _operator),
    SagaStep("complete",            "order",        (),                   (OrderCompleted,),
                                    "",               "with the last unit that is shipped or cancelled"),
    SagaStep("note the shipment",   "payment",      (OrderShipped, OrderCompleted), (),
                                    "",               _once),
    SagaStep("restock a refund",    "inventory",    (OrderRefundRequested,), (),
                                    "",               _once),
    SagaStep("refund a part",       "payment",      (OrderRefundRequested,), _refund_ended,
                                    "",               _refused),
    SagaStep("record the refund",   "order",        _refund_ended,        (),
                                    "",               _once),
    SagaStep("instruct payment",    "order",        (),                   (OrderPaymentInstructed,),
                                    "",               "by operators, after a refusal of the gateway"),
    SagaStep("follow the instruction", "payment",   (OrderPaymentInstructed,), (*_refund_ended, PaymentRefunded),
                                    "",               _refused),
    SagaStep("notify the customer", "notification", (*_notified, *_notified_later), (),
                                    "",               "24 h of tries, then a dead letter"),
)
# fmt: on


def routes() -> Mapping[str, tuple[str, ...]]:
    """The services that consume each topic, sorted; the subscriptions must match."""
    consumers: dict[str, set[str]] = {}
    for step in SAGA:
        for event in step.listens:
            consumers.setdefault(event.topic, set()).add(step.service)
    return {topic: tuple(sorted(services)) for topic, services in consumers.items()}


def publisher(topic: str) -> str:
    """The service that publishes a topic; `order` for a trigger that isn't a topic (a command or the deadline)."""
    return next((s.service for s in SAGA for event in s.publishes if event.topic == topic), "order")


@attrs.frozen
class Prospect:
    """A trigger that can still change an order, its service, the next state, and the topic that is then published."""

    trigger: OrderTrigger
    by: str
    to: OrderState
    publishes: str


def what_can_still_happen(state: OrderState) -> tuple[Prospect, ...]:
    """Every trigger that has an effect on an order in `state`, in the order of its table; empty for a final state."""
    return tuple(
        Prospect(trigger, publisher(trigger.value), cell.to, ", ".join(kind.topic for kind in cell.publishes))
        for trigger, cell in ORDER_TABLE[state].items()
        if cell.to is not None
    )


def possible_ends(state: OrderState) -> frozenset[OrderState]:
    """The settled states in which an order can still end, including `state` itself if it is settled."""
    found, open_states = {state}, [state]
    while open_states:
        following = {prospect.to for prospect in what_can_still_happen(open_states.pop())} - found
        found |= following
        open_states += following
    return frozenset(found & SETTLED)
