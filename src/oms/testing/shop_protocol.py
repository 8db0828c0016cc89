"""The interface that both kinds of shop have: `Shop` runs once, `HuntedShop` runs in the simulator's schedules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, overload

from oms.application.use_cases.orders import OrderUseCases
from oms.application.use_cases.requests import TRUSTED
from oms.bootstrap.container import Extensions
from oms.domain.commands import RefundOrder, ShipOrder
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.order import Order
from oms.domain.refund import WHOLE, OrderRefund, RefundKind
from oms.domain.shipment import Shipment
from oms.domain.stock import Stock
from oms.ports.extensions import Principal
from oms.testing.expect import OrderExpectation, SystemExpectation
from oms.testing.fault_targets import NextCharge
from oms.testing.shop_report import story_of
from oms.testing.shop_view import ShopView, order_id, part_id

if TYPE_CHECKING:
    from sqlalchemy import Engine


ONE_APPLE: Mapping[str, int] = {"apple": 1}
"""What a test orders that names neither items nor lines."""


class AnyShop(ShopView, Protocol):
    """An order system to test against: place orders, cause faults, let time pass, and expect results."""

    # -- a customer's actions

    @abstractmethod
    def place(
        self,
        items: Mapping[str, int] | None = None,
        *,
        lines: Iterable[OrderLine] | None = None,
        charges: Iterable[OrderCharge] = (),
        amount: Decimal | int | str = 100,
        user: str = "customer-1",
        metadata: Mapping[str, str] | None = None,
        key: str | None = None,
        caller: Principal = TRUSTED,
        connection: object = None,
    ) -> Order:
        """Place an order of `items` or `lines`, by default of one apple; it is accepted on return.

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
        """Set the units of a product that are on hand."""

    # -- an operator's actions

    def ship(
        self,
        order: Order | str,
        items: Mapping[str, int] | None = None,
        *,
        carrier: str | None = None,
        tracking_number: str | None = None,
        key: str | None = None,
        caller: Principal = TRUSTED,
    ) -> Shipment:
        """Ship units of a confirmed order; without `items`, all units that are neither cancelled nor shipped."""
        command = ShipOrder.of(order_id(order), items, carrier, tracking_number)
        return self.orders.ship(command, caller=caller, key=key)

    def refund(
        self,
        order: Order | str,
        kind: RefundKind | str,
        items: Mapping[str, int] | None = None,
        *,
        amount: Decimal | int | str | None = None,
        restock: bool | None = None,
        reason: str = "a test",
        key: str | None = None,
        caller: Principal = TRUSTED,
    ) -> OrderRefund:
        """Refund units or money of a confirmed order; `kind` is CANCEL, RETURN or GOODWILL. `run` pays it."""
        command = RefundOrder.of(order_id(order), kind, reason, items=items, amount=amount, restock=restock)
        return self.orders.refund(command, caller=caller, key=key)

    def retry_payment(self, order: Order | str, of: OrderRefund | str = WHOLE, *, why: str = "a test") -> Order:
        """Call the gateway again for a refund that it refused, by default for that of a cancelled order."""
        return self.orders.retry_payment(order_id(order), part_id(of), why)

    def resolve_payment(self, order: Order | str, of: OrderRefund | str = WHOLE, *, why: str = "a test") -> Order:
        """Record that a refused refund was given back outside of the gateway."""
        return self.orders.resolve_payment(order_id(order), part_id(of), why)

    @property
    @abstractmethod
    def orders(self) -> OrderUseCases:
        """The orders of the system, as in `app.orders`; the shop itself runs their commands."""

    # -- the beginning of a test

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
        """Set the stock and place an order, which is then accepted and not processed yet: the beginning of a test."""
        for sku, units in (stock or {}).items():
            self.set_stock(sku, units)
        return self.place(order, amount=amount, user=user) if order is not None else None

    # -- faults

    @property
    @abstractmethod
    def gateway(self) -> NextCharge:
        """The payment gateway, to set what happens to the next charge."""

    @property
    @abstractmethod
    def extensions(self) -> Extensions:
        """The shop's own gateway, pricing, policy and notifier; None for each that it doesn't have."""

    # -- time

    @abstractmethod
    def run(self) -> object:
        """Run all services until none has work left."""

    @abstractmethod
    def advance(self, **time: float) -> None:
        """Let time pass (`minutes=15`) and run everything that falls due meanwhile."""

    # -- results

    def story(self) -> str:
        """Describe the run so far: faults, each order's messages by cause, states, unsent rows and open tasks."""
        return story_of(self)

    # -- expectations

    @overload
    def expect(self) -> SystemExpectation: ...

    @overload
    def expect(self, order: Order | str) -> OrderExpectation: ...

    def expect(self, order: Order | str | None = None) -> OrderExpectation | SystemExpectation:
        """Begin an expectation about an order, or about the whole shop: `shop.expect(order).confirmed().paid(100)`."""
        return SystemExpectation(self) if order is None else OrderExpectation(self, order_id(order))
