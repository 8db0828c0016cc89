"""The composition root: the only place that knows every adapter, and the only one that knows dependency-injector.

Each provider is chosen by the profile; what a shop brings along overrides its provider. Nothing is imported or
opened before it is asked for, so a profile's drivers are needed only where that profile is used.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs
from dependency_injector import containers, providers

from oms.adapters.data_directory import backup
from oms.adapters.data_directory.backup import Backup
from oms.adapters.data_directory.files import BOOK, SystemFiles
from oms.application import inventory, notifications, orders, payments, subscribers
from oms.application.extensions.caller import CheckedAuthenticator
from oms.application.extensions.calling import described
from oms.application.extensions.gateway import book_of
from oms.application.extensions.ids import CheckedIds
from oms.application.extensions.notifier import CheckedNotifier
from oms.application.extensions.shapes import WrongShape, check_port
from oms.application.extensions.telemetry import CheckedTelemetry
from oms.application.extensions.terms import CheckedPolicy, CheckedPricing
from oms.application.inventory_work import InventoryWork
from oms.application.routing import ROUTING
from oms.application.subscribers import OwnStep
from oms.application.topic_rights import topic_access
from oms.domain.errors import NotFound
from oms.domain.money import Currency
from oms.engine.assembly import TASKS, ServiceAssembly, assemble, lane_name
from oms.engine.dependencies import LOOK_EVERY_S, ServiceDependencies
from oms.engine.health import PROCESS, HealthRecord
from oms.engine.service import Runnable, Service
from oms.engine.worker import Every, log_retention
from oms.operations.consistency import Findings, look
from oms.ports.broker import Broker, TopicPartition, log_kept
from oms.ports.call_executor import CallExecutor
from oms.ports.clock import Clock, Ids
from oms.ports.errors import Permanent, PortError, SettingsError
from oms.ports.evidence import Evidence, GatewayBook, LogEvidence, StepEvidence
from oms.ports.extensions import Authentication, Authenticator, Notifier, PaymentGateway, Policy, Pricing, Role
from oms.ports.gate import StockGate
from oms.ports.legacy import LegacyOrders, LegacyStock
from oms.ports.messages import Codec, copies_topic
from oms.ports.sorting import MakeSorter
from oms.ports.stores.inventory import InventoryStore
from oms.ports.stores.rows import Task
from oms.ports.stores.store import Store
from oms.ports.telemetry import Telemetry
from oms.runtime.wakeups import Wakeups
from oms.settings import Settings

P = TypeVar("P")

SERVICES = ("order", "inventory", "payment", "notification")

REGISTERED_EVERY_S = 5.0
"""How often a process asks whether it is still registered as the owner of its leases."""

CALLS_AHEAD_S = 0.25
"""Outside calls that are quick may wait so long for a thread: far below the lease of their tasks."""


@attrs.frozen(kw_only=True)
class Extensions:
    """What a shop brings along, in place of what the settings name; None leaves the choice to the settings."""

    gateway: PaymentGateway | None = None
    notifier: Notifier | None = None
    pricing: Pricing | None = None
    policy: Policy | None = None
    authenticator: Authenticator | None = None
    clock: Clock | None = None
    ids: Ids | None = None
    broker: Broker | None = None
    stores: Mapping[str, Store] | None = None
    """By service name; a step's store by its group."""

    gate: StockGate | None = None
    telemetry: Telemetry | None = None
    calls: Callable[[str], CallExecutor[Task]] | None = None
    """Makes the outside calls of a service, by its name."""


def imported(path: str, variable: str) -> Any:
    """Import the object that a path `package.module:Name` names; `SettingsError` for any error while importing."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise SettingsError(f"{variable}: can't import {path!r}: {_described(error)}") from error


def plugged(path: str, variable: str, port: type[Any]) -> Any:
    """Return an extension by its import path; a class or function is called without arguments.

    Raises `SettingsError` where it can't be made, lacks a method of its port, or has one that can't be called as the
    port's is.
    """
    found = imported(path, variable)
    try:
        made = found() if callable(found) else found
    except Exception as error:
        raise SettingsError(f"{variable}: {path!r} can't be called without arguments: {_described(error)}") from error
    return _fitting(variable, made, port)


def _described(error: Exception) -> str:
    """Return an error's type, text and place on one line, for the author of the code that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
    here = frame.filename == __file__ or "importlib" in frame.filename
    return text if here else f"{text} ({frame.filename}, line {frame.lineno})"


def _fitting(argument: str, given: Any, port: type[Any]) -> Any:
    try:
        check_port(argument, given, port)
    except WrongShape as error:
        raise SettingsError(str(error)) from None
    return given


