"""Builds the services and steps of one process from the container's objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, cast

import attrs

from oms.application import inventory, notifications, orders, payments
from oms.application.extensions.gateway import book_of
from oms.application.inventory_work import InventoryWork
from oms.application.steps.context import OwnStep
from oms.application.steps.service import step_service
from oms.bootstrap import adapter_factories as make
from oms.bootstrap.container import Container, close_opened
from oms.domain.errors import NotFound
from oms.engine.assembly import ServiceAssembly, assemble
from oms.engine.dependencies import LOOK_EVERY_S, ServiceDependencies
from oms.engine.service import Runnable, Service
from oms.engine.worker import Every, log_retention
from oms.operations.consistency import Findings, look
from oms.ports.broker import TopicPartition, log_kept
from oms.ports.clock import Clock
from oms.ports.errors import Permanent, SettingsError
from oms.ports.evidence import Evidence, LogEvidence, StepEvidence
from oms.ports.stores.store import Store
from oms.settings import Settings

SERVICES = ("order", "inventory", "payment", "notification")


REGISTERED_EVERY_S = 5.0
"""Seconds between two checks of whether this process is still registered as the owner of its leases."""


@attrs.frozen
class System:
    """The services and steps that this process runs, by name."""

    container: Container
    assemblies: Mapping[str, ServiceAssembly[Any]]

    @property
    def order(self) -> ServiceAssembly[orders.OrderWork]:
        """The order service; raises `NotFound` if this process doesn't run it."""
        return self.assembly("order")

    @property
    def inventory(self) -> ServiceAssembly[InventoryWork]:
        """The inventory service; raises `NotFound` if this process doesn't run it."""
        return self.assembly("inventory")

    def assembly(self, name: str) -> ServiceAssembly[Any]:
        """Return a service or step by name; raises `NotFound` (`service_not_here`) if this process doesn't run it."""
        if name not in self.assemblies:
            raise NotFound("service_not_here", f"the {name} service doesn't run in this process")
        return self.assemblies[name]


def build(container: Container, own: Mapping[str, OwnStep], only: Collection[str] | None = None) -> System:
    """Build the system, or the services and steps named in `only`; opens their stores and the broker."""
    settings: Settings = container.settings()
    world = ServiceDependencies(
        container.broker(),
        container.codec(),
        container.clock(),
        container.ids(),
        container.telemetry(),
        batch=settings.batch,
        outbox_lease_s=settings.outbox_lease_s,
        task_lease_s=settings.task_lease_s,
        look_every_s=_unless_free(settings, LOOK_EVERY_S),
        forget_after_s=0.25 if settings.profile == "distributed" else 0.0,
        retention_days=settings.retention_days,
        health=container.health(),
        # Consumers in other processes can't be woken; they wait for records on the log itself.
        published=(lambda: None) if settings.profile == "distributed" else container.wakeups().wake_all,
    )
    wakeups, calls = container.wakeups(), container.calls()
    assemblies: dict[str, ServiceAssembly[Any]] = {}
    try:
        services = _services(container, world, own, only)
        files = container.files()
        if files.copied and not files.repairing:
            _check_copy(container, {name: service.store for name, (service, _) in services.items()})
        files.started()
    except BaseException:
        close_opened(container)  # so that the next start can open these objects again
        raise
    for name, (service, starts) in services.items():
        extra = _upkeep(service.store, world.clock) if settings.profile == "distributed" else ()
        more: dict[str, Any] = {"starts": starts, "extra": extra}
        if name == "order":
            grouped = settings.profile == "distributed"
            more |= {"lock": orders.OrderWork.lock, "extra": (*extra, *_log_steps(world)), "grouped": grouped}
        assemblies[name] = assemble(service, world, calls(name), woken=partial(make.wake, wakeups, name), **more)
    return System(container, assemblies)


def _check_copy(container: Container, stores: Mapping[str, Any]) -> None:
    """Raise `Permanent` for a copy that was made while the system ran, unless its files are consistent by chance."""
    settings, files = container.settings(), container.files()
    found = findings(container, stores).lines if set(SERVICES) <= stores.keys() else ()
    if found:
        raise Permanent(
            f"{settings.data} is a copy that was made while the system ran, and its files don't agree: "
            f"{'; '.join(found)}. Restore a backup, or run `oms repair --data {settings.data}`"
        )
    container.telemetry().note("copy of a running system checked", directory=str(files.directory))


