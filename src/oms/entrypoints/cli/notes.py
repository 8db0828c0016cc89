"""Telemetry that passes the log lines about one order to the command that prints them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue

import attrs

from oms.bootstrap.adapter_factories import console_telemetry
from oms.entrypoints.cli.output import give_up
from oms.ports.telemetry import Telemetry

PATIENCE_S = 60.0
LAST = ("order.confirmed", "order.cancelled", "order.rejected")
"""The kinds of an order's last notification."""


@attrs.frozen
class Note:
    """One log line about an order. `at` is in seconds of the monotonic clock."""

    at: float
    event: str
    kind: str


class Notes(Telemetry):
    """Queues the log lines about orders; metrics, failures and alerts go to the console telemetry."""

    def __init__(self) -> None:
        self._console = console_telemetry()
        self._notes: SimpleQueue[tuple[str, Note]] = SimpleQueue()
        self._listening = True

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add to a counter of the console telemetry."""
        self._console.count(name, value, **labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge of the console telemetry."""
        self._console.gauge(name, value, **labels)

    def render_metrics(self) -> bytes:
        """Return the metrics in the Prometheus text format."""
        rendered: bytes = self._console.render_metrics()
        return rendered

    def failure(self, event: str, error: BaseException | None = None, /, **fields: object) -> None:
        """Log the failure on the console."""
        self._console.failure(event, error, **fields)

    def alert(self, event: str, **fields: object) -> None:
        """Log the alert on the console."""
        self._console.alert(event, **fields)

    def note(self, event: str, **fields: object) -> None:
        """Queue a line that names an order, until `of` has ended."""
        if self._listening and "order_id" in fields:
            note = Note(time.monotonic(), event, str(fields.get("kind", "")))
            self._notes.put((str(fields["order_id"]), note))

    def note_all(self, notes: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        """Queue each line that names an order."""
        for event, fields in notes:
            self.note(event, **fields)

    def of(self, order_id: str) -> Iterator[Note]:
        """Yield the lines of an order until its last notification; afterwards no more lines are queued."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                named, note = self._notes.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                give_up(f"order {order_id} hasn't settled within {PATIENCE_S:.0f} s", 1)
            if named != order_id:
                continue
            yield note
            if note.event == "Notification sent" and note.kind in LAST:
                self._listening = False
                return
