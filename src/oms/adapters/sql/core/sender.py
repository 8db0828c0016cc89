"""Decides when the statements of one transaction are sent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

import attrs

from oms.ports.errors import Permanent, PortError, Retryable

Rows = Sequence[tuple[Any, ...]]


class Missed(Enum):
    """Why a statement changed fewer rows than expected."""

    CHANGED = "another transaction changed a row first"
    NO_PRODUCT = "a product has no row"

    def error(self) -> PortError:
        """Return the error that the statement's caller gets."""
        if self is Missed.NO_PRODUCT:
            return Permanent("there is no such product")
        return Retryable("another transaction was first")


@attrs.frozen
class ExpectedRows:
    """How many rows a statement must change, and the reason if it changes another number."""

    count: int
    missed: Missed


class Sender(Protocol):
    """Gives compiled statements to a driver, at once or later, in the order of the calls.

    A statement without rows may be buffered. `fetch`, `flush` and `commit` send the buffered statements first, so they
    raise the errors of those as well. Errors are the driver's own, except for `Missed.error`.
    """

    @property
    @abstractmethod
    def known_time(self) -> datetime | None:
        """The store's time at the beginning of the transaction; None while the server hasn't reported it."""

    @abstractmethod
    def read_time(self) -> datetime | None:
        """Like `known_time`, but queries a server that hasn't reported it. None for a single statement."""

    @property
    @abstractmethod
    def buffered(self) -> int:
        """How many statements are buffered."""

    @abstractmethod
    def run(self, text: str, parameters: Any) -> None:
        """Run a statement that returns no rows."""

    @abstractmethod
    def run_for_rows(self, text: str, rows: Any, expected: ExpectedRows | None = None) -> None:
        """Run a compiled `BulkStatement`, perhaps with the number of rows that it has to change."""

    @abstractmethod
    def fetch(self, text: str, parameters: Any) -> Rows:
        """Run a query and return its rows."""

    @abstractmethod
    def fetch_for_rows(self, text: str, rows: Any) -> Rows:
        """Run a compiled `BulkStatement` that has RETURNING, and return its rows in any order."""

    @abstractmethod
    def flush(self) -> None:
        """Send the buffered statements."""

    @abstractmethod
    def commit(self) -> None:
        """Send the buffered statements and commit."""

    @abstractmethod
    def discard(self) -> None:
        """Forget the buffered statements."""
