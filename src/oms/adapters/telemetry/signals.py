"""Signals as structured log lines on stdout and counters for Prometheus."""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, TextIO

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from oms.adapters.telemetry.redaction import Redaction
from oms.domain.text import printable_text, storable_text
from oms.ports.signals import Signals
from oms.settings import Settings

_STAMPS = 2
"""How many of the processors say the same of all lines of a batch: level and time."""

TRACEBACK_LIMIT = 8000
"""Characters of a traceback that are logged."""

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class StructlogSignals(Signals):
    """Lines as JSON or for people; counters in a registry of their own, so that two systems don't meet."""

    def __init__(
        self, *, level: str = "info", form: str = "json", secrets: Iterable[str] = (), stream: TextIO | None = None
    ) -> None:
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._lock = threading.Lock()
        self._least = _LEVELS[level]
        self.redaction = Redaction(secrets)
        self._processors = _processors(form, self.redaction)
        self._writer = structlog.WriteLogger(stream or sys.stdout)
        self._log: Any = structlog.wrap_logger(
            self._writer,
            processors=self._processors,
            wrapper_class=structlog.BoundLogger,
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """By the `OMS_LOG_...` settings; what the settings hold as secret is never shown."""
        secret = settings.webhook_secret
        secrets = [secret.get_secret_value()] if secret is not None else []
        return cls(level=settings.log_level, form=settings.log_format, secrets=secrets)

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add to `oms_<name>_total`; a counter keeps the labels it was first counted with."""
        counter = self._counters.get(name)
        if counter is None:
            with self._lock:
                counter = self._counters.get(name)
                if counter is None:
                    counter = Counter(f"oms_{name}", name.replace("_", " "), sorted(labels), registry=self._registry)
                    self._counters[name] = counter
        (counter.labels(**labels) if labels else counter).inc(value)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set `oms_<name>`; a gauge keeps the labels it was first set with."""
        with self._lock:
            gauge = self._gauges.get(name)
            if gauge is None:
                gauge = Gauge(f"oms_{name}", name.replace("_", " "), sorted(labels), registry=self._registry)
                self._gauges[name] = gauge
        (gauge.labels(**labels) if labels else gauge).set(value)

    def note(self, event: str, **fields: object) -> None:
        """A line of level info."""
        if self._least <= logging.INFO:
            self._log.info(event, **fields)

    def note_all(self, notes: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        """Lines of level info, written and flushed at once: a batch has hundreds."""
        if self._least <= logging.INFO and notes:
            lines = [{**fields, "event": event} for event, fields in notes]
            self._writer.msg(
                "\n".join(self._clean(lines) if self.redaction.is_clean(lines) else map(self._line, lines))
            )

    def failure(self, event: str, error: BaseException | None = None, /, **fields: object) -> None:
        """A line of level warning; the traceback of `error` is its field `exception`."""
        if self._least > logging.WARNING:
            return
        said: dict[str, object] = {}
        if error is not None:
            said = {"error": storable_text(type(error).__name__), "exception": traceback_text(error)}
        self._log.warning(event, **said, **fields)

    def alarm(self, event: str, **fields: object) -> None:
        """A line of level error, and one more in `oms_alarms_total`."""
        self.count("alarms", event=event)
        self._log.error(event, **fields)

    def _line(self, fields: Mapping[str, object]) -> str:
        line: Any = dict(fields)
        for processor in self._processors:
            line = processor(None, "info", line)
        return str(line)

    def _clean(self, lines: Sequence[Mapping[str, object]]) -> Sequence[str]:
        """Lines with nothing to mask, at one moment: what all of them say is found out once."""
        stamp: Any = {}
        for processor in self._processors[:_STAMPS]:
            stamp = processor(None, "info", stamp)
        last = self._processors[-1]
        return [str(last(None, "info", {**line, **stamp})) for line in lines]

    def render_metrics(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def adopt_logging(self) -> None:
        """Have the standard library's loggers (uvicorn's, alembic's) write through the same lines and redaction."""
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=self._processors[:-1], processors=[_without_record, self._processors[-1]]
            )
        )
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(max(self._least, logging.WARNING))


def traceback_text(error: BaseException) -> str:
    """The traceback of an error whose texts may be anything: storable, and cut in its middle where it is long."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception as broken:  # noqa: BLE001 - an error that can't be described must not become a second one
        text = f"{type(error).__name__}, whose traceback can't be written: {type(broken).__name__}"
    if len(text) > TRACEBACK_LIMIT:
        half = TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n...\n{text[-half:]}"
    return storable_text(text, TRACEBACK_LIMIT + 10)


def _without_record(_logger: object, _method: str, line: Any) -> Any:
    return {name: value for name, value in line.items() if name not in ("_record", "_from_structlog")}


_write_any = json.JSONEncoder(default=storable_text, separators=(",", ":")).encode
_write_plain = msgspec.json.Encoder().encode


def _written(line: Mapping[str, object], **_: object) -> str:
    """A line as JSON in ASCII, which every console takes; most lines are plain, and cost a fifth."""
    try:
        plain = _write_plain(line)
    except (TypeError, ValueError, OverflowError):
        return _write_any(line)
    return plain.decode() if plain.isascii() and b"\x7f" not in plain else _write_any(line)


def _printable(render: Any) -> Any:
    """Renders a line in which no text can move or recolour the terminal, and that every stream takes."""

    def rendered(logger: object, method: str, line: Mapping[str, object]) -> str:
        clean = {
            name: printable_text(value, keep="\n") if isinstance(value, str) else value for name, value in line.items()
        }
        return str(render(logger, method, clean))

    return rendered


def _processors(form: str, redaction: Redaction) -> list[Any]:
    last: Any = structlog.processors.JSONRenderer(_written)
    if form == "console":
        last = _printable(structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty()))
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redaction,
        last,
    ]
