"""The current time and new ids, as ports, so that tests can control both."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from typing import Protocol

from oms.domain.values import OrderId


class Clock(Protocol):
    """The time, in UTC."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the current time, timezone-aware and in UTC. It may step back when the host's clock is set."""

    def steady(self) -> datetime:
        """Return a time for waits within this process, which advances evenly even while the host's clock is set.

        It may differ from `now`. Compare it only with other values of `steady`, never with a stored time.
        """
        return self.now()


class Ids(Protocol):
    """Makes new ids."""

    @abstractmethod
    def order_id(self) -> OrderId:
        """Return a new, unique order id. Later ids sort after earlier ones, unless the host's clock was set back."""

    @abstractmethod
    def token(self) -> str:
        """Return a new, unique and opaque id of at most 36 characters, for an outbox row, a lease or a dead letter."""
