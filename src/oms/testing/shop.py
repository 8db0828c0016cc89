"""The whole system in one process for a test: virtual time, a scripted gateway, and no threads of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from oms.adapters.gateways.book import MemoryBook
from oms.adapters.memory.call_executor import SequentialCallExecutor
from oms.adapters.memory.clock import CountedIds, ManualClock
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.application.use_cases.orders import OrderUseCases
from oms.application.use_cases.requests import TRUSTED
from oms.bootstrap.app import App
from oms.bootstrap.container import Extensions
from oms.bootstrap.create import CreateArguments, create
from oms.domain.commands import CancelOrder
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.order import Order
from oms.domain.stock import Stock
from oms.engine.assembly import ServiceAssembly
from oms.operations import promises
from oms.ports.broker import log_kept
from oms.ports.clock import Clock, Ids
from oms.ports.evidence import Evidence
from oms.ports.extensions import Principal
from oms.ports.messages import Codec, Headers, Outgoing
from oms.settings import Settings, changed
from oms.testing.fault_targets import ShopGate, ShopGateway, ShopTopic, ShopWorker, worker_of
from oms.testing.faults import Faults
from oms.testing.shop_protocol import ONE_APPLE, AnyShop
from oms.testing.shop_view import order_id
from oms.testing.workers import Workers

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from oms.testing.joined import OrderDatabase

_OURS = ("stores", "broker", "gate")


SHOP_STOCK = 100
"""Default units on hand of each product in a shop."""

TEST_CLIENT_HOST = "testserver"
"""The default `Host` header of the test clients of Starlette and FastAPI."""


class Shop(AnyShop):
    """An order system to test against. `place` accepts an order; `run` runs all services until none has work left.

    Only `advance` moves the time. The gateway captures every charge unless a test arms a fault
    (`shop.gateway.decline_next()`). Each product has 100 units unless the test calls `set_stock`. A system with default
    settings rejects orders of unknown products instead, as `Shop(default_stock=None)` does. Arm faults with `gateway`,
    `worker("payment")`, `topic("payment.success")` and `gate`. Keyword arguments are those of `oms.create`: extensions,
    or single settings. A `clock` must be a `ManualClock`.
    """

    def __init__(self, *, settings: Settings | None = None, **given: Unpack[CreateArguments]) -> None:
        self.clock = _manual(given.get("clock"))
        self.ids: Ids = given.get("ids") or CountedIds()
        self.telemetry = RecordingTelemetry()
        self._begun_at = self.clock.now()
        self._faults = Faults(self.clock)
        self._database: OrderDatabase | None = None
        arguments: dict[str, Any] = {**given}
        own = ("gateway", "pricing", "policy", "notifier")
        self._extensions = Extensions(**{name: arguments[name] for name in own if name in given})
        self._gateway = ShopGateway(MemoryBook(), self.clock, self._faults)
        settings = settings or Settings(profile="memory", http_hosts=("localhost", TEST_CLIENT_HOST))
        if settings.default_stock is None:
            arguments.setdefault("default_stock", SHOP_STOCK)
        log = changed(settings, **{name: arguments[name] for name in ("profile", "partitions") if name in given})
        self._workers = Workers(self.clock, self.ids, self._faults, log.partitions)
        made: dict[str, Any] = {
            "telemetry": self.telemetry,
            "gateway": self._gateway,
            "calls": lambda name: SequentialCallExecutor(
                500, point=self._workers.point, clock=self.clock, limit_s=self.app.settings.call_limit_s(name)
            ),
        }
        self._foreign = [name for name in _OURS if name in given]
        if log.profile != "memory":
            self._foreign.append("profile")
        elif not self._foreign:
            made |= {"stores": self._workers.stores(), "broker": self._workers.log, "gate": self._workers.gate}
        arguments |= {"clock": self.clock, "ids": self.ids}
        self.app: App = create(settings, **{**made, **arguments})
        self._workers.app, self._workers.pass_time = self.app, self._pass

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
        """Place an order of `items` or `lines`; it is accepted on return, and no service has processed it yet.

        With a `connection` the commit of the caller's transaction accepts it.
        """
        wanted = items or (ONE_APPLE if lines is None else None)
        command = self.app.draft(user, amount, wanted, metadata, lines=lines, charges=charges)
        return self.orders.place(command, caller=caller, key=key, connection=connection)

    def order_database(self) -> Engine:
        """An engine whose connections `place(connection=...)` can join; see `AnyShop`."""
        from oms.testing.joined import OrderDatabase  # imports SQLAlchemy, which a shop in memory needs only here

        if self._foreign:
            raise ValueError(f"only a shop that makes its own stores in memory has one; this has {self._foreign[0]}")
        if self._database is None:
            self._database = OrderDatabase()
            self._workers.record("order").joining = self._database.join
        return self._database.engine

    def cancel(self, order: Order | str, *, by_operator: bool = False, caller: Principal = TRUSTED) -> Order:
        """Cancel an order, as its customer or as an operator."""
        command = CancelOrder(order_id(order), by_operator)
        return self.orders.cancel(command, caller=caller)

    @property
    def orders(self) -> OrderUseCases:
        """The orders of the system; their commands run until they have a result."""
        return self.app.orders.driven_by(self._pump)

    def set_stock(self, sku: str, units: int) -> Stock:
        """Set the units of a product that are on hand."""
        return self.app.stock.driven_by(self._pump).set(sku, units)

    def publish(self, topic: str, value: bytes, key: bytes | None = None, headers: Headers = ()) -> None:
        """Append a message to the log as another producer would; raises `Permanent` if the log refuses it."""
        for error in self.log.publish([Outgoing(topic, key, value, headers)]):
            if error is not None:
                raise error

    # -- faults

    @property
    def gateway(self) -> ShopGateway:
        """The payment gateway, to set the results of charges. Has no effect in a shop with a gateway of its own."""
        return self._gateway

    def worker(self, service: str) -> ShopWorker:
        """Return the worker of a service, or of an own step by its group, to make it crash, fail or pause."""
        return worker_of(self._own_workers("a worker"), service, self.app.services)

    def topic(self, name: str) -> ShopTopic:
        """Return a topic of the log, to repeat or delay its messages."""
        self._own_workers("a topic")
        return ShopTopic(name, self._faults)

    @property
    def gate(self) -> ShopGate:
        """The stock gate (Redis in production), to make it lose data."""
        return ShopGate(self._own_workers("the gate"))

    @property
    def extensions(self) -> Extensions:
        """The shop's own gateway, pricing, policy and notifier; None for each that it doesn't have."""
        return self._extensions

    # -- time

    def run(self) -> int:
        """Run all services until none has work left at the present time; return how much work was done."""
        return self.app.run() if self._foreign else self._workers.run()

    def advance(self, **time: float) -> None:
        """Let time pass (`minutes=15`), and run everything that falls due meanwhile, at its time."""
        self._pass(timedelta(**time))

    def now(self) -> datetime:
        """Return the shop's time."""
        return self.clock.now()

    # -- results

    @property
    def log(self) -> Any:
        """The message log: a `Broker` whose records can be read with `all_records`."""
        return self.app.system.container.broker()

    def report(self) -> promises.Report:
        """Check the promises against all stores, the log, the gateway's book and the gate."""
        return promises.check(
            self.evidence,
            self.codec,
            now=self.clock.now(),
            deadline_s=self.app.settings.order_deadline_s,
            settle_s=self.app.settings.settle_s,
            kept_s=log_kept(self.app.settings.retention_days).total_seconds(),
        )

    def close(self) -> None:
        """Stop the shop; raises `NeverHappened` if an armed fault didn't happen."""
        self.app.stop()
        self._faults.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.app.stop()

    # -- for the harness

    @property
    def evidence(self) -> Evidence:
        """The read access to all stores, the log, the gateway's book and the gate."""
        return self.app.evidence

    @property
    def codec(self) -> Codec:
        """The codec of the messages in the log."""
        found: Codec = self.app.system.container.codec()
        return found

    @property
    def faults(self) -> Faults:
        """The faults that the test armed."""
        return self._faults

    @property
    def begun_at(self) -> datetime:
        """The time at which this shop was made, by its own clock."""
        return self._begun_at

    def stores(self) -> Mapping[str, Any]:
        """Return the store of each service and own step by name."""
        return {name: assembly.service.store for name, assembly in self.app.system.assemblies.items()}

    def _pump(self, assembly: ServiceAssembly[Any], future: Future[Any]) -> None:
        drive: Callable[[ServiceAssembly[Any], Future[Any]], None] = self.app.drive
        if self._faults.at_calls and not self._foreign:
            drive = self._workers.command
        drive(assembly, future)

    def _own_workers(self, whose: str) -> Workers:
        if self._foreign:
            raise ValueError(f"{whose} can have faults only in a shop with stores of its own: {self._foreign[0]}")
        return self._workers

    def _pass(self, by: timedelta) -> None:
        until = self.clock.now() + by
        self.run()
        while (due := self._due_before(until)) is not None:
            self.clock.set(due)
            self.run()
        if self.clock.now() < until:  # not if a paused worker has already moved the time further
            self.clock.set(until)
            self.run()

    def _due_before(self, until: datetime) -> datetime | None:
        """Return the next time after now at which work falls due. Overdue work waits for a step that backs off."""
        now = self.clock.now()
        waits = [self._workers.next_due()]
        for assembly in self.app.system.assemblies.values():
            waits += [assembly.store_due(), assembly.consumer.next_due(), assembly.commands.next_due()]
            waits += [assembly.relay.next_due(), *assembly.worker.retry_times()]
        return min((due for due in waits if due is not None and now < due <= until), default=None)


def _manual(clock: Clock | None) -> ManualClock:
    if clock is None or isinstance(clock, ManualClock):
        return clock or ManualClock()
    raise TypeError(f"clock must be a ManualClock, which `advance` can move, not a {type(clock).__name__}")
