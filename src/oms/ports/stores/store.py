"""The record: one store a service, with its inbox, outbox, tasks and dead letters beside its aggregates.

Every write is a `Transaction` of few, bulk calls: begin, claim the inbox, load and lock, flush, commit. Rows are
locked in one order (orders, payments or reservations, products, each sorted), so transactions wait for each
other and don't deadlock. All methods raise `Retryable` where the whole may be done again (deadlock, lost
connection, a row that another transaction inserted first), `Permanent` for a value that can't be stored;
`commit` also raises `OutcomeUnknown`. What is written may reach the database with the next call that answers
something, and at the latest with the commit; so may its error. A store's time is its own (the database's clock).
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
    StoredAnswer,
    Task,
)


class Transaction(Protocol):
    """One unit of work. Leaving the `with` block without `commit` rolls back."""

    @abstractmethod
    def claim_inbox(self, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
        """Mark messages as handled by `group`; those returned are new, the others had their effect before.

        Waits for a concurrent transaction that claims the same.
        """

    @abstractmethod
    def finish_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        """Remove the tasks whose lease is still ours; those returned are done by us and by nobody else."""

    @abstractmethod
    def held_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        """Lock the tasks whose lease is still ours, and leave them."""

    @abstractmethod
    def lock_dead_letters(self, ids: Collection[str]) -> Sequence[DeadLetter]:
        """The dead letters with these ids, locked; unknown ids are left out."""

    @abstractmethod
    def mark_dead_letters(self, ids: Collection[str], state: DeadLetterState) -> None:
        """Change the state of dead letters."""

    @abstractmethod
    def park_again(self, letters: Sequence[DeadLetter]) -> None:
        """Write dead letters over the locked ones with the same ids."""

    @abstractmethod
    def flush(self, delivery: Delivery) -> None:
        """Write outbox rows, tasks (a second one of the same kind and key is ignored) and dead letters."""

    @abstractmethod
    def commit(self) -> None:
        """Make it durable; `OutcomeUnknown` where that can't be told."""

    @abstractmethod
    def rollback(self) -> None:
        """Undo everything; harmless after `commit`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rollback()


class KeyedTransaction(Transaction, Protocol):
    """A transaction of commands that carry idempotency keys."""

    @abstractmethod
    def find_answers(self, keys: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], StoredAnswer]:
        """The answers kept under (scope, key), as far as there are any within their time (24 h)."""

    @abstractmethod
    def save_answers(self, answers: Sequence[StoredAnswer]) -> None:
        """Keep answers; `Retryable` where another transaction kept one under the same key first."""


class Store(Protocol):
    """What every service's store does beside its transactions. Each method is a transaction of its own."""

    @abstractmethod
    def begin(self) -> Transaction:
        """Start a transaction; the services' stores return their own kind."""

    @abstractmethod
    def start_attempts(self, group: str, first: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Note the first offset of a batch for each partition before it is handled, and how often it began there.

        1 the first time, and after a batch that began elsewhere; more where one began at the same offset before.
        Survives the death of the process, not necessarily of the machine.
        """

    @abstractmethod
    def clear_attempts(self, group: str, partitions: Collection[TopicPartition]) -> None:
        """Forget the counters of partitions that are given back in good order."""

    @abstractmethod
    def claim_tasks(self, kinds: Collection[TaskKind], limit: int, lease_s: float) -> Sequence[Task]:
        """Lease due tasks, the longest due first; skips those another holds."""

    @abstractmethod
    def claim_outbox(self, limit: int, lease_s: float, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        """Lease outbox rows whose lease has expired, whatever their id; skips those another holds.

        Rows of the topics `without` are left as they are.
        """

    @abstractmethod
    def mark_sent(self, ids: Collection[str]) -> None:
        """The broker reported these as delivered: remove them."""

    @abstractmethod
    def return_outbox(self, ids: Collection[str]) -> None:
        """Give the leases of rows back: somebody else may send them now."""

    @abstractmethod
    def dead_letters(
        self, state: DeadLetterState | None = None, *, limit: int = 100, offset: int = 0
    ) -> Sequence[DeadLetterSummary]:
        """Summaries of the dead letters in this state (None: any), the oldest first. Reads no content."""

    @abstractmethod
    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - the field's name
        """One dead letter with its content; None if there is none with this id."""

    @abstractmethod
    def next_due(self, without: Collection[str] = ()) -> datetime | None:
        """When the next task or outbox lease falls due (may be in the past); None where there is none.

        Leases of rows of the topics `without` don't count.
        """

    @abstractmethod
    def backlog(self) -> Backlog:
        """What waits here."""

    @abstractmethod
    def purge(self, older_than: datetime, *, keys_older_than: datetime, limit: int) -> int:
        """Remove at most `limit` inbox rows, idempotency keys and ended dead letters from before; how many."""

    @abstractmethod
    def first_handled(self, group: str) -> datetime | None:
        """When a group handled the oldest message that the inbox still knows; None where it knows none."""

    @abstractmethod
    def currency(self) -> str | None:
        """Return the ISO 4217 code of the currency that all amounts of this store are in; None before it is pinned."""

    @abstractmethod
    def pin_currency(self, code: str) -> str:
        """Keep the currency for ever unless one is kept already; return the one that is kept now.

        Where several processes pin at once, all of them return the same currency.
        """

    def register(self, instance: str) -> int:  # noqa: ARG002 - a store without leases of others has nothing to release
        """Make this process known as the owner of its leases, and release those of its predecessors; how many.

        Called once, before anything is claimed. A predecessor is a process that was registered under the same
        `instance` and is proven to have ended. The leases of a process that lives, or may live, stay as they are, also
        where it is registered under the same instance. `Retryable` where the store can't be reached.
        """
        return 0

    def keep_registration(self) -> None:
        """Register again where the registration was lost, as with a connection; to be called every few seconds."""
        return

    @abstractmethod
    def ping(self) -> None:
        """Raise unless the store answers."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""
