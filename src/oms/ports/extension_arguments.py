"""The types of the keyword arguments that pass extensions, for editors and type checkers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict

from oms.ports.broker import Broker
from oms.ports.call_executor import CallExecutor
from oms.ports.clock import Clock, Ids
from oms.ports.extensions import Authenticator, Notifier, PaymentGateway, Policy, Pricing
from oms.ports.gate import StockGate
from oms.ports.stores.rows import Task
from oms.ports.stores.store import Store
from oms.ports.telemetry import Telemetry


class ExtensionArguments(TypedDict, total=False):
    """The extensions that `oms.create` and `oms.testing.Shop` take by name. Each is optional; None is the default."""

    gateway: PaymentGateway | None
    """Moves the money. Default: the simulated gateway, or the one that the setting `payment_gateway` names."""

    notifier: Notifier | str | None
    """Delivers notifications to customers. A text is the setting: `"log"`, `"webhook"` or an import path."""

    pricing: Pricing | str | None
    """Computes an order's total. Default: the caller's amount is the total. A text is an import path."""

    policy: Policy | str | None
    """Accepts or refuses each order. Default: every order is accepted. A text is an import path."""

    authenticator: Authenticator | str | None
    """Identifies the caller of an HTTP request. Default: API keys; without keys, every caller is trusted. A text is an
    import path.
    """

    clock: Clock | None
    """The current time. Default: the system's clock."""

    ids: Ids | None
    """Makes the ids of orders, outbox rows, leases and dead letters. Default: UUIDs of version 7."""

    broker: Broker | None
    """The message log. Default: the profile's."""

    stores: Mapping[str, Store] | None
    """The stores, by service name; the store of a step by its group. Default: the profile's."""

    gate: StockGate | None
    """Filters out orders that can't get stock, before the SQL ledger decides. Default: the profile's."""

    telemetry: Telemetry | None
    """Log lines, metrics and alerts. Default: structured log lines and Prometheus metrics."""

    calls: Callable[[str], CallExecutor[Task]] | None
    """Makes the executor of a service's outside calls from the service's name. Default: a thread pool for each."""
