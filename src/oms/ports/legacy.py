"""Read access to the orders and stock of the Spring system: texts as they are stored there, not checked yet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

import attrs


@attrs.frozen
class LegacyOrder:
    """An order with its lines (product, quantity). Lines without an order: only `id` and `lines` aren't None."""

    id: str
    user_id: str | None
    total: str | None
    """In major units, as a decimal number."""

    status: str | None
    created_at: datetime | None
    """In UTC; None if it isn't recorded."""

    lines: tuple[tuple[str | None, str | None], ...]


class LegacyOrders(Protocol):
    """Reads the orders of the Spring system. Changes nothing there, and may be repeated."""

    @abstractmethod
    def orders(self) -> Iterable[LegacyOrder]:
        """Return every order by id, in one consistent snapshot.

        Raises `Permanent` if the tables or columns don't exist, `Retryable` if the server can't be reached.
        """


class LegacyStock(Protocol):
    """Reads the stock of the Spring system. Changes nothing there, and may be repeated."""

    @abstractmethod
    def counts(self) -> Iterable[tuple[str, str]]:
        """Return each product with its count, by product. If a key holds no count, the text describes its content.

        Raises `Retryable` if the server can't be reached.
        """
