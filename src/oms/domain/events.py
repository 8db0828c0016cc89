"""Events, in the past tense. An order has at most one of each type, and of a `PartEvent` at most one for each part.

A class with a `topic` is all that an event needs here: `EVENTS` finds it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import Enum
from typing import ClassVar

import attrs

from oms.domain.errors import ImpossibleTransition
from oms.domain.lines import OrderLine
from oms.domain.money import Money
from oms.domain.refund import Instruction, RefundKind
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

    @property
    def part(self) -> str:
        """The part of the order that the event is about; empty for an event about the whole order."""
        return ""


@attrs.frozen
class PartEvent(Event, ABC):
    """An event about a part of an order. Its message is identified by order, topic and part."""

    user_id: UserId

    @property
    @abstractmethod
    def part(self) -> str:
        """The part: an id, or an id and an attempt."""


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


@attrs.frozen
class OrderShipped(PartEvent):
    """Units of the order left the warehouse.

    The first shipment of an order has `capture_amount`: the total less all refunds that were requested before it.
    """

    topic = "order.shipped"
    shipment_id: str
    items: Items
    lines: tuple[OrderLine, ...] = ()
    carrier: str | None = None
    tracking_number: str | None = None
    capture_amount: Money | None = None
    metadata: Metadata = NO_METADATA

    @property
    def part(self) -> str:
        """The shipment's id."""
        return self.shipment_id


@attrs.frozen
class OrderRefundRequested(PartEvent):
    """An operator decided to refund `amount`; with `restock`, the units of `items` are available again."""

    topic = "order.refund_requested"
    refund_id: str
    kind: RefundKind
    items: Items
    lines: tuple[OrderLine, ...]
    restock: bool
    amount: Money
    before_shipment: bool
    reason: str
    metadata: Metadata = NO_METADATA

    @property
    def part(self) -> str:
        """The refund's id."""
        return self.refund_id


@attrs.frozen
class OrderCompleted(Event):
    """Every unit was shipped or cancelled. `items` are the shipped units."""

    topic = "order.completed"
    user_id: UserId
    total: Money
    refunded: Money
    items: Items
    metadata: Metadata = NO_METADATA


@attrs.frozen
class OrderPaymentInstructed(PartEvent):
    """An operator (`by`) decided, for the reason `why`, about attempt number `attempt` of a refused refund (`of`)."""

    topic = "order.payment_instructed"
    of: str
    what: Instruction
    attempt: int
    by: str
    why: str

    @property
    def part(self) -> str:
        """The refund's id and the attempt: there is one instruction for each attempt."""
        return f"{self.of}/{self.attempt}"


@attrs.frozen
class RefundEvent(PartEvent):
    """The outcome of attempt number `attempt` of a refund; `amount` is the refund's, `items` its units."""

    refund_id: str
    amount: Money
    items: Items
    attempt: int
    outside: bool = False
    reason: str | None = None
    metadata: Metadata = NO_METADATA


@attrs.frozen
class PaymentRefundPaid(RefundEvent):
    """The refund was paid: by the gateway, or, with `outside`, by other means that an operator confirmed."""

    topic = "payment.refund_paid"

    @property
    def part(self) -> str:
        """The refund's id."""
        return self.refund_id


@attrs.frozen
class PaymentRefundFailed(RefundEvent):
    """The gateway refused the refund, for `reason`. An operator has to decide what happens next."""

    topic = "payment.refund_failed"

    @property
    def part(self) -> str:
        """The refund's id and the attempt."""
        return f"{self.refund_id}/{self.attempt}"


def _published() -> Iterator[type[Event]]:
    """Yield the classes of this module that name a topic of their own, in the order of their definition."""
    for kind in list(globals().values()):
        if isinstance(kind, type) and issubclass(kind, Event) and "topic" in vars(kind):
            yield kind


EVENTS: tuple[type[Event], ...] = tuple(_published())
"""All events of the system: every class above that has a `topic`."""

BY_TOPIC = {event.topic: event for event in EVENTS}
