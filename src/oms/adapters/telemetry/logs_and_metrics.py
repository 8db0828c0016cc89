"""The telemetry port: log lines for the host's `logging` or for stdout, and metrics for Prometheus."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, TextIO

import structlog

from oms.adapters.telemetry.log_lines import (
    STAMPS,
    LinesHandler,
    LineWriter,
    host_record,
    processors,
    traceback_text,
    with_logger,
    without_record,
)
from oms.adapters.telemetry.metrics import PrometheusMetrics
from oms.adapters.telemetry.redaction import Redaction
from oms.domain.text import storable_text
from oms.ports.telemetry import Telemetry
from oms.settings.records import TelemetryConfig

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_NAMES = {level: name for name, level in _LEVELS.items()}
EVENTS, ERRORS, ALERTS = (logging.getLogger(f"oms.{name}") for name in ("events", "errors", "alerts"))


class StructlogTelemetry(PrometheusMetrics, Telemetry):
    """Writes log lines to the host's `logging`, and keeps metrics.

    The loggers are `oms.events`, `oms.errors` and `oms.alerts`. They aren't configured: the host chooses which lines
    are shown, where and how. With a `stream`, or after `own_the_log`, the lines go to that stream instead, as JSON or
    as text for a terminal.
    """

    def __init__(
        self, *, level: str = "info", form: str = "json", secrets: Iterable[str] = (), stream: TextIO | None = None
    ) -> None:
        super().__init__()
        self._least_level = _LEVELS[level]
        self.redaction = Redaction(secrets)
        self._processors = processors(form, self.redaction)
        self._lines = LineWriter(stream, self._lost) if stream is not None else None

    @classmethod
    def from_config(cls, config: TelemetryConfig) -> Self:
        """Return telemetry that writes to stdout and never shows the secrets of the record."""
        return cls(level=config.level, form=config.form, secrets=config.secrets)

    def note(self, event: str, **fields: object) -> None:
        """Write a line of level info."""
        self._write(EVENTS, logging.INFO, event, fields)

    def note_all(self, notes: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        """Write lines of level info together: a batch has hundreds."""
        if self._lines is None:
            super().note_all(notes)
        elif self._least_level <= logging.INFO and notes:
            lines = [{**fields, "event": event} for event, fields in notes]
            clean = self.redaction.is_clean(lines)
            rendered = self._render_clean(lines) if clean else [self._line(line, "info") for line in lines]
            self._lines.write("\n".join(rendered))

    def failure(self, event: str, error: BaseException | None = None, /, **fields: object) -> None:
        """Write a line of level warning; its field `exception` has the traceback of `error`."""
        cause: dict[str, object] = {}
        if error is not None:
            cause = {"error": storable_text(type(error).__name__), "exception": traceback_text(error)}
        self._write(ERRORS, logging.WARNING, event, {**cause, **fields}, error)

    def alert(self, event: str, **fields: object) -> None:
        """Write a line of level error, and add one to `oms_alarms_total`."""
        self.count("alarms", event=event)
        self._write(ALERTS, logging.ERROR, event, fields)

    def _write(
        self,
        logger: logging.Logger,
        level: int,
        event: str,
        fields: Mapping[str, object],
        error: BaseException | None = None,
    ) -> None:
        if self._least_level > level:
            return
        if self._lines is not None:
            self._lines.write(self._line({**fields, "event": event}, _NAMES[level]))
        elif logger.isEnabledFor(level):
            logger.handle(host_record(logger, level, self.redaction(None, "", {**fields, "event": event}), error))

    def _lost(self, number: int) -> None:
        self.count("log_lines_lost", number)

    def _line(self, fields: Mapping[str, object], level: str) -> str:
        line: Any = dict(fields)
        for processor in self._processors:
            line = processor(None, level, line)
        return str(line)

    def _render_clean(self, lines: Sequence[Mapping[str, object]]) -> Sequence[str]:
        """Render lines without anything to mask. Level and time are the same in all of them, and rendered once."""
        stamp: Any = {}
        for processor in self._processors[:STAMPS]:
            stamp = processor(None, "info", stamp)
        last = self._processors[-1]
        return [str(last(None, "info", {**line, **stamp})) for line in lines]

    def own_the_log(self, stream: TextIO | None = None) -> None:
        """Write everything that this process logs to a stream, by default stdout, in one format.

        Only for a process that runs nothing but oms. Lines of libraries, Python's warnings and unhandled errors are
        redacted and written in the same way.
        """
        lines = self._lines = LineWriter(stream or sys.stdout, self._lost)
        handler = LinesHandler(lines)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[with_logger, *self._processors[:-1]],
                processors=[without_record, self._processors[-1]],
            )
        )
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(max(self._least_level, logging.WARNING))
        logging.getLogger("oms.kafka").setLevel(logging.DEBUG)  # librdkafka's own `log_level` and `debug` decide
        logging.captureWarnings(capture=True)
