"""The stock gate: a fast filter in front of the SQL ledger. It may refuse too many orders; it never sells too much.

The gate stores its answer to an order (HELD, REJECTED or RELEASED) and repeats it for the same order id. A product that
it doesn't know is UNKNOWN: the gate assumes neither zero nor unlimited stock. All its contents belong to an `epoch`; a
rebuild computes stock and holds from the ledger and writes them under the next epoch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Protocol

import attrs

from oms.domain.events import Shortage
from oms.domain.values import Items, OrderId, Sku

MOST_UNITS = 10**15
"""Largest quantity of a product in an order, and largest delta, in units. Redis scripts count in floating point, which
is exact up to nine times this number."""


class GateAnswer(Enum):
    """The gate's answer to an order."""

    HELD = "HELD"
    REJECTED = "REJECTED"
    RELEASED = "RELEASED"
    UNKNOWN = "UNKNOWN"
    """The gate doesn't know a product; it took nothing and stored no answer."""


@attrs.frozen
class Taken:
    """The gate's answer to one order, valid in `epoch`."""

    answer: GateAnswer
    epoch: int
    shortages: tuple[Shortage, ...] = ()
    unknown: tuple[Sku, ...] = ()


class StockGate(Protocol):
    """Methods that take several orders are atomic for each order, not for all together.

    All methods except `check`, `epoch` and `rebuild` raise `Closed` while no epoch is open.
    """

    @abstractmethod
    def take(self, orders: Mapping[OrderId, Items], epoch: int | None = None) -> Mapping[OrderId, Taken]:
        """Hold all items of each order or none of them. For a known order, take nothing and return the stored answer.

        With `epoch`, raises `Closed` and takes nothing if another epoch is open, because the caller's data is from
        before the rebuild.
        """

    def check(self) -> None:
        """Raise unless the gate's server responds and accepts writes, whether or not the gate is open.

        By default, does nothing. The caller is a separate thread, about once a second.
        """
        return

    @abstractmethod
    def give_back(self, orders: Collection[OrderId]) -> None:
        """Give back the units that each order holds, and store RELEASED for it, even if the gate doesn't know it.

        Idempotent: a repeat gives nothing back.
        """

    @abstractmethod
    def introduce(self, available: Mapping[Sku, int], epoch: int) -> None:
        """Add unknown products with their available units; known ones keep theirs. Ignored if `epoch` isn't open."""

    @abstractmethod
    def add(self, deltas: Sequence[tuple[str, Sku, int]], epoch: int) -> None:
        """Apply deltas (idempotency key, product, units): add units, which may be negative, once for each key.

        Ignored if `epoch` isn't open. Raises `Permanent`, and adds nothing, for a delta of more than `MOST_UNITS`.
        """

    @abstractmethod
    def settle(self, orders: Collection[OrderId]) -> None:
        """Let the stored answers of these orders expire after 24 h.

        The caller knows that each has a final row in SQL and won't be passed to `take` again.
        """

    @abstractmethod
    def epoch(self) -> int | None:
        """Return the open epoch; None if the gate has lost its contents, is being rebuilt or was never built."""

    @abstractmethod
    def rebuild(self, available: Mapping[Sku, int], held: Mapping[OrderId, Items], epoch: int) -> None:
        """Delete everything, write the available units and the HELD answers, and open `epoch` last.

        Raises `Retryable` if the gate has a later epoch already.
        """
