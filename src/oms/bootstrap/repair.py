"""`oms repair`: makes the files of an embedded system consistent if they were copied at different times."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from oms.application.extensions.gateway import book_of
from oms.bootstrap.app import App
from oms.bootstrap.backups import naming_files
from oms.bootstrap.system import SERVICES, findings
from oms.engine.dependencies import ServiceDependencies
from oms.operations.repair import Repair, unexplained
from oms.operations.system_records import Records
from oms.ports.errors import SettingsError


def repair(app: App) -> Sequence[str]:
    """Repair a system that no process uses; return one line for each kind of change.

    `app` has the system's own extensions and steps, and hasn't been used yet. Raises `Permanent` for a file that is
    missing, empty, damaged or from another system, because no repair can restore its data.
    """
    if app.settings.profile != "embedded":
        raise SettingsError("OMS_PROFILE: only the files of an embedded system can be of different moments")
    log = app.settings.data / "broker.db"
    if not log.exists():
        raise SettingsError(f"OMS_DATA: there is no system in {app.settings.data}: {log.name} is missing")
    app.container.files().repairing = True
    with naming_files(app.settings.data):
        return _repaired(app)


def _repaired(app: App) -> Sequence[str]:
    container = app.container
    try:
        assemblies = app.system.assemblies
        stores: dict[str, Any] = {name: assemblies[name].service.store for name in SERVICES}
        log: Any = container.broker()
        shared = ServiceDependencies(log, container.codec(), container.clock(), container.ids(), container.telemetry())
        made = Repair(assemblies, log.in_order, log.partitions, shared, time.sleep)
        published, handled = made.publish(findings(container, stores)), made.replay()
        while (left := findings(container, stores)).unpublished:
            # Some unpublished messages are found only after a replay: the order's terms come with `order.created`.
            published += made.publish(left)
            handled += made.replay()
        undone = made.undo(left.payments, left.reservations)
        gateway = container.gateway()
        book = book_of(gateway)
        cancelled = made.cancel(Records.read(app.evidence), book.all_entries() if book is not None else ())
        made.replay()
        lost = unexplained(Records.read(app.evidence))
        repair_book = getattr(gateway, "repair_book", None)
        lines = repair_book(stores["payment"].all_payments()) if repair_book is not None else 0
    finally:
        app.stop()
    done = (
        (published, "messages published again that the log lacked"),
        (handled, "messages of the log looked at again"),
        (len(undone), f"payments or reservations undone whose orders are lost: {', '.join(undone)}"),
        (len(cancelled), f"orders cancelled because their stock or money is gone: {', '.join(cancelled)}"),
        (lines, "lines written to the book of the simulated gateway"),
        (len(lost), f"things that an operator has to decide: {'; '.join(lost)}"),
    )
    return [f"{count} {text}" for count, text in done if count]
