"""Signals as log lines and counters for Prometheus: lines of the host's `logging`, or a process's own on stdout."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TextIO

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from oms.adapters.telemetry.redaction import Redaction
from oms.domain.text import printable_text, storable_text
from oms.ports.telemetry import Telemetry
from oms.settings import Settings

_STAMPS = 2
"""How many of the processors say the same of all lines of a batch: level and time."""

TRACEBACK_LIMIT = 8000
"""Characters of a traceback that are logged."""

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_NAMES = {level: name for name, level in _LEVELS.items()}
EVENTS, ERRORS, ALERTS = (logging.getLogger(f"oms.{name}") for name in ("events", "errors", "alerts"))


class StructlogTelemetry(Telemetry):
    """Lines for the host's `logging`; counters in a registry of their own, so that two systems don't meet.

    The loggers are `oms.events`, `oms.errors` and `oms.alerts`. Nothing is configured: which lines are shown, where and
    how, is the host's choice. With a `stream`, or after `own_the_log`, the lines are written there by themselves, as
    JSON or for people.
    """

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
        self._lines = LineWriter(stream, self._lost) if stream is not None else None

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
        self._write(EVENTS, logging.INFO, event, fields)

    def note_all(self, notes: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        """Lines of level info, written and flushed at once: a batch has hundreds."""
        if self._lines is None:
            super().note_all(notes)
        elif self._least <= logging.INFO and notes:
            lines = [{**fields, "event": event} for event, fields in notes]
            clean = self.redaction.is_clean(lines)
            self._lines.write("\n".join(self._clean(lines) if clean else [self._line(one, "info") for one in lines]))

    def failure(self, event: str, error: BaseException | None = None, /, **fields: object) -> None:
        """A line of level warning; the traceback of `error` is its field `exception`."""
        said: dict[str, object] = {}
        if error is not None:
            said = {"error": storable_text(type(error).__name__), "exception": traceback_text(error)}
        self._write(ERRORS, logging.WARNING, event, {**said, **fields}, error)

    def alert(self, event: str, **fields: object) -> None:
        """A line of level error, and one more in `oms_alarms_total`."""
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
        if self._least > level:
            return
        if self._lines is not None:
            self._lines.write(self._line({**fields, "event": event}, _NAMES[level]))
        elif logger.isEnabledFor(level):
            logger.handle(_record(logger, level, self.redaction(None, "", {**fields, "event": event}), error))

    def _lost(self, number: int) -> None:
        self.count("log_lines_lost", number)

    def _line(self, fields: Mapping[str, object], level: str) -> str:
        line: Any = dict(fields)
        for processor in self._processors:
            line = processor(None, level, line)
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

    def own_the_log(self, stream: TextIO | None = None) -> None:
        """Write all that this process logs as lines of one form to a stream, by default stdout.

        For a process that is ours alone. Lines of libraries, Python's warnings and errors that no code handles come
        the same way and pass the same redaction.
        """
        lines = self._lines = LineWriter(stream or sys.stdout, self._lost)
        handler = _LinesHandler(lines)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[_with_logger, *self._processors[:-1]],
                processors=[_without_record, self._processors[-1]],
            )
        )
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(max(self._least, logging.WARNING))
        logging.getLogger("oms.kafka").setLevel(logging.DEBUG)  # librdkafka's own `log_level` and `debug` decide
        logging.captureWarnings(capture=True)


class LineWriter:
    """Whole lines on a stream. Where it is gone or full they are lost and counted, and nothing else happens.

    It writes past the stream's buffer: what that keeps after an error would come again, or in the middle of a line.
    """

    def __init__(self, stream: TextIO | None, lost: Callable[[int], None]) -> None:
        self._stream, self._lost = stream, lost
        self._file = _file_of(stream)
        self._lock = threading.Lock()
        self._is_torn = False
        """Whether the last write ended within a line."""

    def write(self, lines: str) -> None:
        """Write one or more lines; the last has no end of line."""
        with self._lock:
            try:
                self._put(lines)
            except (OSError, ValueError, AttributeError):  # no space, no reader, closed, or no stream at all
                self._lost(lines.count("\n") + 1)

    def _put(self, lines: str) -> None:
        if self._file is None:
            stream: Any = self._stream
            stream.write(f"{lines}\n")
            stream.flush()
            return
        left = memoryview(("\n" * self._is_torn + lines + "\n").encode(errors="backslashreplace"))
        while left:
            left = left[os.write(self._file, left) :]
            self._is_torn = bool(left)


def _file_of(stream: TextIO | None) -> int | None:
    """The number of a stream's file; None where it has none, as in a test."""
    try:
        return stream.fileno() if stream is not None else None
    except (OSError, ValueError):
        return None


class _LinesHandler(logging.Handler):
    """Gives what libraries log to a writer of lines."""

    def __init__(self, lines: LineWriter) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; one that can't be formatted is written as far as it can be."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a wrong call of a library's logger
            said = f"{type(error).__name__} in a log line of {record.name} ({record.pathname}:{record.lineno})"
            line = self.format(logging.makeLogRecord({"name": record.name, "levelname": "ERROR", "msg": said}))
        self._lines.write(line)


def _record(
    logger: logging.Logger, level: int, line: Mapping[str, Any], error: BaseException | None
) -> logging.LogRecord:
    """A record for the host: the event with its fields as text, and both by themselves as `oms_event`, `oms_fields`.

    Handlers print `exc_text`, which has no secrets; `exc_info` is for those that want the error itself.
    """
    event = str(line["event"])
    fields = {name: value for name, value in line.items() if name not in ("event", "exception")}
    text = " ".join([event, *(f"{name}={value}" for name, value in fields.items())])
    trace = (type(error), error, error.__traceback__) if error is not None else None
    made = logger.makeRecord(
        logger.name, level, __file__, 0, text, (), trace, extra={"oms_event": event, "oms_fields": fields}
    )
    made.exc_text = line.get("exception")
    return made


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


def _with_logger(_logger: object, _method: str, line: Any) -> Any:
    """Of a library's line: whose it is, and the error that it is about."""
    record: logging.LogRecord = line["_record"]
    error = {"exc_info": record.exc_info} if record.exc_info else {}
    return {**line, "logger": record.name, **error}


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
