"""Values that a process records in its stores when it starts: currency, default stock, and its own registration."""

from __future__ import annotations

import socket
from typing import Any, cast

from oms.bootstrap.system import System, check_currency
from oms.ports.stores.inventory import InventoryStore
from oms.ports.stores.store import Store
from oms.ports.telemetry import Telemetry
from oms.settings import Settings


def pin_settings(system: System) -> None:
    """Pin the settings' currency in each store that has none yet, so that no process can start with another one.

    Also records `OMS_DEFAULT_STOCK` of the first start. Logs a warning for a store that was used before `oms` recorded
    this setting, if its default has changed.
    """
    settings: Settings = system.container.settings()
    if "inventory" in system.assemblies:  # before the currency is pinned: a store without one hasn't been used before
        _record_default_stock(system.inventory.service.store, settings, system.container.telemetry())
    for name, assembly in system.assemblies.items():
        store = assembly.service.store
        if store.currency() is not None:
            continue
        check_currency(name, store.pin_currency(settings.currency), settings)
        if settings.profile != "memory":
            system.container.telemetry().note("currency pinned", service=name, currency=settings.currency)


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


def register(system: System) -> None:
    """Register this process as the owner of its leases, and release the leases of its ended predecessors."""
    container = system.container
    settings: Settings = container.settings()
    broker: Any = container.broker
    if settings.profile == "embedded" and broker.overridden:
        return  # without the SQLite log, no lock proves that no other process uses the stores
    instance = settings.instance or socket.gethostname()
    for name, assembly in system.assemblies.items():
        released = assembly.service.store.register(instance)
        if released:
            container.telemetry().note("leases released", service=name, count=released, instance=instance)
