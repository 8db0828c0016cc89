"""Outside calls (gateway, notifier, calls of a step): several at the same time, and outside of any transaction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import attrs

from oms.ports.errors import OutcomeUnknown

Token = TypeVar("Token")


class CallAbandoned(OutcomeUnknown):
    """A call took longer than its time limit. It may still take effect; its result is dropped."""


@attrs.frozen
class Ended(Generic[Token]):
    """A call that has ended: its result (`answer`), or the exception that it raised (`error`)."""

    token: Token
    answer: object = None
    error: Exception | None = None


@attrs.frozen
class Withdrawn(Generic[Token]):
    """A submitted call that hasn't ended when its process stops.

    `left_s` is the rest of its time limit, in seconds; None for a call that wasn't begun and never will be.
    """

    token: Token
    left_s: float | None = None


class CallExecutor(Protocol[Token]):
    """Runs a bounded number of calls at the same time. A single thread submits calls and collects results.

    A call that exceeds the executor's time limit ends with the error `CallAbandoned`; its later result has no effect.
    """

    @abstractmethod
    def room(self) -> int:
        """Return how many more calls can be submitted now."""

    @abstractmethod
    def submit(self, token: Token, call: Callable[[], object]) -> None:
        """Start a call, or queue it until a thread is free; `token` identifies it in the result of `collect`."""

    @abstractmethod
    def collect(self) -> Sequence[Ended[Token]]:
        """Return the calls that have ended since the last call of this method, each once. Doesn't wait."""

    def blocked(self) -> bool:
        """Return whether the executor starts no calls because too many abandoned ones haven't returned."""
        return False

    def withdraw(self, timeout_s: float) -> Sequence[Withdrawn[Token]]:  # noqa: ARG002 - for subclasses
        """Begin no more calls, wait up to `timeout_s` seconds for those under way, and return those that haven't ended.

        A returned call may still end, so that `collect` returns it as well.
        """
        return ()

    @abstractmethod
    def close(self) -> None:
        """Accept no more calls. Calls under way continue without supervision; the leases of their tasks expire."""
