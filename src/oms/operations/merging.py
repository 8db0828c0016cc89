"""Streams that are sorted by the same key, read side by side: one key at a time, whatever their length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from oms.ports.errors import Permanent
from oms.ports.sorting import Row, Sorter

T = TypeVar("T")


class MemorySorter(Sorter):
    """Sorts in memory: for tests and the simulator."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Keep a row."""
        self._rows.append(row)

    def rows(self) -> Iterator[Row]:
        """Every row, in order."""
        self._rows.sort()
        return iter(self._rows)


class Grouped(Generic[T]):
    """A stream of (key, item), sorted by key. `key` is that of the next item; None at the end.

    `Permanent` for a stream that isn't sorted: what is merged by it would be wrong without a sign.
    """

    __slots__ = ("_item", "_pairs", "key")

    def __init__(self, pairs: Iterable[tuple[str, T]]) -> None:
        self._pairs = iter(pairs)
        self.key: str | None = ""
        self._next()

    def take(self, key: str) -> list[T]:
        """The items of a key; those of earlier keys are passed over."""
        found: list[T] = []
        while self.key is not None and self.key < key:
            self._next()
        while self.key == key:
            found.append(self._item)
            self._next()
        return found

    def _next(self) -> None:
        pair = next(self._pairs, None)
        if pair is None:
            self.key = None
            return
        if self.key is not None and pair[0] < self.key:
            raise Permanent(f"a stream that has to be sorted has {pair[0]!r} after {self.key!r}")
        self.key, self._item = pair


def keys_of(streams: Iterable[Grouped[Any]]) -> Iterator[str]:
    """Each key that one of the streams has, ascending; all its items have to be taken before the next one."""
    streams = tuple(streams)
    while True:
        key = min([stream.key for stream in streams if stream.key is not None], default=None)
        if key is None:
            return
        yield key


def without(rows: Iterable[Row], known: Iterator[str]) -> Iterator[Row]:
    """The rows whose first column isn't among `known`; both are sorted."""
    head = next(known, None)
    for row in rows:
        name = row[0]
        while head is not None and head < name:
            head = next(known, None)
        if head != name:
            yield row
