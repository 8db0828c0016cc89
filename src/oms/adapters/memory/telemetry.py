"""Telemetry that a test can read."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from oms.ports.telemetry import Telemetry


@attrs.frozen
class Count:
    """One call of `count`."""

    name: str
    value: int
    labels: Mapping[str, str]


@attrs.frozen
class Line:
    """One call of `note` or `alert`."""

    event: str
    fields: Mapping[str, object]


@attrs.frozen
class Failure:
    """One call of `failure`."""

    event: str
    error: BaseException | None
    fields: Mapping[str, object]


class RecordingTelemetry(Telemetry):
    """Records every call."""

    def __init__(self) -> None:
        self.counts: list[Count] = []
        self.gauges: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self.notes: list[Line] = []
        self.failures: list[Failure] = []
        self.alerts: list[Line] = []

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        self.counts.append(Count(name, value, labels))

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self.gauges[name, frozenset(labels.items())] = value

    def note(self, event: str, **fields: object) -> None:
        self.notes.append(Line(event, fields))

    def failure(self, event: str, error: BaseException | None = None, /, **fields: object) -> None:
        self.failures.append(Failure(event, error, fields))

    def alert(self, event: str, **fields: object) -> None:
        self.alerts.append(Line(event, fields))

    def total(self, name: str, **labels: str) -> int:
        """Return the sum of a counter over all calls that have these labels."""
        wanted = labels.items()
        return sum(count.value for count in self.counts if count.name == name and wanted <= count.labels.items())
