"""The store of a service: its aggregates, inbox, outbox, tasks and dead letters.

Every write is part of a `Transaction`, in few calls that each take many rows: begin, insert into the inbox, load and
lock, flush, commit. Every transaction locks rows in the same order (orders, then payments or reservations, then
products, each sorted), so that transactions wait for each other and don't deadlock.

All methods raise `Retryable` if the whole transaction may be repeated (a deadlock, a lost connection, a row that
another transaction inserted first) and `Permanent` for a value that can't be stored. `commit` also raises
`OutcomeUnknown`. A store may buffer statements that return no rows and send them with the next query or at commit;
their errors surface there. Times come from the store's own clock, which is the database's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from oms.domain.tasks import TaskKey, TaskKind
from oms.ports.broker import TopicPartition
from oms.ports.messages import MessageId
from oms.ports.stores.rows import (
    Backlog,
    DeadLetter,
    DeadLetterState,
    DeadLetterSummary,
    Delivery,
    OutboxRow,
    StoredResponse,
    Task,
)


class Transaction(Protocol):
    """One transaction of a store. Leaving the `with` block without `commit` rolls back."""

    @abstractmethod
    def claim_inbox(self, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
        """Insert messages into the inbox of `group`, and return the new ones; the others were handled before.

        Waits for a concurrent transaction that inserts the same ids.
        """

    @abstractmethod
    def finish_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        """Remove the tasks whose lease the caller still holds, and return their keys.

        No other process finishes these tasks.
        """

    @abstractmethod
    def held_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        """Lock the tasks whose lease the caller still holds, without removing them, and return their keys."""

    @abstractmethod
    def lock_dead_letters(self, ids: Collection[str]) -> Sequence[DeadLetter]:
        """Lock the dead letters with these ids, and return those that exist."""

    @abstractmethod
    def mark_dead_letters(self, ids: Collection[str], state: DeadLetterState) -> None:
        """Set the state of dead letters."""

    @abstractmethod
    def park_again(self, letters: Sequence[DeadLetter]) -> None:
        """Replace the locked dead letters that have the same ids."""

    @abstractmethod
    def flush(self, delivery: Delivery) -> None:
        """Write outbox rows, tasks and dead letters; ignores a task whose kind and key exist already."""

    @abstractmethod
    def commit(self) -> None:
        """Make the transaction durable; raises `OutcomeUnknown` if the store can't tell whether it is."""

    @abstractmethod
    def rollback(self) -> None:
        """Undo everything; has no effect after `commit`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rollback()


class KeyedTransaction(Transaction, Protocol):
    """A transaction of commands that carry idempotency keys."""

    @abstractmethod
    def find_responses(self, keys: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], StoredResponse]:
        """Return the responses of the last 24 h that are stored under these (scope, key) pairs."""

    @abstractmethod
    def save_responses(self, responses: Sequence[StoredResponse]) -> None:
        """Store responses; raises `Retryable` if another transaction stored one under the same key first."""


class Store(Protocol):
    """The store of one service. Each method except `begin` is a transaction of its own."""

    @abstractmethod
    def begin(self) -> Transaction:
        """Start a transaction; each service's store returns a transaction with methods for its own tables."""

    @abstractmethod
    def start_attempts(self, group: str, first: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Count, for each partition, the batches in a row that began at this offset; return the counts with this batch.

        `first` has the first offset of the batch in each partition, before the batch is handled. The count is 1 if the
        batch before it began at another offset. It survives the death of the process, not necessarily of the machine.
        """

    @abstractmethod
    def clear_attempts(self, group: str, partitions: Collection[TopicPartition]) -> None:
        """Delete the counts of partitions that the consumer releases in good order."""

    @abstractmethod
    def claim_tasks(self, kinds: Collection[TaskKind], limit: int, lease_s: float) -> Sequence[Task]:
        """Lease at most `limit` due tasks for `lease_s` seconds, longest due first.

        Skips tasks that another process has leased or another transaction has locked.
        """

    @abstractmethod
    def claim_outbox(self, limit: int, lease_s: float, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        """Lease at most `limit` outbox rows whose lease has expired, for `lease_s` seconds.

        Skips rows that another transaction has locked, and rows of the topics `without`.
        """

    @abstractmethod
    def mark_sent(self, ids: Collection[str]) -> None:
        """Remove outbox rows that the broker has acknowledged."""

    @abstractmethod
    def return_outbox(self, ids: Collection[str]) -> None:
        """Release the leases of outbox rows, so that any process may publish them now."""

    @abstractmethod
    def dead_letters(
        self, state: DeadLetterState | None = None, *, limit: int = 100, offset: int = 0
    ) -> Sequence[DeadLetterSummary]:
        """Return summaries of the dead letters in this state (None: in any), oldest first. Reads no content."""

    @abstractmethod
    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - the field's name
        """Return a dead letter with its content; None if it doesn't exist."""

    @abstractmethod
    def next_due(self, without: Collection[str] = ()) -> datetime | None:
        """Return when the next task falls due or outbox lease expires (may be in the past); None if there is none.

        Ignores outbox rows of the topics `without`.
        """

    @abstractmethod
    def backlog(self) -> Backlog:
        """Return how much work waits in this store."""

    @abstractmethod
    def purge(self, older_than: datetime, *, keys_older_than: datetime, limit: int) -> int:
        """Remove at most `limit` rows, and return how many were removed.

        Removes inbox rows and redriven or discarded dead letters from before `older_than`, and responses to idempotency
        keys from before `keys_older_than`.
        """

    @abstractmethod
    def first_handled(self, group: str) -> datetime | None:
        """Return when a group handled the oldest message that is still in the inbox; None if the inbox has none."""

    @abstractmethod
    def currency(self) -> str | None:
        """Return the ISO 4217 code of the currency of all amounts in this store; None before it is pinned."""

    @abstractmethod
    def pin_currency(self, code: str) -> str:
        """Store the currency permanently, unless one is stored already; return the stored one.

        If several processes call this at once, all of them return the same currency.
        """

    def register(self, instance: str) -> int:  # noqa: ARG002 - for stores that processes share
        """Register this process as the owner of its leases, release those of its predecessors, and return how many.

        The caller does this once, before it claims anything. A predecessor is a process that was registered under the
        same `instance` and has provably ended. A process that may still live keeps its leases, even under the same
        instance. Raises `Retryable` if the store can't be reached. By default, does nothing.
        """
        return 0

    def keep_registration(self) -> None:
        """Register again if the registration was lost, for instance with a connection. Called every few seconds."""
        return

    @abstractmethod
    def ping(self) -> None:
        """Raise unless the store responds."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""
