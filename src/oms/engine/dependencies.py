"""The ports that all services of a system share, and how their work is driven."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from oms.engine.health import HealthRecord
from oms.ports.broker import Broker
from oms.ports.clock import Clock, Ids
from oms.ports.messages import Codec
from oms.ports.telemetry import Telemetry

LOOK_EVERY_S = 1.0
"""Seconds between two looks for tasks that fell due without a wake-up: deadlines, expired leases of other processes."""


@attrs.frozen
class ServiceDependencies:
    """What every service gets. All `_s` fields are in seconds."""

    broker: Broker
    codec: Codec
    clock: Clock
    ids: Ids
    telemetry: Telemetry
    batch: int = 500
    """Most messages, commands, tasks or outbox rows that one step handles together."""

    outbox_lease_s: float = 10.0
    task_lease_s: float = 30.0
    look_every_s: float = LOOK_EVERY_S
    """How often to look in the store for tasks and outbox rows that another process left; 0 looks every time."""

    forget_after_s: float = 0.0
    """How long the rows of sent messages may stay in the outbox, so that many are removed with one statement."""

    retention_days: float = 30.0
    health: HealthRecord = attrs.field(
        default=attrs.Factory(lambda self: HealthRecord(self.clock, self.telemetry), takes_self=True)
    )
    """The record that all services of the process report to."""

    published: Callable[[], None] = lambda: None
    """Called when messages are in the log, so that their consumers poll at once."""
