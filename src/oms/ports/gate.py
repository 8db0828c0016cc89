"""The stock gate: a fast crowd filter in front of the SQL ledger. It may refuse too much, never sell too much.

An answer is sticky by order id: HELD, REJECTED and RELEASED alike. A missing product is unknown, never zero and
never infinite. Everything is bound to an `epoch`; a rebuild writes the ledger's fold under the next one.
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
"""Largest quantity of an order's product, and largest delta: Redis' scripts count in floating point, which is exact up
to nine times that."""


class GateAnswer(Enum):
    """What the gate says of an order."""

    HELD = "HELD"
    REJECTED = "REJECTED"
    RELEASED = "RELEASED"
    UNKNOWN = "UNKNOWN"
    """A product isn't known here; nothing was taken and no answer is kept."""


@attrs.frozen
class Taken:
    """The gate's answer for one order, valid in `epoch`."""

    answer: GateAnswer
    epoch: int
    shortages: tuple[Shortage, ...] = ()
    unknown: tuple[Sku, ...] = ()


class StockGate(Protocol):
    """All methods are batches, atomic for each order, and raise `Closed` while there is no epoch."""

    @abstractmethod
    def take(self, orders: Mapping[OrderId, Items], epoch: int | None = None) -> Mapping[OrderId, Taken]:
        """Hold every line of an order or none; a known order gets its stored answer and nothing is taken.

        With `epoch`, `Closed` and nothing taken where another one is open: what the caller knows is older than it.
        """

    def check(self) -> None:
        """Raise unless the gate's server answers and takes writes, whether or not it is open.

        Called on a thread of its own, about once a second.
        """
        return

    @abstractmethod
    def give_back(self, orders: Collection[OrderId]) -> None:
        """Give back what each order holds here and store RELEASED, also for an order that isn't known."""

    @abstractmethod
    def introduce(self, available: Mapping[Sku, int], epoch: int) -> None:
        """Make products known, unless they are; ignored where `epoch` has passed."""

    @abstractmethod
    def add(self, deltas: Sequence[tuple[str, Sku, int]], epoch: int) -> None:
        """Add units (may be negative) to products, once for each key; ignored where `epoch` has passed.

        `Permanent`, and nothing is added, for a delta of more than `MOST_UNITS`.
        """

    @abstractmethod
    def settle(self, orders: Collection[OrderId]) -> None:
        """These orders have a settled row in SQL and aren't sent again: their answers may expire after 24 h."""

    @abstractmethod
    def epoch(self) -> int | None:
        """The epoch that is open; None where the gate lost its memory or was never built."""

    @abstractmethod
    def rebuild(self, available: Mapping[Sku, int], held: Mapping[OrderId, Items], epoch: int) -> None:
        """Forget all, write stock and HELD answers, and publish `epoch` last."""
