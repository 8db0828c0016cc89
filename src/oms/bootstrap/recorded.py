"""The records of a system, opened read-only for operators' commands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from oms.application.extensions.gateway import book_of
from oms.application.steps.context import OwnStep
from oms.bootstrap import adapter_factories as make
from oms.bootstrap.extension_loading import load_extension
from oms.bootstrap.system import SERVICES, check_currency
from oms.ports.clock import Clock
from oms.ports.errors import SettingsError
from oms.ports.evidence import Evidence, GatewayBook, StepEvidence
from oms.ports.extensions import PaymentGateway
from oms.ports.messages import Codec, copies_topic
from oms.ports.sorting import MakeSorter
from oms.settings import Settings


@attrs.frozen
class Recorded:
    """The records of a system, with the codec, clock and sorter that their readers need."""

    evidence: Evidence
    codec: Codec
    clock: Clock
    sorter: MakeSorter

    def close(self) -> None:
        """Close files and connections."""
        found = self.evidence
        steps = [step.record for step in found.steps.values()]
        for record in (found.order, found.inventory, found.payment, found.notification, *steps, found.log, found.gate):
            close = getattr(record, "close", None)
            if close is not None:
                close()


def recorded(
    settings: Settings,
    *,
    with_book: bool = True,
    own: Mapping[str, OwnStep] | None = None,
    snapshots: int | None = None,
) -> Recorded:
    """Return the records of a system, opened read-only; raises `SettingsError` if there are none.

    `with_book` opens the gateway's book, for which a shop's own gateway is made. `own` are the user's own steps; a step
    that never ran has no records. `snapshots` is the number of services that are read at the same time, by default all;
    raises `Retryable` if a connection pooler allows fewer.
    """
    from oms.adapters.system.disk_sorter import DiskSorter

    if settings.profile == "memory":
        raise SettingsError("OMS_PROFILE: a system of profile 'memory' leaves no record to check")
    if settings.profile == "distributed":
        evidence = _on_servers(settings, own or {}, snapshots)
    else:
        evidence = _on_disk(settings, own or {})
    for name in SERVICES:
        check_currency(name, getattr(evidence, name).currency(), settings)
    if with_book:
        evidence = attrs.evolve(evidence, book=_book(settings))
    return Recorded(evidence, make.codec(settings), make.clock(), DiskSorter)


def _on_disk(settings: Settings, own: Mapping[str, OwnStep]) -> Evidence:
    from oms.adapters.sql import factory
    from oms.adapters.sqlite_log.log import SqliteLog

    def path(name: str) -> Path:
        return settings.data / f"{name}.db"

    missing = [name for name in (*SERVICES, "broker") if not path(name).exists()]
    if missing:
        raise SettingsError(f"OMS_DATA: there is no system in {settings.data}: {missing[0]}.db is missing")
    clock = make.clock()

    def store(name: str) -> Any:
        return factory.read_only(name, path(name), clock, immutable=_is_immutable(path(name)))

    order, stock, payment, notification = map(store, SERVICES)
    steps = {
        name: StepEvidence(store(f"step-{name}"), tuple(step.handlers))
        for name, step in own.items()
        if path(f"step-{name}").exists()
    }
    unread = {found.stem for found in settings.data.glob("step-*.db")} - {f"step-{name}" for name in own}
    log = SqliteLog.read_only(path("broker"), immutable=_is_immutable(path("broker")))
    return Evidence(order, stock, payment, notification, log, steps=steps, unread_steps=unread, whole_book=False)


def _on_servers(settings: Settings, own: Mapping[str, OwnStep], snapshots: int | None) -> Evidence:
    from oms.adapters.kafka.broker import OWN_TOPICS, KafkaBroker
    from oms.adapters.redis.gate import RedisGate
    from oms.adapters.sql import factory
    from oms.adapters.sql.provisioning.checks import other_steps
    from oms.adapters.sql.provisioning.pooler import check_pooler

    check_pooler(settings.postgres, snapshots or len(SERVICES) + len(own))
    order, stock, payment, notification = (factory.postgres_reader(name, settings.postgres) for name in SERVICES)
    steps = {
        name: StepEvidence(factory.postgres_reader(f"step-{name}", settings.postgres), tuple(step.handlers))
        for name, step in own.items()
    }
    topics = (*OWN_TOPICS, *map(copies_topic, own))
    log = KafkaBroker(settings.kafka, make.telemetry(settings), topics=topics)
    gate = RedisGate.from_config(settings.redis, make.clock())
    unread = other_steps(settings.postgres, [f"step-{name}" for name in own])
    return Evidence(
        order, stock, payment, notification, log, gate=gate, steps=steps, unread_steps=unread, whole_book=False
    )


def _book(settings: Settings) -> GatewayBook | None:
    """Return the gateway's book, opened while other processes may use the gateway; None if it has no book."""
    if settings.payment_gateway != "simulated":
        return book_of(load_extension(settings.payment_gateway, "OMS_PAYMENT_GATEWAY", PaymentGateway))
    from oms.adapters.gateways.sqlite_book import SqliteBook

    path = settings.data / "gateway.db"
    return SqliteBook.read_only(path, immutable=_is_immutable(path)) if path.exists() else None


def _is_immutable(path: Path) -> bool:
    """Whether a SQLite file must be opened as immutable: its directory is read-only, and no process uses it.

    SQLite needs a `-wal` and a `-shm` file in the same directory, and can't make them there. A file in use, or copied
    while it was in use, has them already. Raises `SettingsError` for a copy that has only the `-wal` file.
    """
    if os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        return False
    side_files = {name: Path(f"{path}-{name}") for name in ("wal", "shm")}
    if side_files["shm"].exists():
        return False
    if side_files["wal"].exists() and side_files["wal"].stat().st_size:
        raise SettingsError(
            f"OMS_DATA: {path} can't be read: its directory is read-only, and {side_files['shm'].name} is missing"
            f" next to {side_files['wal'].name}; copy the directory to a place that can be written"
        )
    return True
