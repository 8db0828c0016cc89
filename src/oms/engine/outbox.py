"""The writer's side of the transactional outbox: makes the rows for the changes of a unit of work."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from oms.engine.dead_letter_copies import copy_of
from oms.engine.dependencies import ServiceDependencies
from oms.engine.recorded_changes import RecordedChanges
from oms.ports.messages import Outgoing
from oms.ports.stores.rows import DeadLetter, OutboxRow


class OutboxWriter:
    """Makes the outbox rows of one service; `copies_topic` is the topic for copies of its dead letters."""

    def __init__(self, shared: ServiceDependencies, copies_topic: str) -> None:
        self._codec, self._clock, self._ids = shared.codec, shared.clock, shared.ids
        self._lease_s, self._copies_topic = shared.outbox_lease_s, copies_topic

    def rows(self, changes: RecordedChanges, *, leased: bool = True) -> list[OutboxRow]:
        """Return the rows of all events, copies of dead letters and redriven messages, to be committed with them.

        They are leased to this process, whose relay sends them. Without `leased`, any process may send them as soon as
        the caller has committed them.
        """
        if not (changes.events or changes.parked or changes.resent):
            return []
        now = self._clock.now()
        until = self._lease_end(now) if leased else None
        messages = [self._codec.encode(event, cause, now) for event, cause in changes.events]
        rows = self._rows_of([*messages, *self._copies_of(changes.parked)], until)
        return [*rows, *(attrs.evolve(row, leased_until=until) for row in changes.resent)]

    def copy_rows(self, letters: Sequence[DeadLetter], now: datetime) -> list[OutboxRow]:
        """Return leased rows for the copies of dead letters."""
        return self._rows_of(self._copies_of(letters), self._lease_end(now))

    def _rows_of(self, messages: Sequence[Outgoing], until: datetime | None) -> list[OutboxRow]:
        return [OutboxRow(self._ids.token(), message, until) for message in messages]

    def _copies_of(self, letters: Sequence[DeadLetter]) -> list[Outgoing]:
        copies = (copy_of(letter, self._copies_topic) for letter in letters)
        return [copy for copy in copies if copy is not None]

    def _lease_end(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._lease_s)
