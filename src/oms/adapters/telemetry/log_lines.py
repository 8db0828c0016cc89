"""Log lines: how they are rendered, and how they reach a stream or the host's `logging`."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import msgspec
import structlog

from oms.adapters.telemetry.redaction import Redaction
from oms.domain.text import printable_text, storable_text

STAMPS = 2
"""Processors that add the same to all lines of a batch: level and time."""

TRACEBACK_LIMIT = 8000
"""Characters of a traceback that are logged."""


class LineWriter:
    """Writes whole lines to a stream. If the stream is closed or its disk is full, the lines are lost, and counted.

    It bypasses the stream's buffer, which would repeat text after an error, or end in the middle of a line.
    """

    def __init__(self, stream: TextIO | None, lost: Callable[[int], None]) -> None:
        self._stream, self._lost = stream, lost
        self._file = _file_of(stream)
        self._lock = threading.Lock()
        self._is_torn = False
        """Whether the last write ended in the middle of a line."""

    def write(self, lines: str) -> None:
        """Write one or more lines, separated but not ended by newlines."""
        with self._lock:
            try:
                self._put(lines)
            except (OSError, ValueError, AttributeError):  # disk full, no reader, closed, or no stream at all
                self._lost(lines.count("\n") + 1)

    def _put(self, lines: str) -> None:
        if self._file is None:
            stream: Any = self._stream
            stream.write(f"{lines}\n")
            stream.flush()
            return
        unwritten = memoryview(("\n" * self._is_torn + lines + "\n").encode(errors="backslashreplace"))
        while unwritten:
            unwritten = unwritten[os.write(self._file, unwritten) :]
            self._is_torn = bool(unwritten)


def _file_of(stream: TextIO | None) -> int | None:
    """The file descriptor of a stream; None if it has none, as in a test."""
    try:
        return stream.fileno() if stream is not None else None
    except (OSError, ValueError):
        return None


class LinesHandler(logging.Handler):
    """Passes the log records of libraries to a `LineWriter`."""

    def __init__(self, lines: LineWriter) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; in place of a record that can't be formatted, write which call of the logger was wrong."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a wrong call of a library's logger
            message = f"{type(error).__name__} in a log line of {record.name} ({record.pathname}:{record.lineno})"
            line = self.format(logging.makeLogRecord({"name": record.name, "levelname": "ERROR", "msg": message}))
        self._lines.write(line)


def host_record(
    logger: logging.Logger, level: int, line: Mapping[str, Any], error: BaseException | None
) -> logging.LogRecord:
    """A record for the host's handlers: event and fields as text, and separately in `oms_event` and `oms_fields`.

    Handlers print `exc_text`, which has no secrets; `exc_info` is for handlers that need the exception object.
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
    """The traceback of an error as storable text; a long one is shortened in its middle."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception as broken:  # noqa: BLE001 - an exception whose own `__str__` fails must not raise here
        text = f"{type(error).__name__}, whose traceback can't be written: {type(broken).__name__}"
    if len(text) > TRACEBACK_LIMIT:
        half = TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n...\n{text[-half:]}"
    return storable_text(text, TRACEBACK_LIMIT + 10)


def with_logger(_logger: object, _method: str, line: Any) -> Any:
    """A structlog processor that adds the logger's name, and the error, to the line of a library."""
    record: logging.LogRecord = line["_record"]
    error = {"exc_info": record.exc_info} if record.exc_info else {}
    return {**line, "logger": record.name, **error}


def without_record(_logger: object, _method: str, line: Any) -> Any:
    """A structlog processor that removes structlog's own fields from the line of a library."""
    return {name: value for name, value in line.items() if name not in ("_record", "_from_structlog")}


_write_any = json.JSONEncoder(default=storable_text, separators=(",", ":")).encode
_write_plain = msgspec.json.Encoder().encode


def _written(line: Mapping[str, object], **_: object) -> str:
    """A line as JSON in ASCII, which every console can show. Plain lines, as most are, take a fifth of the time."""
    try:
        plain = _write_plain(line)
    except (TypeError, ValueError, OverflowError):
        return _write_any(line)
    return plain.decode() if plain.isascii() and b"\x7f" not in plain else _write_any(line)


def _printable(render: Any) -> Any:
    """Wrap a renderer so that no text of a line can send control characters to the terminal."""

    def rendered(logger: object, method: str, line: Mapping[str, object]) -> str:
        clean = {
            name: printable_text(value, keep="\n") if isinstance(value, str) else value for name, value in line.items()
        }
        return str(render(logger, method, clean))

    return rendered


def processors(form: str, redaction: Redaction) -> list[Any]:
    """The structlog processors of a line; the first `STAMPS` of them add the same to all lines of a batch."""
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
