"""Imports orders and stock from the Spring system: checks every row first, then writes through the services.

Each order and each stock count is one command of the owning service and is imported once. After an interrupted run, the
next run imports the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import attrs

from oms.adapters.system.no_log import NoLog
from oms.application import inventory, notifications, orders, payments
from oms.application.inventory_work import InventoryWork
from oms.application.use_cases.requests import future_of
from oms.application.use_cases.stock import stock_command
from oms.bootstrap.app import App
from oms.bootstrap.create import create
from oms.bootstrap.servers import topics_of
from oms.domain.commands import SetStock
from oms.domain.errors import DomainError
from oms.domain.order import Order
from oms.domain.stock import Stock
from oms.engine.assembly import ServiceAssembly
from oms.engine.command_groups import Command
from oms.engine.unit_of_work import UnitOfWork
from oms.operations.spring_rules import ORIGIN, Import, checked_count, checked_order
from oms.ports.errors import PortError, SettingsError
from oms.ports.findings import warning
from oms.ports.legacy import LegacyOrders, LegacyStock
from oms.settings import Settings

T = TypeVar("T")

BATCH = 500
"""Orders that are imported in one transaction."""

Print = Callable[[str], None]
"""Receives a line for each row that can't be imported."""


@attrs.define
class Tally:
    """Numbers of rows of one kind: `new` ones to import, `known` ones that were imported before, `bad` ones."""

    new: int = 0
    known: int = 0
    bad: int = 0


@attrs.frozen
class Found:
    """The rows that were found; None for orders or stock whose server isn't set."""

    orders: Tally | None
    stock: Tally | None

    @property
    def bad(self) -> int:
        """The number of rows that can't be imported."""
        return sum(tally.bad for tally in (self.orders, self.stock) if tally is not None)


class Migration:
    """Imports from the Spring system into an app, whose order and inventory services may run in other processes."""

    def __init__(
        self, app: App, from_orders: LegacyOrders | None, from_stock: LegacyStock | None, print_line: Print
    ) -> None:
        self._app, self._orders, self._stock, self._print = app, from_orders, from_stock, print_line

    def look(self) -> Found:
        """Check every row without changing anything; return the numbers."""
        stock, products = self._look_at_stock()
        return Found(self._look_at_orders(products), stock)

    def apply(self) -> Found:
        """Import the good rows that weren't imported before; return the numbers from before the import."""
        stock, products = self._count_stock()
        return Found(self._import_orders(products), stock)

    # -- stock

    def _look_at_stock(self) -> tuple[Tally | None, Collection[str] | None]:
        tally, _, products = self._good_counts()
        return tally, products

    def _count_stock(self) -> tuple[Tally | None, Collection[str] | None]:
        tally, new, products = self._good_counts()
        assembly = self._app.system.inventory
        for command in new:
            change = stock_command(assembly, command.sku, partial(_counted_as, command), ORIGIN)
            self._done(assembly, [future_of(partial(assembly.commands.submit, change))])
        if new:
            _run_out(assembly)
        return tally, products

    def _good_counts(self) -> tuple[Tally | None, Sequence[SetStock], Collection[str] | None]:
        if self._stock is None:
            return None, (), None
        tally, new, products = Tally(), [], set()
        counted = self._counted()
        for product, text in self._stock.counts():
            products.add(product)
            command = self._checked(tally, f"inventory:{product}", partial(checked_count, product, text))
            if command is not None and command.sku in counted:
                tally.known += 1
            elif command is not None:
                tally.new += 1
                new.append(command)
        return tally, new, products

    def _counted(self) -> frozenset[str]:
        store: Any = self._app.system.inventory.service.store
        return frozenset(movement.sku for movement in store.all_movements() if movement.reference == ORIGIN)

    # -- orders

    def _look_at_orders(self, products: Collection[str] | None) -> Tally | None:
        if self._orders is None:
            return None
        tally = Tally()
        for found in self._good_orders(self._orders, tally, products):
            self._count(tally, found)
        return tally

    def _import_orders(self, products: Collection[str] | None) -> Tally | None:
        if self._orders is None:
            return None
        tally, assembly = Tally(), self._app.system.order
        for some in _chunks(self._good_orders(self._orders, tally, products)):
            new = [found for found in some if self._count(tally, found)]
            self._done(assembly, [future_of(partial(assembly.commands.submit, _import_of(found))) for found in new])
        return tally

    def _good_orders(self, there: LegacyOrders, tally: Tally, products: Collection[str] | None) -> Iterator[Import]:
        for row in there.orders():
            check = partial(checked_order, row, self._app.money, products)
            found = self._checked(tally, f"order {row.id}", check)
            if found is not None:
                yield found

    def _count(self, tally: Tally, found: Import) -> bool:
        """Count an order as new or known, and return whether it is new."""
        store: Any = self._app.system.order.service.store
        is_new = store.order(found.order_id, None) is None
        tally.new += is_new
        tally.known += not is_new
        return is_new

    # -- both

    def _checked(self, tally: Tally, name: str, check: Callable[[], T]) -> T | None:
        try:
            return check()
        except DomainError as refused:
            tally.bad += 1
            self._print(f"{name}: {refused.detail}")
            return None

    def _done(self, assembly: ServiceAssembly[Any], requested: Sequence[Future[Any]]) -> None:
        for future in requested:
            self._app.drive(assembly, future)
            future.result()


