"""The store of a user's own steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from oms.ports.broker import TopicPartition
from oms.ports.stores.store import Store, Transaction


class StepTransaction(Transaction, Protocol):
    """The unit of work of a user's own steps: one JSON document for each (group, key)."""

    @abstractmethod
    def lock_documents(self, group: str, keys: Collection[str]) -> Mapping[str, str]:
        """Lock the documents with these keys in sorted order, and return those that exist."""

    @abstractmethod
    def save_documents(self, group: str, changes: Sequence[tuple[str, str | None, str]]) -> None:
        """Write (key, before, after): an insert if `before` is None, else an update.

        Raises `Retryable` if another transaction inserted the document first.
        """


class StepStore(Store, Protocol):
    """The store of a user's own steps."""

    @abstractmethod
    def begin(self) -> StepTransaction: ...

    @abstractmethod
    def document(self, group: str, key: str) -> str | None:
        """Return a committed document, without locks; None if it doesn't exist."""

    @abstractmethod
    def start_offsets(self, group: str) -> Mapping[TopicPartition, int] | None:
        """Return the offsets at which a group began (the mapping may be empty); None before they are pinned."""

    @abstractmethod
    def pin_start_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Store these offsets permanently, unless some are stored already; return the stored ones.

        If several processes call this at once, all of them return the same offsets.
        """
