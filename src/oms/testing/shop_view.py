"""The state of a shop, for tests: orders, stock, messages, notifications, dead letters, and the promises."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from oms.bootstrap.app import App
from oms.domain.errors import NotFound
from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.payment import order_of_key
from oms.domain.refund import OrderRefund
from oms.domain.shipment import Shipment
from oms.domain.stock import Stock
from oms.domain.values import OrderId, Sku
from oms.operations import promises
from oms.ports.evidence import BookKind, Evidence
from oms.ports.extensions import Notification
from oms.ports.messages import AnyEvent, Codec, Message, Undecodable
from oms.ports.stores.rows import DeadLetter, DeadLetterState

if TYPE_CHECKING:
    from oms.testing.faults import Faults


class ShopView(Protocol):
    """The read-only part of a shop's interface, which expectations and reports use."""

    app: App
    """The system itself; subscribe own steps before the first order."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the shop's time."""

    def order(self, order: Order | str) -> Order:
        """Return an order; raises `NotFound` if there is none."""
        found: Order | None = self.stores()["order"].order(order_id(order), None)
        if found is None:
            raise NotFound("order_not_found", f"there is no order {order_id(order)}")
        return found

    def status(self, order: Order | str) -> str:
        """Return the name of an order's state: `CONFIRMED`."""
        return self.order(order).state.value

    def stock(self, sku: str) -> Stock:
        """Return the stock of a product; raises `NotFound` for an unknown product."""
        found: Stock | None = self.stores()["inventory"].stock([Sku(sku)]).get(Sku(sku))
        if found is None:
            raise NotFound("product_not_found", f"there is no product {sku}")
        return found

    def published(self, topic: str | None = None) -> Sequence[AnyEvent]:
        """Return the events in the log, of one topic or of all, topic by topic, each event once.

        Records that can't be decoded and copies of dead letters are left out.
        """
        found = {one.id: one.event for one in self.messages() if topic in (None, one.record.topic)}
        return [event for event in found.values() if event is not None]

    def topics(self, order: Order | str) -> Sequence[str]:
        """Return the topics of an order's events, sorted."""
        return sorted(event.topic for event in self.published() if event.order_id == order_id(order))

    def notifications(self, order: Order | str) -> Sequence[Notification]:
        """Return the notifications that were delivered to the order's customer."""
        rows = self.stores()["notification"].notifications(order_id(order))
        return [notification for notification, sent_at in rows if sent_at]

    def parked(self) -> Sequence[DeadLetter]:
        """Return the parked dead letters, the oldest first."""
        letters: list[DeadLetter] = [one for store in self.stores().values() for one in store.all_dead_letters()]
        parked = (letter for letter in letters if letter.state is DeadLetterState.PARKED)
        return sorted(parked, key=lambda letter: letter.parked_at)

    def paid(self, order: Order | str) -> Money:
        """Return captures less refunds in the gateway's own book; raises `LookupError` if the gateway has no book."""
        book, wanted = self.evidence.book, order_id(order)
        if book is None:
            raise LookupError("the gateway of this shop shows no book: it has no `all_entries` (see `oms.GatewayBook`)")
        signs = {BookKind.CAPTURE: 1, BookKind.REFUND: -1}
        entries = (entry for entry in book.all_entries() if order_of_key(entry.key) == wanted)
        minor = sum(signs.get(entry.kind, 0) * entry.amount for entry in entries)
        return Money(minor, self.app.currency)

    def messages(self) -> Iterator[Message]:
        """Yield every record of the log that can be decoded, redelivered ones too, topic by topic."""
        log = self.evidence.log
        for record in log.all_records() if log is not None else ():
            try:
                yield self.codec.decode(record)
            except Undecodable:
                continue

    @abstractmethod
    def report(self) -> promises.Report:
        """Check the promises against all stores, the log, the gateway's book and the gate."""

    def check(self) -> None:
        """Raise `AssertionError` with the list of promises that don't hold."""
        broken = self.report().violations
        if broken:
            raise AssertionError("promises broken:\n" + "\n".join(f"  {violation}" for violation in broken))

    # -- for the harness

    @property
    @abstractmethod
    def evidence(self) -> Evidence:
        """The read access to all stores, the log, the gateway's book and the gate."""

    @property
    @abstractmethod
    def codec(self) -> Codec:
        """The codec of the messages in the log."""

    @property
    @abstractmethod
    def faults(self) -> Faults:
        """The faults that the test armed."""

    @property
    @abstractmethod
    def begun_at(self) -> datetime:
        """The time at which this shop was made, by its own clock."""

    @abstractmethod
    def stores(self) -> Mapping[str, Any]:
        """Return the store of each service and own step by name."""


def order_id(order: Order | str) -> OrderId:
    """Return the id of an order; an id is returned unchanged."""
    return order.id if isinstance(order, Order) else OrderId(order)


def part_id(part: Shipment | OrderRefund | str) -> str:
    """Return the id of a shipment or refund; an id is returned unchanged."""
    return part if isinstance(part, str) else part.id
