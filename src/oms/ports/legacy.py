"""What the system replaced left behind, as it stands there: text, of which nothing is checked yet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

import attrs


@attrs.frozen
class LegacyOrder:
    """An order with its lines (product, quantity); all but the lines is None where only lines are there."""

    id: str
    user_id: str | None
    total: str | None
    """In major units, as a decimal number."""

    status: str | None
    created_at: datetime | None
    """In UTC; None where it isn't recorded."""

    lines: tuple[tuple[str | None, str | None], ...]


class LegacyOrders(Protocol):
    """Its orders. Reading changes nothing there, and may be repeated."""

    @abstractmethod
    def orders(self) -> Iterable[LegacyOrder]:
        """Every order by id, as of one moment.

        `Permanent` where there are no such tables or columns, `Retryable` where the server can't be reached.
        """


class LegacyStock(Protocol):
    """Its stock. Reading changes nothing there, and may be repeated."""

    @abstractmethod
    def counts(self) -> Iterable[tuple[str, str]]:
        """Each product with its count, by product; text that says what is there instead, where that is no count.

        `Retryable` where the server can't be reached.
        """
