"""Events, in the past tense. An order has at most one of each type.

A class with a `topic` is all that an event needs here: `EVENTS` finds it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import Enum
from typing import ClassVar

import attrs

from oms.domain.errors import ImpossibleTransition
from oms.domain.money import Money
from oms.domain.terms import Terms
from oms.domain.values import NO_METADATA, Items, Metadata, OrderId, Sku, UserId


class Reason(Enum):
    """Why an order didn't end confirmed."""

    CUSTOMER = "CUSTOMER"
    OPERATOR = "OPERATOR"
    DEADLINE = "DEADLINE"
    PAYMENT_DECLINED = "PAYMENT_DECLINED"
    OUT_OF_STOCK = "OUT_OF_STOCK"


@attrs.frozen
class Shortage:
    """A product with fewer available units than the order wanted."""

    sku: Sku
    requested: int
    available: int


@attrs.frozen
class Event:
    """Something that happened to an order; `topic` is where it is published."""

    topic: ClassVar[str]
    order_id: OrderId


@attrs.frozen
class OrderEvent(Event, ABC):
    """An event that the order service publishes about an order. Subclasses differ in their fields."""

    @classmethod
    @abstractmethod
    def of_order(cls, order_id: OrderId, terms: Terms, reason: Reason | None) -> OrderEvent:
        """Return the event of an order with these terms; `reason` is None until the order begins to end."""


@attrs.frozen
class _Agreed(OrderEvent):
    terms: Terms

    @classmethod
    def of_order(cls, order_id: OrderId, terms: Terms, reason: Reason | None) -> OrderEvent:  # noqa: ARG003
        return cls(order_id, terms)


@attrs.frozen
class OrderCreated(_Agreed):
    """A customer placed an order."""

    topic = "order.created"


@attrs.frozen
class InventoryReserved(_Agreed):
    """Every line of the order is held."""

    topic = "inventory.reserved"


@attrs.frozen
class InventoryRejected(Event):
    """At least one line was short; nothing is held."""

    topic = "inventory.rejected"
    reason: Reason
    shortages: tuple[Shortage, ...]


@attrs.frozen
class InventoryReleased(Event):
    """The held or sold units are available again; no items for an order that never held any."""

    topic = "inventory.released"
    items: Items


@attrs.frozen
class PaymentEvent(Event):
    """An event of an order's payment; `amount` is always the order's total."""

    user_id: UserId
    amount: Money
    payment_id: str | None = None
    reason: Reason | None = None


@attrs.frozen
class PaymentSucceeded(PaymentEvent):
    """The gateway captured the order's total."""

    topic = "payment.success"


@attrs.frozen
class PaymentFailed(PaymentEvent):
    """The gateway declined; no money moved."""

    topic = "payment.failed"


@attrs.frozen
class PaymentVoided(PaymentEvent):
    """The payment was cancelled before any money moved, and none can move later."""

    topic = "payment.voided"


@attrs.frozen
class PaymentRefunded(PaymentEvent):
    """The captured amount was refunded."""

    topic = "payment.refunded"


@attrs.frozen
class OrderConfirmed(_Agreed):
    """The order is held and paid."""

    topic = "order.confirmed"


@attrs.frozen
class OrderCancelling(OrderEvent):
    """The order is being cancelled; the payment service decides between void and refund."""

    topic = "order.cancelling"
    user_id: UserId
    total: Money
    reason: Reason

    @classmethod
    def of_order(cls, order_id: OrderId, terms: Terms, reason: Reason | None) -> OrderEvent:
        """As `OrderEvent.of_order`, without metadata."""
        return cls(order_id, terms.user_id, terms.total, _known(reason))


@attrs.frozen
class _OrderEnded(OrderEvent):
    user_id: UserId
    total: Money
    reason: Reason
    metadata: Metadata = NO_METADATA

    @classmethod
    def of_order(cls, order_id: OrderId, terms: Terms, reason: Reason | None) -> OrderEvent:
        return cls(order_id, terms.user_id, terms.total, _known(reason), terms.metadata)


def _known(reason: Reason | None) -> Reason:
    if reason is None:
        raise ImpossibleTransition("order", "ending", "an end without a reason")
    return reason


@attrs.frozen
class OrderCancelled(_OrderEnded):
    """The money is settled; the stock may be released."""

    topic = "order.cancelled"


@attrs.frozen
class OrderRejected(_OrderEnded):
    """The order ended because the stock didn't suffice."""

    topic = "order.rejected"


def _published() -> Iterator[type[Event]]:
    """Yield the classes of this module that name a topic of their own, in the order of their definition."""
    for kind in list(globals().values()):
        if isinstance(kind, type) and issubclass(kind, Event) and "topic" in vars(kind):
            yield kind


EVENTS: tuple[type[Event], ...] = tuple(_published())
"""All events of the system: every class above that has a `topic`."""

BY_TOPIC = {event.topic: event for event in EVENTS}
