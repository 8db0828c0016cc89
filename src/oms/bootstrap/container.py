"""The composition root: a dependency-injector container with a provider for each object of a system.

The profile selects each provider, and an extension of the shop overrides it. No adapter is imported or opened before
its first use, so only a profile that uses a driver needs it installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs
from dependency_injector import containers, providers

from oms.application.extensions.calling import described
from oms.application.extensions.ids import CheckedIds
from oms.application.extensions.notifier import CheckedNotifier
from oms.application.extensions.telemetry import CheckedTelemetry
from oms.application.extensions.terms import CheckedPolicy, CheckedPricing
from oms.bootstrap import adapter_factories as make
from oms.bootstrap.authentication import checked_authenticator
from oms.bootstrap.extension_loading import fitting
from oms.bootstrap.opened import Opened, close_one
from oms.ports.broker import Broker
from oms.ports.call_executor import CallExecutor
from oms.ports.clock import Clock, Ids
from oms.ports.errors import SettingsError
from oms.ports.extensions import Authenticator, Notifier, PaymentGateway, Policy, Pricing
from oms.ports.gate import StockGate
from oms.ports.stores.rows import Task
from oms.ports.stores.store import Store
from oms.ports.telemetry import Telemetry
from oms.runtime.wakeups import Wakeups
from oms.settings import Settings


@attrs.frozen(kw_only=True)
class Extensions:
    """A shop's own objects, which replace those of the settings; for None, the settings decide."""

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
    """Makes the executor of a service's outside calls from the service's name."""


class Container(containers.DeclarativeContainer):
    """Every object of one system. Each is made once, on first use."""

    settings = providers.Dependency(instance_of=Settings)
    profile = settings.provided.profile

    wakeups = providers.Singleton(Wakeups)
    clock = providers.Singleton(make.clock)
    ids = providers.Singleton(make.ids)
    given_telemetry = providers.Singleton(make.telemetry, settings)
    telemetry = providers.Singleton(CheckedTelemetry, given_telemetry)
    health = providers.Singleton(make.health, clock, telemetry)
    codec = providers.Singleton(make.codec, settings)
    opened = providers.Singleton(Opened)
    files = providers.Singleton(make.files, settings, telemetry.provided.note)
    memory_log = providers.Singleton(make.memory_log, settings)
    sqlite_log = providers.Singleton(make.sqlite_log, settings, clock, files, opened)
    kafka_log = providers.Singleton(make.kafka_log, settings, telemetry, opened)
    broker = providers.Selector(profile, memory=memory_log, embedded=sqlite_log, distributed=kafka_log)
    stores = providers.Selector(
        profile,
        memory=providers.Singleton(make.memory_stores, clock, ids),
        embedded=providers.Singleton(make.sqlite_stores, clock, ids, files, broker.provider),
        distributed=providers.Singleton(make.postgres_stores, settings, ids),
    )
    redis_gate = providers.Singleton(make.redis_gate, settings, clock, opened)
    gate = providers.Selector(
        profile,
        memory=providers.Singleton(make.memory_gate, clock),
        embedded=providers.Object(None),
        distributed=redis_gate,
    )
    calls = providers.Singleton(make.threaded_calls, settings, wakeups)
    gateway = providers.Singleton(make.gateway, settings, clock, files, broker.provider, opened)
    given_notifier = providers.Singleton(make.notifier, settings, clock, opened)
    notifier = providers.Singleton(make.checked, given_notifier, CheckedNotifier)
    given_authenticator = providers.Singleton(make.authenticator, settings, clock, telemetry, opened)
    authenticator = providers.Singleton(checked_authenticator, given_authenticator)
    given_pricing = providers.Singleton(
        make.named, settings.provided.pricing, "OMS_PRICING", Pricing, opened, "given_pricing"
    )
    pricing = providers.Singleton(
        make.checked, given_pricing, CheckedPricing, providers.Factory(make.currency, settings)
    )
    given_policy = providers.Singleton(
        make.named, settings.provided.policy, "OMS_POLICY", Policy, opened, "given_policy"
    )
    policy = providers.Singleton(make.checked, given_policy, CheckedPolicy)


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
"""The port of each extension that is a single object (`stores` and `calls` aren't)."""


def container_of(settings: Settings, extensions: Extensions) -> Container:
    """Return a container in which the shop's own objects override those of the settings.

    Raises `SettingsError` for an object that lacks the methods of its port. The wrappers that check the answers of
    extensions apply to these objects too.
    """
    container = Container(settings=providers.Object(settings))
    for field in attrs.fields(Extensions):
        given = getattr(extensions, field.name)
        if given is None:
            continue
        if field.name in PORTS:
            fitting(field.name, given, PORTS[field.name])
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
    """Raise `SettingsError` for a clock whose times can't be compared with stored times."""
    if not hasattr(clock, "steady"):
        raise SettingsError("clock: expected a method steady(); subclass oms.ports.clock.Clock to get one")
    for name, now in (("now", clock.now()), ("steady", clock.steady())):
        if not isinstance(now, datetime) or now.tzinfo is None:
            raise SettingsError(f"clock.{name}: expected a timezone-aware datetime, got {described(now)}")


def close_opened(container: Container) -> None:
    """Close every object that the container made from its settings; the next use makes a new one.

    Objects that the shop passed in aren't closed. An error of one `close` raises an alert; the others still run.
    """
    for name, made in container.opened().take():
        close_one(made, container.telemetry())
        for dependent in (name, name.removeprefix("given_")):
            getattr(container, dependent).reset()
