"""What a running process asks its servers, so that an idle one notices as well that it couldn't work."""

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
from oms.runtime.health_watch import Check, Question

WRITE_EVERY = 2
"""A store is written at each second question: an embedded system at rest wrote 76 KB a second otherwise."""

PROBE_GROUP = "oms-health"
"""The consumer under which a probe's rows are written; no group has this name."""


def questions(
    record: HealthRecord, parts: Mapping[str, ServiceAssembly[Any]], broker: Broker, gate: StockGate | None, token: str
) -> Sequence[Question]:
    """One question for each store, one for the log and, where inventory runs here, one for the gate.

    `token` is a name that no other process has.
    """
    found = [Question("store", part.health, _store_checks(part.service.store, token)) for part in parts.values()]
    process = record.of(PROCESS)
    topics = sorted({topic for part in parts.values() for topic in part.service.topics})
    groups = sorted({part.service.group for part in parts.values()})
    found.append(Question("log", process, _log_checks(broker, topics, groups)))
    inventory = parts.get("inventory")
    if gate is not None and inventory is not None and hasattr(gate, "check"):
        found.append(Question("gate", inventory.health, [(Condition.GATE_UNAVAILABLE, gate.check)]))
    return found


def _store_checks(store: Store, token: str) -> Sequence[Check]:
    place, turns = TopicPartition(token, 0), count()

    def write() -> None:
        """A row is written and removed, as for a batch of messages; neither waits for the disk."""
        if next(turns) % WRITE_EVERY:
            return
        try:
            store.start_attempts(PROBE_GROUP, {place: 0})
            store.clear_attempts(PROBE_GROUP, [place])
        except Exception:
            next(turns)  # the next time, too: only a write ends the problem
            raise

    return [(Condition.STORE_UNAVAILABLE, store.ping), (Condition.STORE_NOT_WRITABLE, write)]


def _log_checks(broker: Broker, topics: Sequence[str], groups: Sequence[str]) -> Sequence[Check]:
    refused: list[Permanent] = []

    def answers() -> None:
        refused.clear()
        check = getattr(broker, "check", None)  # a broker of the shop's own may be older
        try:
            if check is not None:
                check(topics, groups)
        except Permanent as error:
            refused.append(error)

    def refuses_nothing() -> None:
        if refused:
            raise refused[0]

    return [(Condition.LOG_UNAVAILABLE, answers), (Condition.LOCKED_OUT, refuses_nothing)]
