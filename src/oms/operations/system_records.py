"""The rows of all services in memory: to compare and repair the files of an embedded system."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import attrs

from oms.domain.order import Order, OrderState
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

    def before(self, since: datetime) -> frozenset[OrderId]:
        """Return the orders that were created before `since`."""
        return frozenset(
            one.id for one in self.orders.values() if one.created_at is not None and one.created_at < since
        )


def topics_by_order(
    records: Iterable[Record], codec: Codec, orders: Mapping[OrderId, Order]
) -> Mapping[OrderId, frozenset[str]]:
    """Return the topics in which each order has a message; messages that contradict their order don't count."""
    topics: defaultdict[OrderId, set[str]] = defaultdict(set)
    for record in records:
        message = None if is_copies_topic(record.topic) else read_message(record, codec)
        if message is None or message.event is None:
            continue
        if not _contradicts(message, orders.get(message.event.order_id)):
            topics[message.event.order_id].add(record.topic)
    return {order: frozenset(found) for order, found in topics.items()}


def _contradicts(message: Message, order: Order | None) -> bool:
    """Whether the message names another customer, amount or items than its order."""
    stated = stated_in(message.event)
    return stated is not None and order is not None and stated.differ_from(order.agreed)
