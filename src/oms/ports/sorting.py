"""Sorts more rows than fit into memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol

Row = tuple[Any, ...]
"""Each column holds either texts without lone surrogates or signed 64-bit integers, the same type in all rows."""


class Sorter(Protocol):
    """Collects rows of equal length and returns them in ascending order, as Python compares tuples."""

    @abstractmethod
    def add(self, row: Row) -> None:
        """Add a row; not while a reader iterates over `rows`."""

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Return an iterator over all rows in order. May be called again."""


MakeSorter = Callable[[], Sorter]
"""Makes an empty sorter. Its memory and files are freed together with the sorter."""
