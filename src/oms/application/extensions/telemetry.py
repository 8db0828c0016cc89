"""Keeps an error of the telemetry from failing the work that it reports on."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

from oms.application.extensions.calling import called
from oms.domain.text import storable_text
from oms.ports.telemetry import Telemetry

_REPORT_EVERY = 1000

_TRACE_LIMIT = 10_000
"""Characters of a traceback that are logged."""


class CheckedTelemetry(Telemetry):
    """Telemetry that never raises: its first failure, and each thousandth, goes to Python's logger `oms.telemetry`."""

    def __init__(self, inner: Telemetry) -> None:
        self._inner = inner
        self._failures = 0

    def __getattr__(self, name: str) -> Any:
        """Return a method that the telemetry has and the port doesn't."""
        return getattr(self._inner, name)

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add to a counter."""
        try:
            called("telemetry.count", partial(self._inner.count, name, value, **labels))
        except Exception:  # noqa: BLE001 - reported; the work goes on
            self._failed("count")

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        inner = getattr(self._inner, "gauge", None)
        if inner is None:
            return
        try:
            called("telemetry.gauge", partial(inner, name, value, **labels))
        except Exception:  # noqa: BLE001 - reported; the work goes on
            self._failed("gauge")

    def render_metrics(self) -> bytes:
        """Return the metrics; its errors reach the caller, which serves them."""
        inner = getattr(self._inner, "render_metrics", None)
        rendered: bytes = super().render_metrics() if inner is None else inner()
        return rendered

    def own_the_log(self, stream: TextIO | None = None) -> None:
        """Send all log output of this process to a stream."""
        inner = getattr(self._inner, "own_the_log", None)
        if inner is not None:
            inner(*(() if stream is None else (stream,)))

    def note(self, event: str, **fields: object) -> None:
        """Write one line."""
        try:
            called("telemetry.note", partial(self._inner.note, event, **fields))
        except Exception:  # noqa: BLE001 - reported; the work goes on
            self._failed("note")

    def note_all(self, notes: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        """Write several lines."""
        inner = getattr(self._inner, "note_all", None)
        if inner is None:
            super().note_all(notes)
            return
        try:
            called("telemetry.note_all", inner, notes)
        except Exception:  # noqa: BLE001 - reported; the work goes on
            self._failed("note_all")

    def failure(self, event: str, error: BaseException | None = None, /, **fields: object) -> None:
        """Report an error that the system handles by itself."""
        inner = getattr(self._inner, "failure", None)
        if inner is None:
            super().failure(event, error, **fields)
            return
        try:
            called("telemetry.failure", partial(inner, event, error, **fields))
        except Exception:  # noqa: BLE001 - reported; the work goes on
            self._failed("failure")

    def alert(self, event: str, **fields: object) -> None:
        """Report a condition that a person must look at."""
        try:
            called("telemetry.alert", partial(self._inner.alert, event, **fields))
        except Exception:  # noqa: BLE001 - reported; the work goes on
            self._failed("alert")

    def _failed(self, method: str) -> None:
        self._failures += 1
        if self._failures % _REPORT_EVERY == 1:
            trace = storable_text(traceback.format_exc(), _TRACE_LIMIT)
            with suppress(Exception):  # a handler of the host's may raise as well; there is nowhere left to report it
                text, log_error = "telemetry.%s failed, %d times so far\n%s", logging.getLogger("oms.telemetry").error
                called("logging", partial(log_error, text, method, self._failures, trace))
