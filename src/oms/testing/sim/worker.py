"""A simulated process of one service."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from greenlet import greenlet

from oms.adapters.memory import SequentialCallExecutor
from oms.adapters.memory.log import MemorySubscription
from oms.engine.assembly import ServiceAssembly
from oms.ports.stores.rows import Task


class Worker:
    """One process of a service: its engine, and the step that it is in the middle of while other workers run."""

    __slots__ = (
        "assembly", "awake_at", "blocked", "calls", "green", "handles", "idle", "looks", "owner", "paused", "point",
        "service", "slot", "stale", "subscription",
    )  # fmt: skip

    def __init__(self, slot: str, service: str, owner: str) -> None:
        self.slot, self.service, self.owner = slot, service, owner
        self.assembly: ServiceAssembly[Any]
        self.calls: SequentialCallExecutor[Task]
        self.subscription: MemorySubscription
        self.green: greenlet | None = None
        """The current step, if it is paused between two port calls."""
        self.handles = False
        """Whether that step is its consumer's."""
        self.paused = False
        self.awake_at: Any = None
        self.blocked = -1
        self.idle: dict[str, int] = {}
        self.stale = False
        self.looks: list[tuple[int, str, Callable[[datetime], tuple[str, ...]]]] = []