@attrs.define
class Opened:
    """The objects that a container made from its settings and that may hold files, connections or threads."""

    _objects: list[tuple[str, Any]] = attrs.field(factory=list)

    def note(self, name: str, made: P) -> P:
        """Remember an object under the name of its provider; returns the object."""
        self._objects.append((name, made))
        return made

    def take(self) -> Sequence[tuple[str, Any]]:
        """Return the objects, the newest first, and forget them."""
        objects, self._objects = self._objects, []
        return objects[::-1]


def close_opened(container: Container) -> None:
    """Close every object that the container made from its settings; the next use makes it anew.

    An object that the shop gave isn't closed. An error of a `close` is logged, and the others are closed nevertheless.
    """
    for name, made in container.opened().take():
        close_one(made, container.telemetry())
        for dependent in (name, name.removeprefix("given_")):
            getattr(container, dependent).reset()


def close_one(thing: Any, telemetry: Telemetry) -> None:
    """Call `close` where there is one; an error of it is logged and ends nothing."""
    close = getattr(thing, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception as error:  # noqa: BLE001 - also a shop's own code, and the rest has to be closed as well
        telemetry.alert("close failed", thing=type(thing).__name__, cause=f"{type(error).__name__}: {error}")


def _named(path: str | None, variable: str, port: type[Any], opened: Opened, name: str) -> Any:
    return opened.note(name, plugged(path, variable, port)) if path else None


def _checked(given: Any, wrapper: Callable[..., Any], *more: Any) -> Any:
    """Put the check of its answers around an extension; None is none."""
    return None if given is None else wrapper(given, *more)


def _checked_authenticator(given: Authenticator) -> Authenticator:
    """Our own two are asked with each request, and check at the start what they answer."""
    return CheckedAuthenticator(given) if authentication_of(given) is Authentication.HOST else given


def authentication_of(authenticator: Authenticator) -> Authentication:
    """How callers prove to this authenticator who they are."""
    from oms.adapters.auth.api_keys import ApiKeys
    from oms.adapters.auth.trust import TrustEveryone

    if isinstance(authenticator, TrustEveryone):
        return Authentication.NONE
    return Authentication.API_KEYS if isinstance(authenticator, ApiKeys) else Authentication.HOST


def new_api_key(name: str, role: Role, user: str | None) -> tuple[str, Mapping[str, object]]:
    """Make an API key; returns the key and its entry for the keys file, which holds only a hash of it."""
    from oms.adapters.auth.api_keys import new_key

    return new_key(name, role, user)


def console_telemetry() -> Any:
    """Telemetry that writes errors to stdout as text for people."""
    from oms.adapters.telemetry.logs_and_metrics import StructlogTelemetry

    return StructlogTelemetry(level="error", form="console", stream=sys.stdout)


def _clock() -> Clock:
    from oms.adapters.system.clock import SystemClock

    return SystemClock()


def _ids() -> Ids:
    from oms.adapters.system.ids import SystemIds

    return SystemIds()


def _telemetry(settings: Settings) -> Telemetry:
    from oms.adapters.telemetry.logs_and_metrics import StructlogTelemetry

    return StructlogTelemetry.from_settings(settings)


def _health(clock: Clock, telemetry: Telemetry) -> HealthRecord:
    record = HealthRecord(clock, telemetry)
    record.of(PROCESS)
    return record


def _codec(settings: Settings) -> Codec:
    from oms.adapters.wire.codec import JsonCodec

    return JsonCodec(Currency.of(settings.currency), spring=settings.http_compat == "spring")


def _currency(settings: Settings) -> Currency:
    return Currency.of(settings.currency)


def _memory_log(settings: Settings) -> Broker:
    from oms.adapters.memory.log import MemoryLog

    return MemoryLog(settings.partitions)


def _files(settings: Settings, note: Callable[..., None]) -> SystemFiles:
    groups = {consumes.group: name for name, consumes in ROUTING.items()}
    return SystemFiles(settings.data, groups, note)


def _sqlite_log(settings: Settings, clock: Clock, files: SystemFiles, opened: Opened) -> Broker:
    from oms.adapters.sqlite_log.log import SqliteLog

    log = SqliteLog(files.prepare(), clock=clock, partitions=settings.partitions, files=files)
    return opened.note("sqlite_log", log)


def _memory_stores(clock: Clock, ids: Ids) -> Callable[[str], Store]:
    """Makes stores; the memory of each service outlives its stores, as a file or a server would."""
    from oms.adapters.memory.inventory import MemoryInventoryStore
    from oms.adapters.memory.notifications import MemoryNotificationStore
    from oms.adapters.memory.orders import MemoryOrderStore
    from oms.adapters.memory.payments import MemoryPaymentStore
    from oms.adapters.memory.steps import MemoryStepStore

    kinds: Mapping[str, type[MemoryOrderStore | MemoryInventoryStore | MemoryPaymentStore | MemoryNotificationStore]]
    kinds = {
        "order": MemoryOrderStore,
        "inventory": MemoryInventoryStore,
        "payment": MemoryPaymentStore,
        "notification": MemoryNotificationStore,
    }
    first: dict[str, Any] = {}

    def store(name: str) -> Store:
        if name not in first:
            first[name] = kinds.get(name, MemoryStepStore)(clock, ids)
        made: Store = first[name].worker("worker")
        return made

    return store


def _sqlite_stores(clock: Clock, ids: Ids, files: SystemFiles, log: Callable[[], Broker]) -> Callable[[str], Store]:
    from oms.adapters.sql import factory

    def opened(name: str) -> Store:
        broker: Any = log()  # first of all files
        store = factory.sqlite_store(name, files.admit(name), clock, ids)
        files.made(name)
        if files.system is not None:
            store.log_end = lambda: broker.end
        return store

    return opened


def _kafka_log(settings: Settings, telemetry: Telemetry, opened: Opened) -> Broker:
    from oms.adapters.kafka.broker import KafkaBroker

    return opened.note("kafka_log", KafkaBroker.from_settings(settings, telemetry))


def _postgres_stores(settings: Settings, ids: Ids) -> Callable[[str], Store]:
    from oms.adapters.sql import factory

    return lambda name: factory.postgres_store(name, settings, ids)


def _redis_gate(settings: Settings, clock: Clock, opened: Opened) -> StockGate:
    from oms.adapters.redis.gate import RedisGate

    return opened.note("redis_gate", RedisGate.from_settings(settings, clock))


def _memory_gate(clock: Clock) -> StockGate:
    from oms.adapters.memory.gate import MemoryGate

    return MemoryGate(clock)


def _gateway(
    settings: Settings, clock: Clock, files: SystemFiles, log: Callable[[], Broker], opened: Opened
) -> PaymentGateway:
    if settings.payment_gateway != "simulated":
        gateway: PaymentGateway = plugged(settings.payment_gateway, "OMS_PAYMENT_GATEWAY", PaymentGateway)
        return opened.note("gateway", gateway)
    from oms.adapters.gateways.simulated import SimulatedGateway

    if settings.profile == "memory":  # its book is in memory, and outlives a stop as all records in memory do
        return SimulatedGateway.from_settings(settings, clock, None)
    if settings.profile == "embedded":
        log()  # first of all files
    gateway = SimulatedGateway.from_settings(settings, clock, files.admit(BOOK))
    files.made(BOOK)
    return opened.note("gateway", gateway)


def _notifier(settings: Settings, clock: Clock, opened: Opened) -> Notifier | None:
    if settings.notifier == "log":
        return None  # the log has a line of each notification anyway
    if settings.notifier == "webhook":
        from oms.adapters.notifiers.webhook import WebhookNotifier

        return opened.note("given_notifier", WebhookNotifier.from_settings(settings, clock))
    notifier: Notifier = plugged(settings.notifier, "OMS_NOTIFIER", Notifier)
    return opened.note("given_notifier", notifier)


def _authenticator(settings: Settings, clock: Clock, telemetry: Telemetry, opened: Opened) -> Authenticator:
    if settings.authenticator:
        authenticator: Authenticator = plugged(settings.authenticator, "OMS_AUTHENTICATOR", Authenticator)
        return opened.note("given_authenticator", authenticator)
    from oms.adapters.auth.api_keys import ApiKeys
    from oms.adapters.auth.trust import TrustEveryone

    if settings.api_keys_file is None:
        return TrustEveryone()
    return ApiKeys(settings.api_keys_file, clock, telemetry)


def _threaded_calls(settings: Settings, wakeups: Wakeups) -> Callable[[str], CallExecutor[Task]]:
    from oms.runtime.call_executor import ThreadPoolCallExecutor

    sizes = {"payment": settings.payment_calls, "notification": settings.notify_calls}
    return lambda name: ThreadPoolCallExecutor(
        sizes.get(name, settings.batch),
        done=lambda: _ring(wakeups, name, TASKS),
        limit_s=settings.call_limit_s(name),
        ahead_s=CALLS_AHEAD_S,
        most=settings.batch,
    )


class Container(containers.DeclarativeContainer):
    """Every object of one system, made once, when it is first asked for."""

    settings = providers.Dependency(instance_of=Settings)
    profile = settings.provided.profile

    wakeups = providers.Singleton(Wakeups)
    clock = providers.Singleton(_clock)
    ids = providers.Singleton(_ids)
    given_telemetry = providers.Singleton(_telemetry, settings)
    telemetry = providers.Singleton(CheckedTelemetry, given_telemetry)
    health = providers.Singleton(_health, clock, telemetry)
    codec = providers.Singleton(_codec, settings)
    opened = providers.Singleton(Opened)
    files = providers.Singleton(_files, settings, telemetry.provided.note)
    memory_log = providers.Singleton(_memory_log, settings)
    sqlite_log = providers.Singleton(_sqlite_log, settings, clock, files, opened)
    kafka_log = providers.Singleton(_kafka_log, settings, telemetry, opened)
    broker = providers.Selector(profile, memory=memory_log, embedded=sqlite_log, distributed=kafka_log)
    stores = providers.Selector(
        profile,
        memory=providers.Singleton(_memory_stores, clock, ids),
        embedded=providers.Singleton(_sqlite_stores, clock, ids, files, broker.provider),
        distributed=providers.Singleton(_postgres_stores, settings, ids),
    )
    redis_gate = providers.Singleton(_redis_gate, settings, clock, opened)
    gate = providers.Selector(
        profile,
        memory=providers.Singleton(_memory_gate, clock),
        embedded=providers.Object(None),
        distributed=redis_gate,
    )
    calls = providers.Singleton(_threaded_calls, settings, wakeups)
    gateway = providers.Singleton(_gateway, settings, clock, files, broker.provider, opened)
    given_notifier = providers.Singleton(_notifier, settings, clock, opened)
    notifier = providers.Singleton(_checked, given_notifier, CheckedNotifier)
    given_authenticator = providers.Singleton(_authenticator, settings, clock, telemetry, opened)
    authenticator = providers.Singleton(_checked_authenticator, given_authenticator)
    given_pricing = providers.Singleton(
        _named, settings.provided.pricing, "OMS_PRICING", Pricing, opened, "given_pricing"
    )
    pricing = providers.Singleton(_checked, given_pricing, CheckedPricing, providers.Factory(_currency, settings))
    given_policy = providers.Singleton(_named, settings.provided.policy, "OMS_POLICY", Policy, opened, "given_policy")
    policy = providers.Singleton(_checked, given_policy, CheckedPolicy)


PORTS: Mapping[str, type[Any]] = {
    "gateway": PaymentGateway,
    "notifier": Notifier,
    "pricing": Pricing,
    "policy": Policy,
    "authenticator": Authenticator,
    "clock": Clock,
    "ids": Ids,
    "broker": Broker,
    "gate": StockGate,
    "telemetry": Telemetry,
}
"""The port of each extension that is one object."""


def container_of(settings: Settings, extensions: Extensions) -> Container:
    """Return a container in which the shop's own objects take the place of the settings' choices.

    Raises `SettingsError` for an object that can't be what it is given as. The answers of those that can be are
    checked like the answers of those that the settings name.
    """
    container = Container(settings=providers.Object(settings))
    for field in attrs.fields(Extensions):
        given = getattr(extensions, field.name)
        if given is None:
            continue
        if field.name in PORTS:
            _fitting(field.name, given, PORTS[field.name])
        if field.name == "stores":
            made = container.stores()
            given = lambda name, given=given, made=made: given.get(name) or made(name)  # noqa: E731
        if field.name == "clock":
            _check_time(given)
        if field.name == "ids":
            given = CheckedIds(given)
        name = f"given_{field.name}"
        getattr(container, name if hasattr(container, name) else field.name).override(providers.Object(given))
    return container


def _check_time(clock: Clock) -> None:
    """Refuse a clock whose times can't be compared with those on record."""
    if not hasattr(clock, "steady"):
        raise SettingsError("clock: expected a method steady(); subclass oms.ports.clock.Clock to get one")
    for name, now in (("now", clock.now()), ("steady", clock.steady())):
        if not isinstance(now, datetime) or now.tzinfo is None:
            raise SettingsError(f"clock.{name}: expected a timezone-aware datetime, got {described(now)}")


@attrs.frozen
class System:
    """The services and steps that this process runs, by name, ready to be driven."""

    container: Container
    parts: Mapping[str, ServiceAssembly[Any]]

    @property
    def order(self) -> ServiceAssembly[orders.OrderWork]:
        """The order service; raises `NotFound` if this process doesn't run it."""
        return self.part("order")

    @property
    def inventory(self) -> ServiceAssembly[InventoryWork]:
        """The inventory service; raises `NotFound` if this process doesn't run it."""
        return self.part("inventory")

    def part(self, name: str) -> ServiceAssembly[Any]:
        """A service or step by name; raises `NotFound` (`service_not_here`) if this process doesn't run it."""
        if name not in self.parts:
            raise NotFound("service_not_here", f"the {name} service doesn't run in this process")
        return self.parts[name]


def check_currency(name: str, kept: str | None, settings: Settings) -> None:
    """Raise `SettingsError` unless a store's currency is that of the settings, or isn't pinned yet."""
    if kept not in (None, settings.currency):
        raise SettingsError(
            f"OMS_CURRENCY: it is {settings.currency}, but the amounts of the {name} store are in {kept}; "
            f"set OMS_CURRENCY={kept}, or use another store"
        )


def pin_settings(system: System) -> None:
    """Pin the settings' currency in each store that has none yet: from now on no process starts with another one.

    Also records `OMS_DEFAULT_STOCK` of the first start, and warns where a store is from before it was recorded.
    """
    settings: Settings = system.container.settings()
    if "inventory" in system.parts:  # before its currency, which tells a new store from one that was used before
        _record_default_stock(system.inventory.service.store, settings, system.container.telemetry())
    for name, part in system.parts.items():
        store = part.service.store
        if store.currency() is not None:
            continue
        check_currency(name, store.pin_currency(settings.currency), settings)
        if settings.profile != "memory":
            system.container.telemetry().note("currency pinned", service=name, currency=settings.currency)


def register(system: System) -> None:
    """Make this process known as the owner of its leases, and release those that its ended predecessors left."""
    container = system.container
    settings: Settings = container.settings()
    broker: Any = container.broker
    if settings.profile == "embedded" and broker.overridden:
        return  # it is the log's lock that proves that no other process has the stores
    instance = settings.instance or socket.gethostname()
    for name, part in system.parts.items():
        released = part.service.store.register(instance)
        if released:
            container.telemetry().note("leases released", service=name, count=released, instance=instance)


def _record_default_stock(given: Store, settings: Settings, telemetry: Telemetry) -> None:
    store = cast("InventoryStore", given)
    if store.default_stock() is not None:
        return
    used_before = store.currency() is not None or store.stock_page(0, 1).total > 0
    units = settings.default_stock
    store.record_default_stock("" if units is None else str(units))
    if used_before and units is None:
        telemetry.failure(
            "default stock changed",
            detail="OMS_DEFAULT_STOCK was 100 by default and is empty now: orders of products without stock are "
            "rejected; set OMS_DEFAULT_STOCK=100 to have unknown products start with 100 units again",
        )


def untrusted_prices(container: Container) -> str | None:
    """Say that callers who are customers set the total of their own orders; None where they don't."""
    from oms.adapters.auth.api_keys import ApiKeys
    from oms.adapters.auth.trust import TrustEveryone

    authenticator = container.given_authenticator()
    if container.pricing() is not None or isinstance(authenticator, TrustEveryone):
        return None
    if isinstance(authenticator, ApiKeys) and not authenticator.has_customers:
        return None
    return (
        "customers have keys and no pricing is set: each customer sets the total of the own orders; set OMS_PRICING, "
        "or give keys only to operators"
    )


def build(container: Container, own: Mapping[str, OwnStep], only: Collection[str] | None = None) -> System:
    """Put the system (or `only` some of its services and steps) together; opens their stores and the broker."""
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
        # Between processes the log itself tells, and whoever waits for it hears.
        published=(lambda: None) if settings.profile == "distributed" else container.wakeups().ring_all,
    )
    wakeups, calls = container.wakeups(), container.calls()
    parts: dict[str, ServiceAssembly[Any]] = {}
    try:
        services = _services(container, world, own, only)
        files = container.files()
        if files.copied and not files.repairing:
            _check_copy(container, {name: service.store for name, (service, _) in services.items()})
        files.started()
    except BaseException:
        close_opened(container)  # so that the next start can open them
        raise
    for name, (service, starts) in services.items():
        extra = _upkeep(service.store, world.clock) if settings.profile == "distributed" else ()
        more: dict[str, Any] = {"starts": starts, "extra": extra}
        if name == "order":
            grouped = settings.profile == "distributed"
            more |= {"lock": orders.OrderWork.lock, "extra": (*extra, *_log_steps(world)), "grouped": grouped}
        parts[name] = assemble(service, world, calls(name), woken=partial(_ring, wakeups, name), **more)
    return System(container, parts)


