"""Log lines, counters and alerts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol, TextIO

from oms.domain.text import storable_text


class Telemetry(Protocol):
    """Log lines, counters and alerts of the core. Callers pass no secrets."""

    @abstractmethod
    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add to a counter. `name` is in snake_case without prefix, for instance `messages_handled`.

        A `value` of 0 declares the counter, so that it is exported before its first event.
        """

    def gauge(self, name: str, value: float, **labels: str) -> None:  # noqa: ARG002 - for telemetry that has gauges
        """Set a gauge: a value that goes up and down. By default, do nothing."""
        return

    @abstractmethod
    def note(self, event: str, **fields: object) -> None:
        """Write one line to the log, such as `Inventory reserved`."""

    def note_all(self, notes: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        """Write several lines (event, fields), as if `note` were called for each."""
        for event, fields in notes:
            self.note(event, **fields)

    def failure(self, event: str, error: BaseException | None = None, /, **fields: object) -> None:
        """Report an error from which the system recovers by itself: one warning in the log, with the traceback.

        `error` may come from a shop's own code, so its text may be anything. By default, write a note.
        """
        said = {} if error is None else {"error": type(error).__name__, "detail": storable_text(error)}
        self.note(event, **said, **fields)

    def render_metrics(self) -> bytes:
        """Return all counters and gauges in the Prometheus text format; by default nothing."""
        return b""

    def own_the_log(self, stream: TextIO | None = None) -> None:  # noqa: ARG002 - for telemetry that writes the log
        """Send all log output of this process to `stream` (None: stdout). By default, do nothing."""
        return

    @abstractmethod
    def alert(self, event: str, **fields: object) -> None:
        """Report something that a person must look at: a log line and a counter."""
