"""The store of a shop's own steps."""

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
        """The documents, locked in sorted order; absent ones are left out."""

    @abstractmethod
    def save_documents(self, group: str, changes: Sequence[tuple[str, str | None, str]]) -> None:
        """Write (key, before, after); None before is an insert. `Retryable` where another was first."""


class StepStore(Store, Protocol):
    """The record of a user's own steps."""

    @abstractmethod
    def begin(self) -> StepTransaction: ...

    @abstractmethod
    def document(self, group: str, key: str) -> str | None:
        """A committed document, without locks."""

    @abstractmethod
    def start_offsets(self, group: str) -> Mapping[TopicPartition, int] | None:
        """The offsets at which a group began, which may be none; None before they are pinned."""

    @abstractmethod
    def pin_start_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Keep these offsets for ever unless some are kept already; return those that are kept now.

        Where several processes pin at once, all of them return the same offsets.
        """
