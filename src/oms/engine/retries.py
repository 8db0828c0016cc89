"""The reaction to a failure: the due time of the next try, and the bisection of a failed batch.

Nothing in the engine sleeps or loops over tries: a back-off is a due time, and a later `run_once` tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import attrs

from oms.ports.errors import OutcomeUnknown, Retryable

FIRST_S = 0.25
LONGEST_S = 60.0

T = TypeVar("T")
R = TypeVar("R")


def next_try(now: datetime, attempts: int, *, longest_s: float = LONGEST_S) -> datetime:
    """Return when to try again after `attempts` tries: in 0.25 s, doubled each time, at most `longest_s`."""
    return now + timedelta(seconds=min(longest_s, FIRST_S * 2 ** min(attempts - 1, 30)))


@attrs.frozen
class Succeeded(Generic[T, R]):
    """Items that were handled together, and the result of the attempt."""

    items: Sequence[T]
    result: R


@attrs.frozen
class Failed(Generic[T]):
    """A single item whose attempt failed with a permanent or unclear error."""

    item: T
    error: Exception


def bisect(items: Sequence[T], attempt: Callable[[Sequence[T]], R]) -> Iterator[Succeeded[T, R] | Failed[T]]:
    """Yield the outcomes of all items in their order: groups that succeeded, and single items that were refused.

    `attempt` handles all items that it gets, or none of them. It is called again only after the caller has taken the
    previous outcome, so the caller can act on one half before the other half is tried.

    `Retryable` and `OutcomeUnknown` say nothing about a single item: they are raised and not bisected. The items of
    earlier outcomes are then done.
    """
    try:
        result = attempt(items)
    except (Retryable, OutcomeUnknown):
        raise
    except Exception as failure:  # noqa: BLE001 - halved until one item is left, which the caller deals with
        error = failure
    else:
        yield Succeeded(items, result)
        return
    if len(items) == 1:
        yield Failed(items[0], error)
        return
    middle = len(items) // 2
    yield from bisect(items[:middle], attempt)
    yield from bisect(items[middle:], attempt)
