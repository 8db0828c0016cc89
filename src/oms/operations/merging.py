"""Merges streams that are sorted by the same key: one key at a time, in memory that doesn't depend on their length."""

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
        """Add a row."""
        self._rows.append(row)

    def rows(self) -> Iterator[Row]:
        """Return an iterator over all rows, sorted."""
        self._rows.sort()
        return iter(self._rows)


class Grouped(Generic[T]):
    """A stream of (key, item), sorted by key. `key` is the key of the next item; None at the end.

    Raises `Permanent` if the stream isn't sorted, because the merge would be wrong without an error.
    """

    __slots__ = ("_item", "_pairs", "key")

    def __init__(self, pairs: Iterable[tuple[str, T]]) -> None:
        self._pairs = iter(pairs)
        self.key: str | None = ""
        self._next()

    def take(self, key: str) -> list[T]:
        """Return the items of a key, and drop those of earlier keys."""
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
    """Yield the keys of all streams, ascending. The caller takes all items of a key before it takes the next key."""
    streams = tuple(streams)
    while True:
        key = min([stream.key for stream in streams if stream.key is not None], default=None)
        if key is None:
            return
        yield key


def without(rows: Iterable[Row], known: Iterator[str]) -> Iterator[Row]:
    """Yield the rows whose first column isn't among `known`; both are sorted."""
    head = next(known, None)
    for row in rows:
        name = row[0]
        while head is not None and head < name:
            head = next(known, None)
        if head != name:
            yield row
