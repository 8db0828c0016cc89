"""The interface that both kinds of shop have: `Shop` runs once, `HuntedShop` runs in the simulator's schedules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, overload

from oms.application.use_cases.requests import TRUSTED
from oms.bootstrap.container import Extensions
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.order import Order
from oms.domain.stock import Stock
from oms.ports.extensions import Principal
from oms.testing.expect import OrderExpectation, SystemExpectation
from oms.testing.fault_targets import NextCharge
from oms.testing.shop_report import story_of
from oms.testing.shop_view import ShopView, order_id

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
