"""Log lines, counters and alerts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

from oms.domain.text import storable_text


class Telemetry(Protocol):
    """Log lines, counters and alerts of the core. Says nothing that a secret could be in."""

    @abstractmethod
    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add to a counter; `name` is in snake_case without prefix, for instance `messages_handled`.

        A `value` of 0 declares the counter, so that it is exported before its first event.
        """

    def gauge(self, name: str, value: float, **labels: str) -> None:  # noqa: ARG002 - of those who can
        """Set a gauge: a value that goes up and down. Signals without a method of their own keep none."""
        return

    @abstractmethod
    def note(self, event: str, **fields: object) -> None:
        """One line of the log, in the words that operators know: `Inventory reserved`."""

    def note_all(self, notes: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        """Several lines, event and fields each, as if `note` had been called for each."""
        for event, fields in notes:
            self.note(event, **fields)

    def failure(self, event: str, error: BaseException | None = None, /, **fields: object) -> None:
        """An error that the system deals with by itself: one line of level warning, with the error's traceback.

        The texts of `error` come from a user's code and may be anything. Signals without a method of their own write
        a note.
        """
        said = {} if error is None else {"error": type(error).__name__, "detail": storable_text(error)}
        self.note(event, **said, **fields)

    @abstractmethod
    def alert(self, event: str, **fields: object) -> None:
        """Something that a person must look at."""
