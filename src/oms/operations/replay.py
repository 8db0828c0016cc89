"""Replays the log to a service whose record lacks messages, so that it decides again as it did before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import attrs

from oms.application import inventory, payments
from oms.application.orders import OrderWork
from oms.domain.errors import Conflict
from oms.domain.events import (
    InventoryRejected,
    InventoryReleased,
    InventoryReserved,
    OrderCancelling,
    OrderConfirmed,
    OrderCreated,
    Reason,
)
from oms.domain.order_table import OrderState
from oms.domain.payment import Payment, PaymentState
from oms.domain.reservation import ReservationState
from oms.domain.terms import Terms
from oms.domain.values import OrderId
from oms.engine.service import Handler, Service
from oms.operations import replay_parts
from oms.ports.broker import Subscription, TopicPartition
from oms.ports.messages import AnyEvent, Codec, Record, Undecodable

MONEY_GOES_BACK = (PaymentState.VOIDING, PaymentState.VOIDED, PaymentState.REFUNDING, PaymentState.REFUNDED)


class Replay(Subscription):
    """A subscription that gives out all records of some topics in the order of time, and commits nothing."""

    def __init__(self, records: Iterator[Record], topics: Collection[str]) -> None:
        self._records, self._topics = records, topics
        self.ends: dict[TopicPartition, int] = {}
        self.ended = False

    def poll(self, max_records: int) -> Sequence[Record]:
        """Return the next records."""
        polled: list[Record] = []
        while len(polled) < max_records and not self.ended:
            record = next(self._records, None)
            if record is None:
                self.ended = True
                break
            self.ends[TopicPartition(record.topic, record.partition)] = record.offset + 1
            if record.topic in self._topics:
                polled.append(record)
        return polled

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Do nothing: the group continues at its own offsets, and its inbox has the messages handled here."""

    def lost(self) -> Collection[TopicPartition]:
        """Return no partition."""
        return ()

    def close(self) -> None:
        """Do nothing."""


@attrs.frozen
class PastDecisions:
    """Decisions that depend on more than the consumed messages, as the published events show them.

    A service that handles its messages again might decide otherwise: it decided by a command, a deadline, or the order
    in which messages arrived.
    """

    cancelling: Mapping[OrderId, OrderCancelling]
    confirmed: Collection[OrderId]
    rejected: Mapping[OrderId, InventoryRejected]
    never_held: Collection[OrderId]
    """Orders whose cancellation overtook their creation on its way to the inventory service."""

    @classmethod
    def read(cls, records: Iterable[Record], codec: Codec, some: Iterable[Payment]) -> PastDecisions:
        """Read the decisions from the log and from payments: a payment that is being undone got `order.cancelling`."""
        by_kind: defaultdict[type, dict[OrderId, Any]] = defaultdict(dict)
        for record in records:
            with suppress(Undecodable):
                event = codec.decode(record).event
                if event is not None:
                    by_kind[type(event)].setdefault(event.order_id, event)
        cancelling = by_kind[OrderCancelling]
        for payment in some:
            if payment.state in MONEY_GOES_BACK and payment.user_id is not None and payment.total is not None:
                event = OrderCancelling(payment.order_id, payment.user_id, payment.total, Reason.OPERATOR)
                cancelling.setdefault(payment.order_id, event)
        released = {order_id for order_id, event in by_kind[InventoryReleased].items() if not event.items}
        return cls(
            cancelling,
            by_kind[OrderConfirmed].keys(),
            by_kind[InventoryRejected],
            released - by_kind[InventoryReserved].keys() - by_kind[InventoryRejected].keys(),
        )

    def routes(self, service: Service[Any]) -> Mapping[str, Handler[Any]]:
        """Return the service's handlers, changed to repeat the past decisions."""
        routes: dict[str, Handler[Any]] = dict(service.routes)
        if service.name == "order":
            for topic in routes.keys() - {OrderCreated.topic, InventoryReserved.topic}:
                routes[topic] = self._cancelling_first(routes[topic])
            routes[OrderCancelling.topic] = lambda event, work: cancel_again(cast("OrderCancelling", event), work)
            routes |= replay_parts.OF_ORDER
        if service.name == "inventory":
            routes[OrderCreated.topic] = self._held_as_before(routes[OrderCreated.topic])
        if service.name == "payment":
            routes[OrderCancelling.topic] = void_again
            routes |= replay_parts.OF_PAYMENT
        return routes

    def _cancelling_first(self, handler: Handler[Any]) -> Handler[Any]:
        """Begin to cancel an order that was never confirmed before the events that would settle it otherwise."""

        def handle(event: AnyEvent, work: Any) -> None:
            cancelling = self.cancelling.get(event.order_id)
            if cancelling is not None and event.order_id not in self.confirmed:
                cancel_again(cancelling, work)
            handler(event, work)

        return handle

    def _held_as_before(self, handler: Handler[Any]) -> Handler[Any]:
        def handle(event: AnyEvent, work: Any) -> None:
            rejected, reservation = self.rejected.get(event.order_id), work[event.order_id]
            if reservation.state is ReservationState.ABSENT and rejected is not None:
                work.save(reservation.reject(rejected.shortages, at=work.now))
            elif reservation.state is ReservationState.ABSENT and event.order_id in self.never_held:
                inventory.release(event.order_id, work)
            else:
                handler(event, work)

        return handle


def void_again(event: AnyEvent, work: Any) -> None:
    """Cancel a payment; an unknown one may have been charged, so it is started and voided at the gateway."""
    cancelling, payment = cast("OrderCancelling", event), work[event.order_id]
    if payment.state is PaymentState.ABSENT:
        work.save(payment.start(Terms(cancelling.user_id, cancelling.total, {}), at=work.now))
    payments.cancelling(cancelling, work)


def cancel_again(event: OrderCancelling, work: OrderWork) -> None:
    """Begin to cancel an order, for the reason of its earlier cancellation."""
    order = work[event.order_id]
    if order.terms is None or (order.state.resting and order.state is not OrderState.CONFIRMED):
        return
    late = event.reason is Reason.DEADLINE
    with suppress(Conflict):  # it has been settled otherwise
        work.save(order.deadline(at=work.now) if late else order.cancel(event.reason, at=work.now))
