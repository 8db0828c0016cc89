"""Makes each adapter from the settings.

A driver is imported inside the function that uses it, so only a profile that uses a driver needs it installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from oms.adapters.data_directory.files import BOOK, SystemFiles
from oms.application.routing import ROUTING
from oms.bootstrap.extension_loading import load_extension
from oms.bootstrap.opened import Opened
from oms.domain.money import Currency
from oms.engine.assembly import TASKS, lane_name
from oms.engine.health import PROCESS, HealthRecord
from oms.ports.broker import Broker
from oms.ports.call_executor import CallExecutor
from oms.ports.clock import Clock, Ids
from oms.ports.extensions import Authenticator, Notifier, PaymentGateway
from oms.ports.gate import StockGate
from oms.ports.messages import Codec
from oms.ports.stores.rows import Task
from oms.ports.stores.store import Store
from oms.ports.telemetry import Telemetry
from oms.runtime.wakeups import Wakeups
from oms.settings import Settings

CALLS_AHEAD_S = 0.25
"""Time, in seconds, for which quick outside calls may queue for a thread: far below the lease of their tasks."""


def console_telemetry() -> Any:
    """Telemetry that writes errors to stdout as text for people."""
    from oms.adapters.telemetry.logs_and_metrics import StructlogTelemetry

    return StructlogTelemetry(level="error", form="console", stream=sys.stdout)


def clock() -> Clock:
    """Return the clock of the operating system."""
    from oms.adapters.system.clock import SystemClock

    return SystemClock()


def ids() -> Ids:
    """Return the maker of ids: UUIDs of version 7."""
    from oms.adapters.system.clock import SystemIds

    return SystemIds()


def telemetry(settings: Settings) -> Telemetry:
    """Return structured log lines and Prometheus metrics, by the `OMS_LOG_...` settings."""
    from oms.adapters.telemetry.logs_and_metrics import StructlogTelemetry

    return StructlogTelemetry.from_config(settings.telemetry)


def health(clock: Clock, telemetry: Telemetry) -> HealthRecord:
    """Return the health record of this process."""
    record = HealthRecord(clock, telemetry)
    record.of(PROCESS)
    return record


def codec(settings: Settings) -> Codec:
    """Return the wire format, in the currency and compatibility mode of the settings."""
    from oms.adapters.wire.codec import JsonCodec

    return JsonCodec(Currency.of(settings.currency), spring=settings.http_compat == "spring")


def currency(settings: Settings) -> Currency:
    """Return the currency of every amount."""
    return Currency.of(settings.currency)


def memory_log(settings: Settings) -> Broker:
    """Return a log in memory."""
    from oms.adapters.memory.log import MemoryLog

    return MemoryLog(settings.partitions)


def files(settings: Settings, note: Callable[..., None]) -> SystemFiles:
    """Return the files of an embedded system; nothing is opened yet. `note` writes a log line."""
    groups = {consumes.group: name for name, consumes in ROUTING.items()}
    return SystemFiles(settings.data, groups, note)


def sqlite_log(settings: Settings, clock: Clock, files: SystemFiles, opened: Opened) -> Broker:
    """Open the log of an embedded system, and lock its directory."""
    from oms.adapters.sqlite_log.log import SqliteLog

    log = SqliteLog(files.prepare(), clock=clock, partitions=settings.partitions, files=files)
    return opened.note("sqlite_log", log)


def kafka_log(settings: Settings, telemetry: Telemetry, opened: Opened) -> Broker:
    """Return the log on Kafka; it connects on first use."""
    from oms.adapters.kafka.broker import KafkaBroker

    return opened.note("kafka_log", KafkaBroker(settings.kafka, telemetry))


def memory_stores(clock: Clock, ids: Ids) -> Callable[[str], Store]:
    """Return a function that makes the store of a service or step by name.

    The data of each service outlives its stores, as a file or a server would.
    """
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


def sqlite_stores(clock: Clock, ids: Ids, files: SystemFiles, log: Callable[[], Broker]) -> Callable[[str], Store]:
    """Return a function that opens the SQLite store of a service or step by name."""
    from oms.adapters.sql import factory

    def opened(name: str) -> Store:
        broker: Any = log()  # opens and locks the directory before any other file
        store = factory.sqlite_store(name, files.admit(name), clock, ids)
        files.made(name)
        if files.system is not None:
            store.log_end = lambda: broker.end
        return store

    return opened


def postgres_stores(settings: Settings, ids: Ids) -> Callable[[str], Store]:
    """Return a function that makes the PostgreSQL store of a service or step by name."""
    from oms.adapters.sql import factory

    return lambda name: factory.postgres_store(name, settings.postgres, ids)


def redis_gate(settings: Settings, clock: Clock, opened: Opened) -> StockGate:
    """Return the stock gate on Redis; it connects on first use."""
    from oms.adapters.redis.gate import RedisGate

    return opened.note("redis_gate", RedisGate.from_config(settings.redis, clock))


def memory_gate(clock: Clock) -> StockGate:
    """Return a stock gate in memory."""
    from oms.adapters.memory.gate import MemoryGate

    return MemoryGate(clock)


def gateway(
    settings: Settings, clock: Clock, files: SystemFiles, log: Callable[[], Broker], opened: Opened
) -> PaymentGateway:
    """Return the simulated gateway, or the one that `OMS_PAYMENT_GATEWAY` names."""
    if settings.payment_gateway != "simulated":
        gateway: PaymentGateway = load_extension(settings.payment_gateway, "OMS_PAYMENT_GATEWAY", PaymentGateway)
        return opened.note("gateway", gateway)
    from oms.adapters.gateways.simulated import SimulatedGateway

    if settings.profile == "memory":  # the book is in memory and, like the stores, survives a stop of the app
        return SimulatedGateway.from_config(settings.simulated_gateway, clock, None)
    if settings.profile == "embedded":
        log()  # opens and locks the directory before any other file
    gateway = SimulatedGateway.from_config(settings.simulated_gateway, clock, files.admit(BOOK))
    files.made(BOOK)
    return opened.note("gateway", gateway)


def notifier(settings: Settings, clock: Clock, opened: Opened) -> Notifier | None:
    """Return the webhook notifier, or the one that `OMS_NOTIFIER` names; None for `log`."""
    if settings.notifier == "log":
        return None  # the notification service logs each notification anyway
    if settings.notifier == "webhook":
        from oms.adapters.notifiers.webhook import WebhookNotifier

        return opened.note("given_notifier", WebhookNotifier.from_config(settings.webhook, clock))
    notifier: Notifier = load_extension(settings.notifier, "OMS_NOTIFIER", Notifier)
    return opened.note("given_notifier", notifier)


def authenticator(settings: Settings, clock: Clock, telemetry: Telemetry, opened: Opened) -> Authenticator:
    """Return the authenticator of `OMS_AUTHENTICATOR`, else one for API keys, else one that trusts every caller."""
    if settings.authenticator:
        authenticator: Authenticator = load_extension(settings.authenticator, "OMS_AUTHENTICATOR", Authenticator)
        return opened.note("given_authenticator", authenticator)
    from oms.adapters.auth.authenticators import ApiKeys, TrustEveryone

    if settings.api_keys_file is None:
        return TrustEveryone()
    return ApiKeys(settings.api_keys_file, clock, telemetry)


def threaded_calls(settings: Settings, wakeups: Wakeups) -> Callable[[str], CallExecutor[Task]]:
    """Return a function that makes the thread pool for the outside calls of a service, by its name."""
    from oms.runtime.call_executor import ThreadPoolCallExecutor

    sizes = {"payment": settings.payment_calls, "notification": settings.notify_calls}
    return lambda name: ThreadPoolCallExecutor(
        sizes.get(name, settings.batch),
        done=lambda: wake(wakeups, name, TASKS),
        limit_s=settings.call_limit_s(name),
        ahead_s=CALLS_AHEAD_S,
        most=settings.batch,
    )


def wake(wakeups: Wakeups, service: str, lane: str) -> None:
    """Wake the thread of one lane of a service."""
    wakeups.wake(lane_name(service, lane))


def named(path: str | None, variable: str, port: type[Any], opened: Opened, name: str) -> Any:
    """Return the extension at an import path, and note it in `opened`; None without a path."""
    return opened.note(name, load_extension(path, variable, port)) if path else None


def checked(given: Any, wrapper: Callable[..., Any], *more: Any) -> Any:
    """Return an extension in the wrapper that checks its answers; None if there is no extension."""
    return None if given is None else wrapper(given, *more)