def findings(container: Container, stores: Mapping[str, Any]) -> Findings:
    """Return the inconsistencies between the files of an embedded system; `stores` are by service."""
    settings, log = container.settings(), cast("LogEvidence", container.broker())
    order, stock, payment, notification = (stores[name] for name in SERVICES)
    evidence = Evidence(order, stock, payment, notification, log)
    return look(evidence, container.codec(), container.clock().now() - log_kept(settings.retention_days))


def _services(
    container: Container, world: ServiceDependencies, own: Mapping[str, OwnStep], only: Collection[str] | None
) -> Mapping[str, tuple[Service[Any], Mapping[TopicPartition, int]]]:
    """Return each service by name, with the offsets at which its group begins.

    The caller makes the consumers, which join the groups, only afterwards: all stores then have the same currency, and
    all starting offsets are stored.
    """
    services: dict[str, Service[Any]] = {}
    try:
        for name in (*SERVICES, *own):
            if only is None or name in only:
                service = services[name] = _service(container, name, world.clock, own)
                check_currency(name, service.store.currency(), container.settings())
        return {name: (service, service.starts(world.broker)) for name, service in services.items()}
    except BaseException:
        for service in services.values():
            service.store.close()
        raise


def _upkeep(store: Store, clock: Clock) -> tuple[Runnable, ...]:
    return (Every(REGISTERED_EVERY_S, store.keep_registration, clock),)


def _log_steps(world: ServiceDependencies) -> tuple[Runnable, ...]:
    """Return the step that deletes old records, for a log that, unlike Kafka, doesn't do so by itself."""
    purge = getattr(world.broker, "purge", None)
    return () if purge is None else (log_retention(purge, world.clock, world.retention_days),)


def _unless_free(settings: Settings, seconds: float) -> float:
    """Return the seconds between two polls for changes without a wake-up; 0 in memory, where a poll costs nothing."""
    return 0.0 if settings.profile == "memory" else seconds


def _service(container: Container, name: str, clock: Clock, own: Mapping[str, OwnStep]) -> Service[Any]:
    settings: Settings = container.settings()
    store = container.stores()
    match name:
        case "order":
            return orders.order_service(store("order"), clock, deadline_s=settings.order_deadline_s)
        case "inventory":
            return inventory.inventory_service(
                store("inventory"),
                clock,
                gate=container.gate(),
                default_stock=settings.default_stock,
                look_every_s=_unless_free(settings, 0.25),  # after a rebuild of the gate, a batch may wait this long
            )
        case "payment":
            window = _settle_window_s(container)
            gateway, telemetry = container.gateway(), container.telemetry()
            return payments.payment_service(store("payment"), clock, gateway, telemetry, settle_window_s=window)
        case "notification":
            token = container.ids().token
            return notifications.notification_service(store("notification"), clock, container.notifier(), token)
        case _:
            return step_service(store(f"step-{name}"), clock, container.telemetry(), name, own[name])


def _settle_window_s(container: Container) -> float:
    """Return the seconds for which a charge that the gateway doesn't know may still be on its way.

    It is 0 for the simulated gateway of the embedded profile: it has one process, and its charges end with it.
    """
    settings: Settings = container.settings()
    provider: Any = container.gateway
    ends_here = settings.payment_gateway == "simulated" and not provider.overridden
    return 0.0 if ends_here and settings.profile == "embedded" else settings.payment_settle_window_s


def evidence_of(system: System, own: Mapping[str, OwnStep]) -> Evidence:
    """Return all records of a system, for checks of the promises, with the gateway's book if it has one.

    Raises `NotFound` if one of the four services runs in another process.
    """
    stores: Mapping[str, Any] = {name: system.assembly(name).service.store for name in SERVICES}
    gate: Any = system.container.gate()
    return Evidence(
        stores["order"],
        stores["inventory"],
        stores["payment"],
        stores["notification"],
        system.container.broker(),
        book_of(system.container.gateway()),
        gate if hasattr(gate, "all_available") else None,
        {
            name: StepEvidence(cast("Any", system.assemblies[name].service.store), tuple(step.handlers))
            for name, step in own.items()
            if name in system.assemblies
        },
    )


def check_currency(name: str, kept: str | None, settings: Settings) -> None:
    """Raise `SettingsError` unless a store's currency is that of the settings, or isn't pinned yet."""
    if kept not in (None, settings.currency):
        raise SettingsError(
            f"OMS_CURRENCY: it is {settings.currency}, but the amounts of the {name} store are in {kept}; "
            f"set OMS_CURRENCY={kept}, or use another store"
        )
