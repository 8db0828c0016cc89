"""What happened, in the past tense. An order has at most one event of each type."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

import attrs

from oms.domain.money import Money
from oms.domain.values import NO_METADATA, Items, Metadata, OrderId, Sku, Terms, UserId


class Reason(Enum):
    """Why an order didn't end confirmed."""

    CUSTOMER = "CUSTOMER"
    OPERATOR = "OPERATOR"
    DEADLINE = "DEADLINE"
    PAYMENT_DECLINED = "PAYMENT_DECLINED"
    OUT_OF_STOCK = "OUT_OF_STOCK"


@attrs.frozen
class Shortage:
    """A product of which fewer units were available than the order wanted."""

    sku: Sku
    requested: int
    available: int


@attrs.frozen
class Event:
    """Something that happened to an order; `topic` is where the world hears of it."""

    topic: ClassVar[str]
    order_id: OrderId


@attrs.frozen
class _Agreed(Event):
    terms: Terms


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
    """What was held or sold is back; no items for an order that never held any."""

    topic = "inventory.released"
    items: Items


@attrs.frozen
class PaymentEvent(Event):
    """News of an order's payment; `amount` is the order's total, whatever became of it."""

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
    """What was captured has been given back."""

    topic = "payment.refunded"


@attrs.frozen
class OrderConfirmed(_Agreed):
    """The order is held and paid."""

    topic = "order.confirmed"


@attrs.frozen
class OrderCancelling(Event):
    """The order shall end cancelled; payment decides between void and refund."""

    topic = "order.cancelling"
    user_id: UserId
    total: Money
    reason: Reason


@attrs.frozen
class _OrderEnded(Event):
    user_id: UserId
    total: Money
    reason: Reason
    metadata: Metadata = NO_METADATA


@attrs.frozen
class OrderCancelled(_OrderEnded):
    """The money is settled; the stock may go back."""

    topic = "order.cancelled"


@attrs.frozen
class OrderRejected(_OrderEnded):
    """The order ended because its stock was short."""

    topic = "order.rejected"


EVENTS: tuple[type[Event], ...] = (
    OrderCreated,
    InventoryReserved,
    InventoryRejected,
    InventoryReleased,
    PaymentSucceeded,
    PaymentFailed,
    PaymentVoided,
    PaymentRefunded,
    OrderConfirmed,
    OrderCancelling,
    OrderCancelled,
    OrderRejected,
)
BY_TOPIC = {event.topic: event for event in EVENTS}
