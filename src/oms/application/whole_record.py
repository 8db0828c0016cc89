"""What is on record of a system, all of it in memory: to compare the files of a small one, and to repair them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain

import attrs

from oms.application.copies import original_of
from oms.application.orders import inbox_id
from oms.application.routing import ROUTING
from oms.domain.order import Order, OrderState
from oms.domain.payment import Payment
from oms.domain.reservation import Reservation
from oms.domain.stated_terms import stated_in
from oms.domain.stock import Movement, Stock
from oms.domain.values import OrderId, Sku
from oms.ports.broker import TopicPartition
from oms.ports.evidence import Evidence, LogEvidence, ServiceEvidence
from oms.ports.messages import Codec, Message, MessageId, Outgoing, Record, Undecodable, is_copies_topic
from oms.ports.store import DeadLetter, DeadLetterState

Movements = Mapping[str, Sequence[Movement]]


@attrs.frozen
class Records:
    """The rows of all four services."""

    orders: Mapping[OrderId, Order]
    reservations: Mapping[OrderId, Reservation]
    payments: Mapping[OrderId, Payment]
    stock: Mapping[Sku, Stock]
    movements: Movements
    done: Mapping[str, frozenset[str]]
    """The messages that each group has handled or parked."""

    outbox: Sequence[tuple[str, Outgoing]]
    """Messages that aren't sent yet, each with the service that owes it."""

    tasks: int
    letters: Mapping[str, Sequence[DeadLetter]]
    """By service."""

    @classmethod
    def read(cls, evidence: Evidence) -> Records:
        """As they are now; each service's at a moment of its own."""
        named: Mapping[str, ServiceEvidence] = {
            "order": evidence.order,
            "inventory": evidence.inventory,
            "payment": evidence.payment,
            "notification": evidence.notification,
        }
        services = named.values()
        letters = {name: tuple(service.all_dead_letters()) for name, service in named.items()}
        done: defaultdict[str, set[str]] = defaultdict(set)
        for service in services:
            for group, message in service.all_inbox():
                done[group].add(message)
        for letter in chain.from_iterable(
            letters.values()
        ):  # it stays until it has ended, and may outlive its inbox row
            done[letter.group].add(letter.message_id)
        orders, inventory = cls.of_orders(evidence).orders, cls.of_inventory(evidence)
        return cls(
            orders,
            inventory.reservations,
            {row.order_id: row for row in evidence.payment.all_payments()},
            inventory.stock,
            inventory.movements,
            {group: frozenset(messages) for group, messages in done.items()},
            [(name, row.message) for name, service in named.items() for row in service.all_outbox()],
            sum(1 for service in services for _ in service.all_tasks()),
            letters,
        )

    @classmethod
    def of_inventory(cls, evidence: Evidence) -> Records:
        """The inventory service's alone."""
        with evidence.inventory.at_one_moment():
            reservations = {row.order_id: row for row in evidence.inventory.all_reservations()}
            stock = {row.sku: row for row in evidence.inventory.all_stock()}
            movements = by_reference(evidence.inventory.all_movements())
        return cls({}, reservations, {}, stock, movements, {}, (), 0, {})

    @classmethod
    def of_orders(cls, evidence: Evidence) -> Records:
        """The order service's orders alone."""
        orders = {order.id: order for order in evidence.order.all_orders() if order.state is not OrderState.ABSENT}
        return cls(orders, {}, {}, {}, {}, {}, (), 0, {})

    @property
    def parked(self) -> int:
        """Dead letters that wait for an operator."""
        letters = chain.from_iterable(self.letters.values())
        return sum(letter.state is DeadLetterState.PARKED for letter in letters)

    def before(self, since: datetime | None) -> frozenset[OrderId]:
        """The orders that were made before a moment."""
        if since is None:
            return frozenset()
        return frozenset(
            one.id for one in self.orders.values() if one.created_at is not None and one.created_at < since
        )

    def nothing_waits(self) -> bool:
        """No message is to be sent, no task to be done."""
        return not self.outbox and not self.tasks


