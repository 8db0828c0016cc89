"""Calls to the outside, many at once, outside of any transaction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import attrs

from oms.ports.errors import OutcomeUnknown

Token = TypeVar("Token")


class CallAbandoned(OutcomeUnknown):
    """A call took longer than its limit. It may still take effect; its answer is dropped."""


@attrs.frozen
class Ended(Generic[Token]):
    """A call that came back: its answer, or the exception that it raised."""

    token: Token
    answer: object = None
    error: Exception | None = None


class Calls(Protocol[Token]):
    """A bounded number of calls under way. One thread submits and collects.

    A call that takes longer than the limit of these calls ends with the error `CallAbandoned`. What it answers later
    changes nothing.
    """

    @abstractmethod
    def room(self) -> int:
        """How many more calls can be submitted now."""

    @abstractmethod
    def submit(self, token: Token, call: Callable[[], object]) -> None:
        """Start a call; `token` names it when it has ended."""

    @abstractmethod
    def collect(self) -> Sequence[Ended[Token]]:
        """The calls that ended since the last time, each once; doesn't wait."""

    def blocked(self) -> bool:
        """Whether no further call is made because too many abandoned ones haven't returned."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Take no more calls; those under way are left to themselves (their tasks' leases lapse)."""
