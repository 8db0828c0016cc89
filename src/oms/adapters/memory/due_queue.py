"""Keys in the order in which they fall due, so that claiming work needs no scan of all rows."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

K = TypeVar("K")


class DueQueue(Generic[K]):
    """A heap of due times. Entries may be stale: an entry that differs from `due_of` is dropped when it comes first."""

    __slots__ = ("_bound", "_due_of", "_heap", "_pushed")

    def __init__(self, due_of: Callable[[K], datetime | None]) -> None:
        self._due_of = due_of
        self._heap: list[tuple[datetime, int, K]] = []
        self._pushed = 0
        self._bound = 1024

    def push(self, due: datetime, key: K) -> None:
        """Set when a key falls due; its earlier entries become stale."""
        self._pushed += 1
        heapq.heappush(self._heap, (due, self._pushed, key))
        if len(self._heap) > self._bound:
            self._heap = [entry for entry in self._heap if self._due_of(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
            self._bound = 2 * len(self._heap) + 1024

    def first(self) -> tuple[datetime, int, K] | None:
        """The next entry (due time, number, key), which stays in the queue."""
        while self._heap:
            entry = self._heap[0]
            if self._due_of(entry[2]) == entry[0]:
                return entry
            heapq.heappop(self._heap)
        return None

    def pop(self) -> None:
        """Remove the entry that `first` just returned."""
        heapq.heappop(self._heap)
