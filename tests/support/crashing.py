"""`oms` with a death built in: OMS_TEST_CRASH_AT=<point>:<n> kills the process with SIGKILL at the n-th passing.

The points of shipments and refunds are in `tests.support.part_deaths`; their name alone is the setting.

OMS_TEST_DATA_LIMIT=<bytes> limits the memory that it may use in addition to that of an idle service.

The points are calls of the adapters, so production code knows nothing of this.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

POINTS = {
    "after the commit": ("oms.adapters.sql.core.database:Database.commit", "after"),
    "after Lua": ("oms.adapters.redis.gate:RedisGate.take", "after"),
    "after the charge": ("oms.adapters.gateways.simulated:SimulatedGateway.charge", "after"),
    "after the produce": ("oms.adapters.kafka.broker:KafkaBroker.publish", "after"),
    "before mark-sent": ("oms.adapters.sql.stores.store:SqlStore.mark_sent", "before"),
    "before the offset commit": ("oms.adapters.kafka.subscription:KafkaSubscription.commit", "before"),
}

RARE_POINTS = {"after the give-back": ("oms.adapters.redis.gate:RedisGate.give_back", "after")}
"""Points that a worker under load passes only where orders are cancelled."""


def arm(point: str, passings: int) -> None:
    path, when = {**POINTS, **RARE_POINTS}[point]
    module, _, name = path.partition(":")
    owner, _, method = name.partition(".")
    kind: Any = getattr(import_module(module), owner)
    original: Callable[..., Any] = getattr(kind, method)
    count = 0

    def die() -> None:
        nonlocal count
        count += 1
        if count == passings:
            os.kill(os.getpid(), signal.SIGKILL)

    def armed(*arguments: Any, **named: Any) -> Any:
        if when == "before":
            die()
        answer = original(*arguments, **named)
        if when == "after":
            die()
        return answer

    setattr(kind, method, armed)


BASE_BYTES = 160 * 2**20
"""Private writable memory of an idle service, its threads' stacks included (RLIMIT_DATA counts them in full)."""


NOT_IN_PRODUCTION = ("fastapi", "werkzeug")
"""dependency-injector takes these along wherever they are installed, 13 MB of them: here, because tests need them."""

if __name__ == "__main__":
    sys.modules.update(dict.fromkeys(NOT_IN_PRODUCTION))  # type: ignore[arg-type]
    limit = os.environ.get("OMS_TEST_DATA_LIMIT")
    if limit:
        resource.setrlimit(resource.RLIMIT_DATA, (BASE_BYTES + int(limit),) * 2)
    wanted = os.environ.get("OMS_TEST_CRASH_AT")
    if wanted and wanted.partition(":")[0] in {**POINTS, **RARE_POINTS}:
        point, _, passings = wanted.rpartition(":")
        arm(point, int(passings))
    elif wanted:
        from tests.support import part_deaths

        part_deaths.arm(wanted)
    from oms.entrypoints.cli import main

    main()
