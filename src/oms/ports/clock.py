"""Time and names, so that a test can hold both still."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from typing import Protocol

from oms.domain.values import OrderId


class Clock(Protocol):
    """The time, in UTC."""

    @abstractmethod
    def now(self) -> datetime:
        """The present, timezone-aware, in UTC; never None, may step back when the host's clock is set."""

    def steady(self) -> datetime:
        """For waits within this process: goes on evenly, also while the host's clock is set, and so may differ from it.

        Compare it with itself alone, never with what is on record.
        """
        return self.now()


class Ids(Protocol):
    """New names."""

    @abstractmethod
    def order_id(self) -> OrderId:
        """A new order's id: unique, and in the order of time as far as the host's clock is."""

    @abstractmethod
    def token(self) -> str:
        """A new opaque name of at most 36 characters: an outbox row, a lease, a dead letter."""