def _check_copy(container: Container, stores: Mapping[str, Any]) -> None:
    """Refuse a copy that was made while the system ran, unless its files happen to be of one moment."""
    settings, files = container.settings(), container.files()
    found = findings(container, stores).lines if set(SERVICES) <= stores.keys() else ()
    if found:
        raise Permanent(
            f"{settings.data} is a copy that was made while the system ran, and its files don't agree: "
            f"{'; '.join(found)}. Restore a backup, or run `oms repair --data {settings.data}`"
        )
    container.telemetry().note("copy of a running system checked", directory=str(files.directory))


def findings(container: Container, stores: Mapping[str, Any]) -> Findings:
    """Whether the files of an embedded system are of one moment; `stores` by service."""
    settings, log = container.settings(), cast("LogEvidence", container.broker())
    order, stock, payment, news = (stores[name] for name in SERVICES)
    evidence = Evidence(order, stock, payment, news, log)
    return look(evidence, container.codec(), container.clock().now() - log_kept(settings.retention_days))


def _services(
    container: Container, world: ServiceDependencies, own: Mapping[str, OwnStep], only: Collection[str] | None
) -> Mapping[str, tuple[Service[Any], Mapping[TopicPartition, int]]]:
    """The services by name, and where the group of each begins.

    None of them joins its group before all stores are known to have the same currency, and all starts are decided.
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


def _ring(wakeups: Wakeups, service: str, lane: str) -> None:
    wakeups.ring(lane_name(service, lane))


def _upkeep(store: Store, clock: Clock) -> tuple[Runnable, ...]:
    return (Every(REGISTERED_EVERY_S, store.keep_registration, clock),)


def _log_steps(world: ServiceDependencies) -> tuple[Runnable, ...]:
    """What a log needs that doesn't forget by itself, as Kafka does."""
    purge = getattr(world.broker, "purge", None)
    return () if purge is None else (log_retention(purge, world.clock, world.retention_days),)


