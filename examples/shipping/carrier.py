"""The port of a carrier. Both calls use the order id as their idempotency key, so they may be repeated."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol


class Carrier(Protocol):
    @abstractmethod
    def book(self, order_id: str, address: str) -> str:
        """A parcel number: the same one for the same order."""

    @abstractmethod
    def call_off(self, order_id: str) -> None:
        """The parcel of this order isn't to be sent; harmless where there is none."""


class PaperCarrier(Carrier):
    """Keeps its parcels in a list, and counts its calls."""

    def __init__(self) -> None:
        self.parcels: dict[str, str] = {}
        self.called_off: set[str] = set()
        self.calls = 0

    def book(self, order_id: str, address: str) -> str:
        self.calls += 1
        return self.parcels.setdefault(order_id, f"parcel-{len(self.parcels) + 1} to {address}")

    def call_off(self, order_id: str) -> None:
        self.calls += 1
        self.called_off.add(order_id)

    @property
    def on_the_road(self) -> list[str]:
        return [parcel for order, parcel in self.parcels.items() if order not in self.called_off]
