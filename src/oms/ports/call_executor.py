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


@attrs.frozen
class Withdrawn(Generic[Token]):
    """A submitted call that hasn't ended when its process stops.

    `left_s` is how many seconds of its time limit are left; None for a call that wasn't begun, and never will be.
    """

    token: Token
    left_s: float | None = None


class CallExecutor(Protocol[Token]):
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

    def withdraw(self, timeout_s: float) -> Sequence[Withdrawn[Token]]:  # noqa: ARG002 - for those that wait
        """Begin no more calls, and wait up to `timeout_s` for those under way; returns those that haven't ended.

        A call may end meanwhile, so that `collect` returns it as well.
        """
        return ()

    @abstractmethod
    def close(self) -> None:
        """Take no more calls; those under way are left to themselves (their tasks' leases lapse)."""