def _unless_free(settings: Settings, seconds: float) -> float:
    """How often to ask for what nobody announced; in memory, where asking is free, each time."""
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
                look_every_s=_unless_free(settings, 0.25),  # a batch that meets a rebuilt gate waits for so long
            )
        case "payment":
            window = _settle_window_s(container)
            gateway, telemetry = container.gateway(), container.telemetry()
            return payments.payment_service(store("payment"), clock, gateway, telemetry, settle_window_s=window)
        case "notification":
            token = container.ids().token
            return notifications.notification_service(store("notification"), clock, container.notifier(), token)
        case _:
            return subscribers.step_service(store(f"step-{name}"), clock, container.telemetry(), name, own[name])


def _settle_window_s(container: Container) -> float:
    """How long a charge that the gateway doesn't know may still be on its way, in seconds.

    A charge of the simulated gateway ends with its process, and the embedded profile has one process.
    """
    settings: Settings = container.settings()
    provider: Any = container.gateway
    ends_here = settings.payment_gateway == "simulated" and not provider.overridden
    return 0.0 if ends_here and settings.profile == "embedded" else settings.payment_settle_window_s


def evidence_of(system: System, own: Mapping[str, OwnStep]) -> Evidence:
    """All records of a system, for the promises; the gateway's book where the gateway shows one.

    Raises `NotFound` if one of the four services runs in another process.
    """
    stores: Mapping[str, Any] = {name: system.part(name).service.store for name in SERVICES}
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
            name: StepEvidence(cast("Any", system.parts[name].service.store), tuple(step.handlers))
            for name, step in own.items()
            if name in system.parts
        },
    )


