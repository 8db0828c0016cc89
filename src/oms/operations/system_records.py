"""The rows of all services in memory: to compare and repair the files of an embedded system."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import attrs

from oms.domain.events import RefundEvent
from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.payment import Payment
from oms.domain.reservation import Reservation
from oms.domain.stated_terms import stated_in
from oms.domain.values import OrderId
from oms.operations.log_snapshot import read_message
from oms.ports.evidence import Evidence, ServiceEvidence
from oms.ports.messages import Codec, Message, Outgoing, Record, is_copies_topic


@attrs.frozen
class Records:
    """The rows of all four services. Each service is read at its own moment."""

    orders: Mapping[OrderId, Order]
    reservations: Mapping[OrderId, Reservation]
    payments: Mapping[OrderId, Payment]
    done: Mapping[str, frozenset[str]]
    """By group: the ids of the messages that it has handled or parked."""

    outbox: Sequence[Outgoing]
    """Messages that wait to be sent."""

    @classmethod
    def read(cls, evidence: Evidence) -> Records:
        """Read all rows now."""
        services: Sequence[ServiceEvidence] = (
            evidence.order,
            evidence.inventory,
            evidence.payment,
            evidence.notification,
        )
        done: defaultdict[str, set[str]] = defaultdict(set)
        for service in services:
            for group, message in service.all_inbox():
                done[group].add(message)
            for letter in service.all_dead_letters():  # a parked one may outlive its inbox row
                done[letter.group].add(letter.message_id)
        return cls(
            {order.id: order for order in evidence.order.all_orders() if order.state is not OrderState.ABSENT},
            {row.order_id: row for row in evidence.inventory.all_reservations()},
            {row.order_id: row for row in evidence.payment.all_payments()},
            {group: frozenset(messages) for group, messages in done.items()},
            [row.message for service in services for row in service.all_outbox()],
        )


def published_by_order(
    records: Iterable[Record], codec: Codec, orders: Mapping[OrderId, Order]
) -> Mapping[OrderId, frozenset[tuple[str, str]]]:
    """Return topic and part of each order's messages; messages that contradict their order don't count."""
    published: defaultdict[OrderId, set[tuple[str, str]]] = defaultdict(set)
    for record in records:
        message = None if is_copies_topic(record.topic) else read_message(record, codec)
        if message is None or message.event is None:
            continue
        if not _contradicts(message, orders.get(message.event.order_id)):
            published[message.event.order_id].add((record.topic, message.event.part))
    return {order: frozenset(found) for order, found in published.items()}


def _contradicts(message: Message, order: Order | None) -> bool:
    """Whether the message names another customer, amount or items than its order, or than a refund of it."""
    stated, event = stated_in(message.event), message.event
    if order is None:
        return False
    if isinstance(event, RefundEvent):
        refund = order.fulfilment.refund(event.refund_id)
        amount = refund.amount if refund is not None else event.amount
        return (event.user_id, event.amount) != (order.agreed.user_id, amount)
    return stated is not None and stated.differ_from(order.agreed)
