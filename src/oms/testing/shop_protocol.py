"""What a test can do with a shop and ask of it, whichever kind it is: one that stands still, or one that is hunted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, overload

from oms.application.use_cases.requests import TRUSTED
from oms.bootstrap.app import App
from oms.bootstrap.container import Extensions
from oms.domain.errors import NotFound
from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.stock import Stock
from oms.domain.values import OrderId, Sku
from oms.operations import promises
from oms.ports.evidence import BookKind, Evidence
from oms.ports.extensions import Notification, Principal
from oms.ports.messages import AnyEvent, Codec, Message, Undecodable
from oms.ports.stores.rows import DeadLetter, DeadLetterState

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from oms.testing.expect import OrderExpectation, SystemExpectation
    from oms.testing.fault_targets import NextCharge
    from oms.testing.faults import Faults


class AnyShop(Protocol):
    """An order system to test against: `Shop` and `HuntedShop` are both one."""

    app: App
    """The system itself; own steps are subscribed before the first order."""

    # -- what a customer does

    @abstractmethod
    def place(
        self,
        items: Mapping[str, int] | None = None,
        *,
        amount: Decimal | int | str = 100,
        user: str = "customer-1",
        metadata: Mapping[str, str] | None = None,
        key: str | None = None,
        caller: Principal = TRUSTED,
        connection: object = None,
    ) -> Order:
        """Place an order (of one apple, unless said otherwise); it is accepted when this returns.

        With a `connection` of `order_database()` the order is part of the caller's transaction.
        """

    @abstractmethod
    def order_database(self) -> Engine:
        """A database in memory that stands in for the order service's, as a SQLAlchemy engine; the same each time.

        Make your own tables in it, and give its connections to `place(connection=...)`: your rows and the order commit
        or roll back together, as they do in the order service's database in production.
        """

    @abstractmethod
    def cancel(self, order: Order | str, *, by_operator: bool = False) -> Order:
        """Cancel an order, as its customer or as an operator."""

    @abstractmethod
    def set_stock(self, sku: str, units: int) -> Stock:
        """Count a product: so many units are on hand."""

    @overload
    def given(self, *, stock: Mapping[str, int]) -> None: ...

    @overload
    def given(
        self,
        *,
        order: Mapping[str, int],
        stock: Mapping[str, int] | None = None,
        amount: Decimal | int | str = 100,
        user: str = "customer-1",
    ) -> Order: ...

    def given(
        self,
        *,
        order: Mapping[str, int] | None = None,
        stock: Mapping[str, int] | None = None,
        amount: Decimal | int | str = 100,
        user: str = "customer-1",
    ) -> Order | None:
        """The beginning of a test: what is in stock, and an order that was just accepted."""
        for sku, units in (stock or {}).items():
            self.set_stock(sku, units)
        return self.place(order, amount=amount, user=user) if order is not None else None

    # -- what goes wrong

    @property
    @abstractmethod
    def gateway(self) -> NextCharge:
        """The payment gateway, to be told what the next charge meets."""

    @property
    @abstractmethod
    def extensions(self) -> Extensions:
        """The shop's own gateway, pricing, policy and notifier; None for each that it hasn't."""

    # -- what time does

    @abstractmethod
    def run(self) -> object:
        """Let everything happen until nothing waits any more."""

    @abstractmethod
    def advance(self, **time: float) -> None:
        """Let time pass (`minutes=15`), with everything that falls due on the way."""

    @abstractmethod
    def now(self) -> datetime:
        """What time it is here."""

    # -- what can be seen

    def order(self, order: Order | str) -> Order:
        """An order as it is now; `NotFound` where there is none."""
        found: Order | None = self.stores()["order"].order(order_id(order), None)
        if found is None:
            raise NotFound("order_not_found", f"there is no order {order_id(order)}")
        return found

    def status(self, order: Order | str) -> str:
        """An order's state by name: `CONFIRMED`."""
        return self.order(order).state.value

    def stock(self, sku: str) -> Stock:
        """A product as it is now; one that nobody named yet raises `NotFound`."""
        found: Stock | None = self.stores()["inventory"].stock([Sku(sku)]).get(Sku(sku))
        if found is None:
            raise NotFound("product_not_found", f"there is no product {sku}")
        return found

    def published(self, topic: str | None = None) -> Sequence[AnyEvent]:
        """The events in the log, of one topic or all of them, topic by topic; copies of an event are left out.

        What can't be read is no event, and no more is the copy of a dead letter.
        """
        found = {one.id: one.event for one in self.messages() if topic in (None, one.record.topic)}
        return [event for event in found.values() if event is not None]

    def topics(self, order: Order | str) -> Sequence[str]:
        """What was published of an order, sorted by topic."""
        return sorted(event.topic for event in self.published() if event.order_id == order_id(order))

    def notifications(self, order: Order | str) -> Sequence[Notification]:
        """What the customer was told, by kind."""
        rows = self.stores()["notification"].notifications(order_id(order))
        return [notification for notification, sent_at in rows if sent_at]

    def parked(self) -> Sequence[DeadLetter]:
        """The dead letters that wait for an operator, the oldest first."""
        letters: list[DeadLetter] = [one for store in self.stores().values() for one in store.all_dead_letters()]
        parked = (letter for letter in letters if letter.state is DeadLetterState.PARKED)
        return sorted(parked, key=lambda letter: letter.parked_at)

    def paid(self, order: Order | str) -> Money:
        """Captures less refunds in the gateway's own book; `LookupError` where the gateway shows none."""
        book, key = self.evidence.book, f"oms-{order_id(order)}"
        if book is None:
            raise LookupError("the gateway of this shop shows no book: it has no `all_entries` (see `oms.GatewayBook`)")
        signs = {BookKind.CAPTURE: 1, BookKind.REFUND: -1}
        minor = sum(signs.get(entry.kind, 0) * entry.amount for entry in book.all_entries() if entry.key == key)
        return Money(minor, self.app.currency)

    def messages(self) -> Iterator[Message]:
        """Every message in the log that can be read, copies too, topic by topic."""
        log = self.evidence.log
        for record in log.all_records() if log is not None else ():
            try:
                yield self.codec.decode(record)
            except Undecodable:
                continue

    def story(self) -> str:
        """What happened so far, and how things stand: messages below what caused them, faults, states, what is owed."""
        from oms.testing.shop_report import story_of

        return story_of(self)

    # -- what is expected

    @overload
    def expect(self) -> SystemExpectation: ...

    @overload
    def expect(self, order: Order | str) -> OrderExpectation: ...

    def expect(self, order: Order | str | None = None) -> OrderExpectation | SystemExpectation:
        """What is expected of an order, or of the whole: `shop.expect(order).confirmed().paid(100)`."""
        from oms.testing.expect import OrderExpectation, SystemExpectation

        return SystemExpectation(self) if order is None else OrderExpectation(self, order_id(order))

    @abstractmethod
    def report(self) -> promises.Report:
        """The promises, checked against everything that is on record."""

    def check(self) -> None:
        """Raise `AssertionError` with the list of promises that don't hold."""
        broken = self.report().violations
        if broken:
            raise AssertionError("promises broken:\n" + "\n".join(f"  {violation}" for violation in broken))

    # -- for the harness

    @property
    @abstractmethod
    def evidence(self) -> Evidence:
        """Everything that is on record."""

    @property
    @abstractmethod
    def codec(self) -> Codec:
        """How messages are read."""

    @property
    @abstractmethod
    def faults(self) -> Faults:
        """The faults that the test asked for."""

    @property
    @abstractmethod
    def begun_at(self) -> datetime:
        """When this shop was made, by its own clock."""

    @abstractmethod
    def stores(self) -> Mapping[str, Any]:
        """The store of each service and own step, by its name."""


def order_id(order: Order | str) -> OrderId:
    """The id of an order, or the id itself."""
    return order.id if isinstance(order, Order) else OrderId(order)