@attrs.frozen
class Recorded:
    """The records of a system, and what is needed to read them."""

    evidence: Evidence
    codec: Codec
    clock: Clock
    sorter: MakeSorter

    def close(self) -> None:
        """Let go of files and connections."""
        found = self.evidence
        steps = [step.record for step in found.steps.values()]
        for record in (found.order, found.inventory, found.payment, found.notification, *steps, found.log, found.gate):
            close = getattr(record, "close", None)
            if close is not None:
                close()


def recorded(
    settings: Settings,
    *,
    with_book: bool = True,
    own: Mapping[str, OwnStep] | None = None,
    snapshots: int | None = None,
) -> Recorded:
    """The records of a system, opened read-only; `SettingsError` where there are none.

    `snapshots`: how many services are read at once, by default all of them; `Retryable` where a pooler allows fewer.
    `with_book` makes the gateway too, where it is the shop's own, for the book that it may show. `own` are the shop's
    own steps; one that never ran has no record.
    """
    from oms.adapters.system.disk_sorter import DiskSorter

    if settings.profile == "memory":
        raise SettingsError("OMS_PROFILE: a system of profile 'memory' leaves no record to check")
    if settings.profile == "distributed":
        evidence = _on_servers(settings, own or {}, snapshots)
    else:
        evidence = _on_disk(settings, own or {})
    for name in SERVICES:
        check_currency(name, getattr(evidence, name).currency(), settings)
    if with_book:
        evidence = attrs.evolve(evidence, book=_book(settings))
    return Recorded(evidence, _codec(settings), _clock(), DiskSorter)


