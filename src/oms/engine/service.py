"""The parts of a service that the engine needs: its store, routes, gate phase and tasks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Generic, Protocol, TypeVar

import attrs

from oms.domain.tasks import TaskKind
from oms.engine.recorded_changes import RecordedChanges
from oms.ports.broker import NO_STARTS, Broker, TopicPartition
from oms.ports.call_executor import Ended
from oms.ports.messages import AnyEvent, Message, MessageId
from oms.ports.stores.rows import Postponed, Task
from oms.ports.stores.store import Store, Transaction


class Work(Protocol):
    """A unit of work over a service's rows: handlers change it, `flush` writes it in bulk."""

    changes: RecordedChanges

    @abstractmethod
    def load(self, events: Sequence[AnyEvent]) -> None:
        """Load and lock the rows that these events change."""

    @abstractmethod
    def flush(self) -> None:
        """Write the aggregates that changed."""


W = TypeVar("W", bound=Work)
W_contra = TypeVar("W_contra", bound=Work, contravariant=True)


class Runnable(Protocol):
    """A step of a worker: work that is done one batch at a time. Subclass it to inherit its defaults."""

    @property
    def patience_s(self) -> float:
        """How long the step may wait for a server, by its own limit, in seconds."""
        return 0.0

    @abstractmethod
    def run_once(self) -> int:
        """Do one batch of what can be done now, without waiting; returns its size, 0 if there was nothing to do."""

    def next_due(self) -> datetime | None:
        """Return when the step has something to try again, in steady time; None if nothing waits for time to pass."""
        return None


class NotCalled(Enum):
    """The outcome of a task that needed no outside call."""

    NOT_CALLED = "not called"


NOT_CALLED = NotCalled.NOT_CALLED


class NotAppliedYet(Exception):
    """A shop's own code can't apply the result of a call yet: its task is tried again, without delaying others.

    The cause is the exception that the code raised.
    """


class Executor(Protocol[W_contra]):
    """Runs one kind of task: makes its call outside of any transaction, then applies the outcome within one."""

    @abstractmethod
    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:
        """Return the outside call of each task, by its key; a task without one ends with the outcome NOT_CALLED.

        `Retryable` and `OutcomeUnknown` become the outcome of each of these tasks.
        """

    @abstractmethod
    def load(self, work: W_contra, tasks: Sequence[Task]) -> None:
        """Load and lock the rows that the outcomes change."""

    @abstractmethod
    def finish(self, work: W_contra, ended: Ended[Task]) -> Postponed | None:
        """Apply an outcome; returns None when the task is done.

        After `NotAppliedYet`, which leaves the work as it was, this is called once more, with its cause as the outcome.
        `Retryable` and `OutcomeUnknown` mean that no outcome can be applied at the moment: all tasks wait.
        """


Handler = Callable[[AnyEvent, W], None]

OpenWork = Callable[[Transaction], W]
"""Makes a service's work over an open transaction."""


def own_id(message: Message) -> MessageId:
    """Return the message's own id, which all its copies share."""
    return message.id


@attrs.frozen
class Service(Generic[W]):
    """One service: its store, what it consumes, and how it works on its rows.

    `prepare` is the gate phase: it gets the new messages of a batch before the transaction begins, and returns an
    `OpenWork` that knows the gate's answers. `committed` gets the work of each unit of work after its commit. `steps`
    run with those of the engine.
    """

    name: str
    group: str
    store: Store
    routes: Mapping[str, Handler[W]]
    open: OpenWork[W]
    executors: Mapping[TaskKind, Executor[W]] = attrs.field(factory=dict)
    prepare: Callable[[Sequence[Message]], OpenWork[W]] | None = None
    committed: Callable[[W], None] = lambda _work: None
    steps: Sequence[Runnable] = ()
    starts: Callable[[Broker], Mapping[TopicPartition, int]] = lambda _broker: NO_STARTS
    """Decides the offsets at which its group begins, when it runs for the first time; see `Broker.subscribe`."""

    extension: str = ""
    """The extension that its tasks call (`gateway`, `notifier`, `step:<group>`); empty if they call none."""

    own_handlers: bool = False
    """Whether its handlers are a shop's own code."""

    counters: Sequence[str] = ()
    """Counters without labels that its work adds to; they are exported as 0 from the start."""

    inbox_id: Callable[[Message], MessageId] = own_id
    """Returns the id by which repeats of a message are found in the inbox."""

    @property
    def topics(self) -> Sequence[str]:
        """The topics that it subscribes to."""
        return tuple(self.routes)