def _run_out(assembly: ServiceAssembly[Any]) -> None:
    """Run the tasks that update the gate; tasks that fail now are left to a running service."""
    while assembly.tasks.run_once() > 0:
        pass


def _import_of(found: Import) -> Command[orders.OrderWork, Order]:
    def apply(unit: UnitOfWork[orders.OrderWork]) -> Order:
        return orders.adopt_legacy(unit.work, found.order_id, found.terms, found.created_at, found.detail)

    return Command(apply, names=(found.order_id,))


def _counted_as(command: SetStock, work: InventoryWork, reference: str) -> Stock:
    return inventory.set_stock(work, command, reference)


def _chunks(found: Iterable[Import]) -> Iterator[Sequence[Import]]:
    rest = iter(found)
    while some := list(islice(rest, BATCH)):
        yield some


def migrate(settings: Settings, print_line: Print, *, apply: bool, skip_bad: bool) -> tuple[Found, bool]:
    """Check every row and, with `apply`, import them; return the numbers, and whether the import was done.

    Bad rows prevent the import of all rows unless `skip_bad` is set. `print_line` receives a line for each bad row, and
    warnings, which don't prevent the import.
    """
    if settings.profile == "memory":
        raise SettingsError("OMS_PROFILE: a system of profile 'memory' keeps nothing")
    there = legacy_of(settings)
    for line in left_to_read(settings):
        print_line(str(warning(line)))
    with _app(_for_a_look(settings)) as app:
        found = Migration(app, *there, print_line).look()
    if not apply or (found.bad and not skip_bad):
        return found, False
    with _app(settings) as app:
        Migration(app, *there, lambda _line: None).apply()
    return found, True


@contextmanager
def _app(settings: Settings) -> Iterator[App]:
    """Yield an app with the order and inventory services, without threads and consumer groups.

    Only warnings and errors are logged, because the command's output is its report.
    """
    quiet = settings if settings.log_level == "error" else attrs.evolve(settings, log_level="warning")
    app = create(quiet, services=("order", "inventory"), broker=NoLog())
    try:
        yield app
    finally:
        app.stop()


def _for_a_look(settings: Settings) -> Settings:
    """Return the settings for a check, which must not make files: memory instead of a system that doesn't exist yet."""
    files = [settings.data / f"{name}.db" for name in ("order", "inventory")]
    is_new = settings.profile == "embedded" and not all(file.exists() for file in files)
    return attrs.evolve(settings, profile="memory") if is_new else settings


def legacy_of(settings: Settings) -> tuple[LegacyOrders | None, LegacyStock | None]:
    """Return the readers of the Spring system's orders and stock; `SettingsError` if the settings name neither."""
    from oms.adapters.redis.legacy import RedisLegacyStock
    from oms.adapters.sql.postgres.legacy import PostgresLegacyOrders

    if not (settings.spring_postgres_url or settings.spring_redis_url):
        raise SettingsError(
            "OMS_SPRING_POSTGRES_URL and OMS_SPRING_REDIS_URL are the addresses of the Spring system; set them"
        )
    orders = PostgresLegacyOrders.from_config(settings.spring_postgres) if settings.spring_postgres else None
    return orders, RedisLegacyStock(settings.spring_redis) if settings.spring_redis else None


def left_to_read(settings: Settings) -> Sequence[str]:
    """Return a line for each topic that groups of the Spring system haven't read to its end; none without Kafka."""
    if settings.profile != "distributed":
        return ()
    from oms.adapters.kafka.conf import reader_conf
    from oms.adapters.kafka.group_offsets import unread

    groups = (inventory.GROUP, payments.GROUP, notifications.GROUP)
    try:
        left = {group: unread(reader_conf(settings.kafka), group, topics_of({})) for group in groups}
    except PortError as error:
        return [f"can't find out whether {', '.join(groups)} have read all messages: {error}"]
    return [
        f"{group} hasn't read {count} messages of {topic}: oms will handle them, and charge their orders"
        for group, topics in left.items()
        for topic, count in topics.items()
    ]
