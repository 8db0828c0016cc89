"""The whole system in one process for a test: virtual time, a scripted gateway, and nothing that moves by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from oms.adapters.gateways.book import MemoryBook
from oms.adapters.memory.call_executor import SequentialCallExecutor
from oms.adapters.memory.clock import CountedIds, ManualClock
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.application.use_cases.requests import TRUSTED
from oms.bootstrap.app import App
from oms.bootstrap.container import Extensions
from oms.bootstrap.create import CreateArguments, create
from oms.domain.commands import CancelOrder
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
from oms.testing.shop_protocol import AnyShop
from oms.testing.shop_view import order_id
from oms.testing.workers import Workers

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from oms.testing.joined import OrderDatabase

_OURS = ("stores", "broker", "gate")


SHOP_STOCK = 100
"""Units on hand of each product in a shop, unless the test says otherwise."""

TEST_CLIENT_HOST = "testserver"
"""The `Host` that the test clients of Starlette and FastAPI send unless told otherwise."""


class Shop(AnyShop):
    """An order system to test against. `place` accepts an order, `run` lets everything happen that can now.

    Time stands still until `advance`. The gateway captures every charge unless it is told otherwise
    (`shop.gateway.decline_next()`). Each product has 100 units unless `set_stock` says otherwise, where a system with
    default settings rejects orders of unknown products; `Shop(default_stock=None)` rejects them too. What goes wrong is
    asked of `gateway`, `worker("payment")`, `topic("payment.success")` and `gate`. Keyword arguments are those of
    `oms.create`: extensions, or single settings. A `clock` must be a `ManualClock`.
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

    # -- what a customer does

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
        """Place an order; it is accepted when this returns, and nothing else has happened yet.

        With a `connection` it is accepted with the commit of the caller's transaction.
        """
        command = self.app.draft(user, amount, items or {"apple": 1}, metadata)
        orders = self.app.orders.driven_by(self._pump)
        return orders.place(command, caller=caller, key=key, connection=connection)

    def order_database(self) -> Engine:
        """An engine whose connections `place(connection=...)` can join; see `AnyShop`."""
        from oms.testing.joined import OrderDatabase  # SQLAlchemy, which a shop in memory needs for this alone

        if self._foreign:
            raise ValueError(f"only a shop that makes its own stores in memory has one; this has {self._foreign[0]}")
        if self._database is None:
            self._database = OrderDatabase()
            self._workers.record("order").joining = self._database.join
        return self._database.engine

    def cancel(self, order: Order | str, *, by_operator: bool = False, caller: Principal = TRUSTED) -> Order:
        """Cancel an order, as its customer or as an operator."""
        command = CancelOrder(order_id(order), by_operator)
        return self.app.orders.driven_by(self._pump).cancel(command, caller=caller)

    def set_stock(self, sku: str, units: int) -> Stock:
        """Count a product: so many units are on hand."""
        return self.app.stock.driven_by(self._pump).set(sku, units)

    def publish(self, topic: str, value: bytes, key: bytes | None = None, headers: Headers = ()) -> None:
        """Put bytes into the log as a foreign producer would; raises `Permanent` if the log refuses the message."""
        for error in self.log.publish([Outgoing(topic, key, value, headers)]):
            if error is not None:
                raise error

    # -- what goes wrong

    @property
    def gateway(self) -> ShopGateway:
        """The payment gateway: what the next charge, or an order's, meets. Of no use where a gateway was given."""
        return self._gateway

    def worker(self, service: str) -> ShopWorker:
        """The worker of a service, or of an own step by its group: it crashes, fails, or falls asleep."""
        return worker_of(self._own_workers("a worker"), service, self.app.services)

    def topic(self, name: str) -> ShopTopic:
        """A topic of the log: its messages come again, or late."""
        self._own_workers("a topic")
        return ShopTopic(name, self._faults)

    @property
    def gate(self) -> ShopGate:
        """The stock gate, which is Redis in production: it forgets."""
        return ShopGate(self._own_workers("the gate"))

    @property
    def extensions(self) -> Extensions:
        """The shop's own gateway, pricing, policy and notifier."""
        return self._extensions

    # -- what time does

    def run(self) -> int:
        """Let everything happen that can happen now; how much moved."""
        return self.app.run() if self._foreign else self._workers.run()

    def advance(self, **time: float) -> None:
        """Let time pass (`minutes=15`), stopping at every moment at which something falls due on the way."""
        self._pass(timedelta(**time))

    def now(self) -> datetime:
        """What time it is here."""
        return self.clock.now()

    # -- what can be seen

    @property
    def log(self) -> Any:
        """The log itself: a `Broker` that shows its records."""
        return self.app.system.container.broker()

    def report(self) -> promises.Report:
        """The promises, checked against everything that is on record."""
        return promises.check(
            self.evidence,
            self.codec,
            now=self.clock.now(),
            deadline_s=self.app.settings.order_deadline_s,
            settle_s=self.app.settings.settle_s,
            kept_s=log_kept(self.app.settings.retention_days).total_seconds(),
        )

    def close(self) -> None:
        """The test is over; `NeverHappened` where it asked for faults that didn't happen."""
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
        """Everything that is on record."""
        return self.app.evidence

    @property
    def codec(self) -> Codec:
        """How messages are read."""
        found: Codec = self.app.system.container.codec()
        return found

    @property
    def faults(self) -> Faults:
        """The faults that the test asked for."""
        return self._faults

    @property
    def begun_at(self) -> datetime:
        """When this shop was made, by its own clock."""
        return self._begun_at

    def stores(self) -> Mapping[str, Any]:
        """The store of each service and own step, by its name."""
        return {name: part.service.store for name, part in self.app.system.assemblies.items()}

    def _pump(self, part: ServiceAssembly[Any], future: Future[Any]) -> None:
        drive: Callable[[ServiceAssembly[Any], Future[Any]], None] = self.app.drive
        if self._faults.at_calls and not self._foreign:
            drive = self._workers.command
        drive(part, future)

    def _own_workers(self, whose: str) -> Workers:
        if self._foreign:
            raise ValueError(f"{whose} can only be told to misbehave in a shop that makes its own: {self._foreign[0]}")
        return self._workers

    def _pass(self, by: timedelta) -> None:
        until = self.clock.now() + by
        self.run()
        while (due := self._due_before(until)) is not None:
            self.clock.set(due)
            self.run()
        if self.clock.now() < until:  # a worker that slept may have slept longer
            self.clock.set(until)
            self.run()

    def _due_before(self, until: datetime) -> datetime | None:
        """The next moment at which something falls due. What is due already waits for a step that backs off."""
        now = self.clock.now()
        waits = [self._workers.next_due()]
        for part in self.app.system.assemblies.values():
            waits += [part.store_due(), part.consumer.next_due(), part.commands.next_due()]
            waits += [part.relay.next_due(), *part.worker.retry_times()]
        return min((due for due in waits if due is not None and now < due <= until), default=None)


def _manual(clock: Clock | None) -> ManualClock:
    if clock is None or isinstance(clock, ManualClock):
        return clock or ManualClock()
    raise TypeError(f"clock must be a ManualClock, which `advance` can move, not a {type(clock).__name__}")
