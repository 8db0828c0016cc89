"""The shop of a hunted test: the interface of `Shop` on a simulated system, whose choices are recorded on a tape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from oms.adapters.gateways.script import Behaviour
from oms.application.use_cases.orders import OrderUseCases
from oms.application.use_cases.place_order import OrderChecks
from oms.application.use_cases.requests import TRUSTED
from oms.application.use_cases.stock import StockUseCases
from oms.bootstrap.container import Extensions
from oms.domain.commands import CancelOrder, PlaceOrder
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.stock import Stock
from oms.domain.values import OrderId
from oms.engine.assembly import ServiceAssembly
from oms.operations import promises
from oms.ports.evidence import Evidence
from oms.ports.extensions import Principal
from oms.ports.messages import Codec
from oms.testing.expect import Unmet
from oms.testing.fault_targets import FAULT_WORDS, NextCharge
from oms.testing.faults import Fault, Faults, NeverHappened
from oms.testing.shop_protocol import ONE_APPLE, AnyShop
from oms.testing.shop_view import order_id
from oms.testing.sim.gateway import AFTER, BEFORE, TapeGateway
from oms.testing.sim.outcome import Listener, Outcome
from oms.testing.sim.own_calls import LossyGateway
from oms.testing.sim.rolling_upgrade import SimulatedApp
from oms.testing.sim.run import Run
from oms.testing.sim.scope import Scope
from oms.testing.sim.simulated_system import CODEC, CURRENCY, SimulatedSystem
from oms.testing.sim.tape import Tape

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from oms.testing.joined import OrderDatabase


class PromiseBroken(AssertionError):
    """A promise of `oms` itself doesn't hold. A hunted test raises it even if the test's own assertions hold."""


class HuntedShop(AnyShop):
    """An order system under one schedule. Subscribe own steps with `app` before the first order is placed.

    `oms.testing.rolling_upgrade(shop.app)` subscribes the next version of the steps, which then runs at the same time.
    `place`, `cancel` and `set_stock` run without faults; during `run` and `advance` all faults of the hunt may happen.
    """

    def __init__(
        self, scope: Scope, tape: Tape, listener: Listener | None = None, extensions: Extensions | None = None
    ) -> None:
        self.app: SimulatedApp = SimulatedApp(extensions)
        self.app.place_in = lambda: (self.orders, self._stock)
        self._database: OrderDatabase | None = None
        self._scope, self._tape, self._listener = attrs.evolve(scope, orders=0), tape, listener
        self._made: Run | None = None
        self._faults: Faults | None = None

    # -- a customer's actions

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
        """Place an order; it is accepted on return, or with the commit of the caller's transaction."""
        wanted = items or (ONE_APPLE if lines is None else None)
        command = PlaceOrder.of(user, Money.of(amount, CURRENCY), wanted, metadata, lines=lines, charges=charges)
        order = self.orders.place(command, caller=caller, key=key, connection=connection)
        if connection is None:
            self._simulated.customers.know(order.id)
        return order

    def cancel(self, order: Order | str, *, by_operator: bool = False) -> Order:
        """Cancel an order, as its customer or as an operator."""
        return self.orders.cancel(CancelOrder(order_id(order), by_operator))

    def set_stock(self, sku: str, units: int) -> Stock:
        """Set the units of a product that are on hand."""
        return self._stock.set(sku, units, caller=TRUSTED)

    def order_database(self) -> Engine:
        """An engine whose connections `place(connection=...)` can join; see `AnyShop`."""
        from oms.testing.joined import OrderDatabase  # imports SQLAlchemy, which a simulation needs only here

        if self._database is None:
            self._database = OrderDatabase(self._committed)
            if self._made is not None:
                self._made.system.records["order"].joining = self._database.join
        return self._database.engine

    # -- time

    def run(self) -> None:
        """Run all services by the schedule until no work is left; time passes as far as waiting work needs."""
        self._know_orders()
        self._run.to_rest()
        if self._run.violations:
            raise PromiseBroken("\n".join(map(str, self._run.violations)))

    def advance(self, **time: float) -> None:
        """Run until no work is left, let time pass (`minutes=15`), and run again."""
        self.run()
        self._simulated.clock.advance(timedelta(**time))
        self._run.changed()
        self.run()

    def now(self) -> datetime:
        """Return the time of the simulated system."""
        return self._simulated.clock.now()

    # -- faults

    @property
    def gateway(self) -> HuntedGateway:
        """The gateway, to set what happens to the next charge; the hunt chooses all other faults."""
        return HuntedGateway(self._simulated.own_gateway or self._simulated.gateway, self.faults)

    @property
    def extensions(self) -> Extensions:
        """The objects that this schedule uses as the shop's own gateway, pricing, policy and notifier."""
        return self.app.extensions

    # -- results

    def report(self) -> promises.Report:
        """Check the promises against all stores, the log, the gateway's book and the gate."""
        return promises.check(
            self.evidence,
            CODEC,
            now=self.now(),
            deadline_s=self._scope.deadline_s,
            settle_s=self._scope.settle_s,
        )

    # -- for the hunt

    def finished(self, failure: Exception | None) -> Outcome:
        """End all faults, run until no work is left, check the promises; `failure` is the test's exception.

        A fault that the test armed must happen in a schedule without other faults; in others, those may prevent it.
        """
        self._know_orders()
        if failure is None and not self._tape.deviations:
            try:
                self.faults.check()
            except NeverHappened as never:
                failure = never
        return self._run.finish(AssertionError(failure.short) if isinstance(failure, Unmet) else failure)

    @property
    def evidence(self) -> Evidence:
        """The read access to all stores, the log, the gateway's book and the gate."""
        return self._simulated.evidence

    @property
    def codec(self) -> Codec:
        """The codec of the messages in the log."""
        return CODEC

    @property
    def faults(self) -> Faults:
        """The faults that the test itself armed."""
        if self._faults is None:
            self._faults = Faults(self._simulated.clock)
        return self._faults

    @property
    def begun_at(self) -> datetime:
        """The start of this system, by its own clock."""
        return self._run.begun_at

    def stores(self) -> Mapping[str, Any]:
        """Return the store of each service and own step by name."""
        return self._simulated.stores

    @property
    def _run(self) -> Run:
        if self._made is None:
            app = self.app
            self._made = Run(
                self._scope, self._tape, own=app.own_steps, own_calls=app.own_calls, listener=self._listener
            )
            app.taken = True
            if self._database is not None:
                self._made.system.records["order"].joining = self._database.join
        return self._made

    @property
    def _simulated(self) -> SimulatedSystem:
        return self._run.system

    @property
    def orders(self) -> OrderUseCases:
        """The orders of the simulated system; their commands run without faults until they have a result."""
        checks = OrderChecks(*self.app.rules)
        return OrderUseCases.of(self._parts("order"), self._simulated.customers.ids, self._pump, CURRENCY, checks)

    @property
    def _stock(self) -> StockUseCases:
        return StockUseCases(self._parts("inventory"), self._simulated.ids, self._pump)

    def _parts(self, service: str) -> ServiceAssembly[Any]:
        return self._simulated.of(service)[0].assembly

    def _committed(self, orders: Sequence[OrderId]) -> None:
        """Note orders that the commit of the caller's transaction has made visible."""
        self._run.changed()
        for order in orders:
            self._simulated.customers.know(order)

    def _know_orders(self) -> None:
        """Note the orders that the test has placed directly through the app."""
        for _, order in self._simulated.records["order"].by_age.get(None, ()):
            self._simulated.customers.know(order)

    def _pump(self, assembly: ServiceAssembly[Any], future: Future[Any]) -> None:
        """Run a command of the test until it has a result, without faults: only `run` and `advance` have them."""
        self._run.changed()
        while not future.done():
            assembly.advance_commands()


