"""Sorting more rows than memory holds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol

Row = tuple[Any, ...]
"""Texts without lone surrogates, and whole numbers of 64 bits with a sign; a column has one type in all rows."""


class Sorter(Protocol):
    """Rows of one length, to be read in ascending order, as Python compares tuples."""

    @abstractmethod
    def add(self, row: Row) -> None:
        """Keep a row; not while `rows` is being read."""

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Every row, in order; may be read again."""


MakeSorter = Callable[[], Sorter]
"""Makes an empty sorter. What it needs is freed with it."""
