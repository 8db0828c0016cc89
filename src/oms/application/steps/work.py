"""A step's unit of work: locked documents, and the events and calls that its handlers decide."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import cast

import attrs

from oms.application import topic_rights
from oms.application.extensions.names import check_own_topic
from oms.domain.errors import OmsError
from oms.engine.recorded_changes import RecordedChanges
from oms.ports.messages import AnyEvent
from oms.ports.stores.steps import StepTransaction

Document = Mapping[str, object]
"""A JSON object that a step saves for an order."""

MAX_WARNED_TOPICS = 100
"""Undeclared topics of a step that are logged, each once. A step may compose topic names at run time."""


class UndeclaredTopic(OmsError):
    """A step published to a topic that it didn't declare."""


class DeclaredTopics:
    """The topics that a step declared that it publishes to. `warn` is called once for each other topic."""

    def __init__(self, group: str, declared: Collection[str], warn: Callable[[str], None]) -> None:
        self._group, self._declared, self._warn = group, declared, warn
        self._warned: set[str] = set()

    def check(self, topic: str) -> None:
        """Raise `WrongName` for a topic that no step may write to; warn of an undeclared one (or `UndeclaredTopic`)."""
        check_own_topic(topic)
        if topic in self._declared:
            return
        if topic_rights.UNDECLARED_TOPICS_FAIL:
            raise UndeclaredTopic(
                f"the step {self._group} doesn't declare the topic {topic!r}: "
                f"app.subscribe(..., group={self._group!r}, publishes=[{topic!r}])"
            )
        if topic not in self._warned and len(self._warned) < MAX_WARNED_TOPICS:
            self._warned.add(topic)
            self._warn(topic)


@attrs.frozen
class Savepoint:
    """A state of a unit of work: its changed documents, and the numbers of recorded events and tasks."""

    documents: Mapping[str, str]
    events: int
    tasks: int


class StepWork:
    """A step's locked documents, and the changes that its handlers decide.

    `calls` are the names of the outside calls that the step may make.
    """

    def __init__(
        self,
        transaction: StepTransaction,
        group: str,
        now: datetime,
        declared: DeclaredTopics,
        calls: Collection[str] = frozenset(),
    ) -> None:
        self.changes = RecordedChanges()
        self.now = now
        self.declared = declared
        self.group, self.calls = group, calls
        self._transaction = transaction
        self._before: dict[str, str] = {}
        self._after: dict[str, str] = {}

    def load(self, events: Sequence[AnyEvent]) -> None:
        """Lock the documents of these events' orders."""
        self.lock({event.order_id for event in events})

    def lock(self, order_ids: Collection[str]) -> None:
        """Lock the documents of these orders."""
        self._before.update(self._transaction.lock_documents(self.group, order_ids))

    def document(self, order_id: str) -> Document | None:
        """Return the document with the changes of this unit of work; None if it doesn't exist."""
        text = self._after.get(order_id, self._before.get(order_id))
        return None if text is None else cast("Document", json.loads(text))

    def put(self, order_id: str, text: str) -> None:
        """Replace a document; `text` is JSON."""
        self._after[order_id] = text

    def savepoint(self) -> Savepoint:
        """Return the present state, for `roll_back`."""
        return Savepoint(dict(self._after), len(self.changes.events), len(self.changes.tasks))

    def roll_back(self, savepoint: Savepoint) -> None:
        """Undo all changes since a savepoint."""
        self._after = dict(savepoint.documents)
        del self.changes.events[savepoint.events :]
        del self.changes.tasks[savepoint.tasks :]

    def flush(self) -> None:
        """Write the documents that changed."""
        changes = [(key, self._before.get(key), text) for key, text in self._after.items()]
        changed = [change for change in changes if change[1] != change[2]]
        if changed:
            self._transaction.save_documents(self.group, changed)