class HuntedGateway(NextCharge):
    """The gateway of a hunted shop. An armed fault happens in each schedule, before the hunt's own choices."""

    def __init__(self, gateway: TapeGateway | LossyGateway, faults: Faults) -> None:
        self._gateway, self._faults = gateway, faults

    def decline_next(self) -> None:
        """Decline the next charge of any order."""
        self._next("declines", FAULT_WORDS[Behaviour.DECLINE])

    def lose_next_answer(self) -> None:
        """Capture the next charge and lose the response."""
        self._next(AFTER, FAULT_WORDS[Behaviour.NO_ANSWER_AFTER_CHARGE])

    def lose_next_call(self) -> None:
        """Lose the next charge before it has any effect."""
        self._next(BEFORE, FAULT_WORDS[Behaviour.NO_ANSWER_BEFORE_CHARGE])

    def hide_next(self) -> None:
        """Capture the next charge, lose the response, and don't find the charge for 8 s."""
        self._next("late", FAULT_WORDS[Behaviour.LATE])

    def _next(self, what: str, words: str) -> None:
        if isinstance(self._gateway, LossyGateway) and what not in (BEFORE, AFTER):
            raise ValueError("your own gateway decides this itself; a test can only lose its calls and responses")
        fault = self._faults.arm(Fault(words))
        self._gateway.armed.append((what, lambda: self._faults.record(fault)))
