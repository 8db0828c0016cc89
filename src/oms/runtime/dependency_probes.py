"""The probes of a process, which detect an unavailable server even while the process is idle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from oms.engine.assembly import ServiceAssembly
from oms.engine.health import PROCESS, Condition, HealthRecord
from oms.ports.broker import Broker, TopicPartition
from oms.ports.errors import Permanent
from oms.ports.gate import StockGate
from oms.ports.stores.store import Store
from oms.runtime.health_watch import Check, Probe

WRITE_EVERY = 2
"""One probe in this many writes to the store. When every probe wrote, an idle embedded system wrote 76 KB a second."""

PROBE_GROUP = "oms-health"
"""The consumer group of the rows that a probe writes; no real group has this name."""


def probes(
    record: HealthRecord,
    assemblies: Mapping[str, ServiceAssembly[Any]],
    broker: Broker,
    gate: StockGate | None,
    token: str,
) -> Sequence[Probe]:
    """Return a probe for each store, one for the log and, if inventory runs here, one for the gate.

    `token` is unique to this process.
    """
    found = [Probe("store", one.health, _store_checks(one.service.store, token)) for one in assemblies.values()]
    process = record.of(PROCESS)
    topics = sorted({topic for one in assemblies.values() for topic in one.service.topics})
    groups = sorted({one.service.group for one in assemblies.values()})
    found.append(Probe("log", process, _log_checks(broker, topics, groups)))
    inventory = assemblies.get("inventory")
    if gate is not None and inventory is not None and hasattr(gate, "check"):
        found.append(Probe("gate", inventory.health, [(Condition.GATE_UNAVAILABLE, gate.check)]))
    return found


def _store_checks(store: Store, token: str) -> Sequence[Check]:
    partition, turns = TopicPartition(token, 0), count()

    def write() -> None:
        """Write and remove a counter of attempts, as for a batch of messages; neither waits for the disk."""
        if next(turns) % WRITE_EVERY:
            return
        try:
            store.start_attempts(PROBE_GROUP, {partition: 0})
            store.clear_attempts(PROBE_GROUP, [partition])
        except Exception:
            next(turns)  # the next probe writes too, because only a successful write ends the problem
            raise

    return [(Condition.STORE_UNAVAILABLE, store.ping), (Condition.STORE_NOT_WRITABLE, write)]


def _log_checks(broker: Broker, topics: Sequence[str], groups: Sequence[str]) -> Sequence[Check]:
    refused: list[Permanent] = []

    def answers() -> None:
        refused.clear()
        check = getattr(broker, "check", None)  # a shop's own broker may not have this method
        try:
            if check is not None:
                check(topics, groups)
        except Permanent as error:
            refused.append(error)

    def refuses_nothing() -> None:
        if refused:
            raise refused[0]

    return [(Condition.LOG_UNAVAILABLE, answers), (Condition.LOCKED_OUT, refuses_nothing)]