def _on_disk(settings: Settings, own: Mapping[str, OwnStep]) -> Evidence:
    from oms.adapters.sql import factory
    from oms.adapters.sqlite_log.log import SqliteLog

    def path(name: str) -> Path:
        return settings.data / f"{name}.db"

    missing = [name for name in (*SERVICES, "broker") if not path(name).exists()]
    if missing:
        raise SettingsError(f"OMS_DATA: there is no system in {settings.data}: {missing[0]}.db is missing")
    clock = _clock()

    def store(name: str) -> Any:
        return factory.read_only(name, path(name), clock, immutable=_is_immutable(path(name)))

    order, stock, payment, news = map(store, SERVICES)
    steps = {
        name: StepEvidence(store(f"step-{name}"), tuple(step.handlers))
        for name, step in own.items()
        if path(f"step-{name}").exists()
    }
    unread = {found.stem for found in settings.data.glob("step-*.db")} - {f"step-{name}" for name in own}
    log = SqliteLog.read_only(path("broker"), immutable=_is_immutable(path("broker")))
    return Evidence(order, stock, payment, news, log, steps=steps, unread_steps=unread, whole_book=False)


def back_up(settings: Settings, target: Path) -> Backup:
    """Copy an embedded system, which may be running, into a new directory."""
    _only_embedded(settings)
    with naming_files(target):
        return backup.back_up(settings.data, target, SERVICES, _clock().now())


