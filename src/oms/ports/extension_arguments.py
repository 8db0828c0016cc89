"""The keyword arguments that are extensions, so that an editor completes them and a type checker finds a wrong one."""

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
    """Tells customers what happened. A text is the setting: `"log"`, `"webhook"` or an import path."""

    pricing: Pricing | str | None
    """Computes an order's total. Default: the caller's amount is the total. A text is an import path."""

    policy: Policy | str | None
    """Accepts or refuses each order. Default: every order is accepted. A text is an import path."""

    authenticator: Authenticator | str | None
    """Says who sent an HTTP request. Default: API keys, or everybody on loopback. A text is an import path."""

    clock: Clock | None
    """The current time. Default: the system's clock."""

    ids: Ids | None
    """Makes ids of orders and messages. Default: UUIDs of version 7."""

    broker: Broker | None
    """The log. Default: the profile's."""

    stores: Mapping[str, Store] | None
    """The services' records, by service name; a step's by its group. Default: the profile's."""

    gate: StockGate | None
    """Answers whether stock is free before SQL decides. Default: the profile's."""

    telemetry: Telemetry | None
    """Log, counters and alerts. Default: structured log lines and Prometheus' metrics."""

    calls: Callable[[str], CallExecutor[Task]] | None
    """Makes the executor of a service's outside calls, by the service's name. Default: threads."""