Names = tuple[MessageId, ...]
"""A message's id and, where it can be read, the one under which the order service keeps it (`orders.inbox_id`)."""

Passed = Mapping[str, Mapping[TopicPartition, int]]
"""By group: the next offset of each partition."""


def passed_by(log: LogEvidence | None) -> Passed:
    """How far each service's group is, as far as the log can tell."""
    told = {one.group: log.offsets(one.group) for one in ROUTING.values()} if log is not None else {}
    return {group: offsets for group, offsets in told.items() if offsets is not None}


@attrs.frozen
class Log:
    """The messages of the log."""

    by_id: Mapping[MessageId, frozenset[bytes | None]]
    topics: Mapping[OrderId, frozenset[str]]
    """Neither holds a message that contradicts its order: no service of ours sent it."""

    ids_by_topic: Mapping[str, Mapping[Names, OrderId | None]]
    """With the order that each message names, unless it can't be read."""

    ends: Mapping[TopicPartition, int]
    copies: frozenset[bytes]
    """The dead letters of which there are copies."""

    count: int

    @classmethod
    def read(cls, records: Iterable[Record], codec: Codec, orders: Mapping[OrderId, Order]) -> Log:
        """All that is kept, beside these orders.

        What the system replaced said of its orders was handled there: nobody here owes them an effect.
        """
        by_id: defaultdict[MessageId, set[bytes | None]] = defaultdict(set)
        topics: defaultdict[OrderId, set[str]] = defaultdict(set)
        ids: defaultdict[str, dict[Names, OrderId | None]] = defaultdict(dict)
        ends: dict[TopicPartition, int] = {}
        copies: set[bytes] = set()
        count = 0
        for record in records:
            if is_copies_topic(record.topic):
                copies.add(original_of(record.headers))
                continue
            count += 1
            ends[TopicPartition(record.topic, record.partition)] = record.offset + 1
            message = _read(record, codec)
            if message is None:
                ids[record.topic][codec.name(record),] = None
            elif message.event is not None:
                order = orders.get(message.event.order_id)
                if not _contradicts(message, order):
                    if not _is_known(by_id[message.id], message, codec):
                        by_id[message.id].add(record.value)
                    topics[message.event.order_id].add(record.topic)
                if order is None or order.state is not OrderState.LEGACY:
                    # One that was parked unread is in the inbox by its place.
                    names = message.id, inbox_id(message), codec.name(record)
                    ids[record.topic][names] = message.event.order_id
        return cls(
            {name: frozenset(values) for name, values in by_id.items()},
            {order: frozenset(found) for order, found in topics.items()},
            ids,
            ends,
            frozenset(copies),
            count,
        )

    def read_up_to(self, passed: Passed) -> bool:
        """Whether each of these groups has read all that is there for it."""
        return all(
            passed[one.group].get(place, 0) >= end
            for one in ROUTING.values()
            if one.group in passed
            for place, end in self.ends.items()
            if place.topic in one.topics
        )


def _read(record: Record, codec: Codec) -> Message | None:
    try:
        return codec.decode(record)
    except Undecodable:
        return None


def _contradicts(message: Message, order: Order | None) -> bool:
    """Whether the order service has refused a message: it names another customer, amount or items than its order."""
    stated = stated_in(message.event)
    return stated is not None and order is not None and stated.differ_from(order.agreed)


def _is_known(values: set[bytes | None], message: Message, codec: Codec) -> bool:
    """Whether one of these values says the same: a resumed order is told of in other bytes than it once was."""
    return message.record.value in values or any(
        codec.decode(attrs.evolve(message.record, value=value)).event == message.event for value in values
    )


def by_reference(movements: Iterable[Movement]) -> Movements:
    """The ledger's rows by what they refer to: an order, a count, a receipt."""
    found: defaultdict[str, list[Movement]] = defaultdict(list)
    for movement in movements:
        found[movement.reference].append(movement)
    return found