def restore(settings: Settings, source: Path) -> Backup:
    """Check a backup and put it in place as the embedded system of these settings, which must not be there yet."""
    from oms.adapters.sqlite_log.file import Lock

    _only_embedded(settings)
    backup.read_backup(source)  # before anything is made
    with naming_files(settings.data):
        lock = Lock(_files(settings, lambda _event, **_: None).prepare())
        try:
            return backup.put_in_place(source, settings.data, SERVICES)
        finally:
            lock.release()


def _only_embedded(settings: Settings) -> None:
    if settings.profile != "embedded":
        raise SettingsError(
            "OMS_PROFILE: only an embedded system is one directory that can be copied; see docs/distributed.md"
        )


@contextmanager
def naming_files(directory: Path) -> Iterator[None]:
    """Turn an error of the operating system into `Permanent` with the name of the file, or of this directory."""
    try:
        yield
    except OSError as error:
        raise Permanent(f"{error.filename or directory}: {error.strerror or error}") from error


def _on_servers(settings: Settings, own: Mapping[str, OwnStep], snapshots: int | None) -> Evidence:
    from oms.adapters.kafka.broker import OWN_TOPICS, KafkaBroker
    from oms.adapters.redis.gate import RedisGate
    from oms.adapters.sql import factory
    from oms.adapters.sql.provisioning.checks import other_steps
    from oms.adapters.sql.provisioning.pooler import check_pooler

    check_pooler(settings, snapshots or len(SERVICES) + len(own))
    order, stock, payment, news = (factory.postgres_reader(name, settings) for name in SERVICES)
    steps = {
        name: StepEvidence(factory.postgres_reader(f"step-{name}", settings), tuple(step.handlers))
        for name, step in own.items()
    }
    topics = (*OWN_TOPICS, *map(copies_topic, own))
    log = KafkaBroker(settings, _telemetry(settings), topics=topics)
    gate = RedisGate.from_settings(settings, _clock())
    unread = other_steps(settings, [f"step-{name}" for name in own])
    return Evidence(order, stock, payment, news, log, gate=gate, steps=steps, unread_steps=unread, whole_book=False)


def legacy_of(settings: Settings) -> tuple[LegacyOrders | None, LegacyStock | None]:
    """What the settings name of the system replaced; `SettingsError` where they name nothing."""
    from oms.adapters.redis.legacy import RedisLegacyStock
    from oms.adapters.sql.postgres.legacy import PostgresLegacyOrders

    if not (settings.spring_postgres_url or settings.spring_redis_url):
        raise SettingsError(
            "OMS_SPRING_POSTGRES_URL and OMS_SPRING_REDIS_URL say where the system replaced is; set them"
        )
    orders = PostgresLegacyOrders.from_settings(settings) if settings.spring_postgres_url else None
    return orders, RedisLegacyStock(settings) if settings.spring_redis_url else None


def left_to_read(settings: Settings) -> Sequence[str]:
    """What the groups of the system replaced haven't read on our Kafka, one line each; nothing without a Kafka."""
    if settings.profile != "distributed":
        return ()
    from oms.adapters.kafka.conf import reader_conf
    from oms.adapters.kafka.group_offsets import unread

    groups = (inventory.GROUP, payments.GROUP, notifications.GROUP)
    try:
        left = {group: unread(reader_conf(settings), group, topics_of({})) for group in groups}
    except PortError as error:
        return [f"nobody knows whether {', '.join(groups)} have read all: {error}"]
    return [
        f"{group} has {count} messages of {topic} to read: what isn't drained is handled by oms, and charged"
        for group, topics in left.items()
        for topic, count in topics.items()
    ]


def _book(settings: Settings) -> GatewayBook | None:
    """The gateway's book, read beside the processes that use the gateway; None where it shows none."""
    if settings.payment_gateway != "simulated":
        return book_of(plugged(settings.payment_gateway, "OMS_PAYMENT_GATEWAY", PaymentGateway))
    from oms.adapters.gateways.simulated import SqliteBook

    path = settings.data / "gateway.db"
    return SqliteBook.read_only(path, immutable=_is_immutable(path)) if path.exists() else None


def _is_immutable(path: Path) -> bool:
    """Whether a SQLite file is at rest in a directory where no file can be made.

    SQLite then opens it only if told so: it can't make the files that it otherwise needs beside it. A file in use,
    or copied while it was in use, has them. Raises `SettingsError` for a copy of which one is missing.
    """
    if os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        return False
    beside = {name: Path(f"{path}-{name}") for name in ("wal", "shm")}
    if beside["shm"].exists():
        return False
    if beside["wal"].exists() and beside["wal"].stat().st_size:
        raise SettingsError(
            f"OMS_DATA: {path} can't be read: its directory is read-only, and {beside['shm'].name} is missing beside"
            f" {beside['wal'].name}; copy the directory to a place that can be written"
        )
    return True


def topics_of(own: Mapping[str, OwnStep]) -> Collection[str]:
    """Every topic of a system: those of its services, of dead letters, and those that own steps read or write."""
    return [row.topic for row in topic_access({group: step.topics for group, step in own.items()})]


def what_is_wrong(
    settings: Settings, names: Collection[str], topics: Collection[str], *, by_operator: bool = False
) -> Sequence[str]:
    """Ask the servers that these services need: one line for each thing that keeps them from working.

    `by_operator` checks with the operator's role where the settings lack a service's password. A line that begins with
    `warning: ` keeps nothing from working, and is for the operator to know.
    """
    if settings.profile != "distributed":
        return ()
    from oms.adapters.kafka.access import connection_warnings
    from oms.adapters.kafka.topics import check_topics
    from oms.adapters.sql.provisioning.checks import check_postgres

    stores = [name if name in SERVICES else f"step-{name}" for name in names]
    found = [
        *check_postgres(settings, stores, by_operator=by_operator),
        *check_topics(settings, topics),
        *connection_warnings(settings),
    ]
    if "inventory" in names:
        from oms.adapters.redis.checks import check as check_redis

        found += check_redis(settings)
    return found


def acl_commands(settings: Settings, own: Mapping[str, OwnStep], principal: str) -> Sequence[str]:
    """The `kafka-acls.sh` commands for this system's services and own steps; `principal` as in `User:oms-{name}`."""
    from oms.adapters.kafka.access import Rights
    from oms.adapters.kafka.access import acl_commands as commands_of

    table = topic_access({group: step.topics for group, step in own.items()})
    groups = {**{name: consumes.group for name, consumes in ROUTING.items()}, **{group: group for group in own}}
    rights = {
        name: Rights(
            group,
            [row.topic for row in table if name in row.readers],
            [row.topic for row in table if name in row.writers],
        )
        for name, group in groups.items()
    }
    return commands_of(settings, rights, [row.topic for row in table], principal)


def other_currencies(settings: Settings, names: Collection[str]) -> Sequence[str]:
    """One line for each store on PostgreSQL whose pinned currency isn't that of the settings."""
    if settings.profile != "distributed":
        return ()
    from oms.adapters.sql.provisioning.checks import other_currencies as found

    return found(settings, [name if name in SERVICES else f"step-{name}" for name in names])


def set_up(settings: Settings, own: Mapping[str, OwnStep]) -> Sequence[str]:
    """Make what the servers lack: database, roles, schemas, topics. Safe to repeat; one line for each thing done."""
    from oms.adapters.kafka.topics import ensure_topics
    from oms.adapters.sql.provisioning.roles import set_up_postgres

    record = set_up_postgres(settings, SERVICES, list(own))
    topics = ensure_topics(settings, topics_of(own))
    made = [f"Kafka: topic {name} made" for name in topics.created]
    widened = [f"Kafka: topic {name} has more partitions" for name in topics.widened]
    return [*record, *made, *widened, *(f"Kafka: topic {name} limits the size of messages" for name in topics.limited)]
