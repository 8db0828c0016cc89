"""One unit of work: begin, claim, load and lock, handle, flush, commit; then hand its rows and notes on.

Consumer, commands, tasks and redrive write only through this module.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Generic

import attrs

from oms.engine.outbox import OutboxWriter
from oms.engine.parking import park
from oms.engine.recorded_changes import RecordedChanges
from oms.engine.relay import Relay
from oms.engine.service import OpenWork, Service, W
from oms.ports.stores.rows import Delivery, OutboxRow
from oms.ports.stores.store import Transaction
from oms.ports.telemetry import Telemetry


@attrs.define
class UnitOfWork(Generic[W]):
    """An open transaction with its work."""

    transaction: Transaction
    work: W
    is_rolled_back: bool = False

    def roll_back(self) -> None:
        """Make the end of the block roll the transaction back: nothing is written, sent or logged."""
        self.is_rolled_back = True


@attrs.frozen
class UnitOfWorkFactory(Generic[W]):
    """Opens units of work over one service's store."""

    service: Service[W]
    outbox: OutboxWriter
    relay: Relay
    telemetry: Telemetry
    tasks_due: Callable[[], None] = lambda: None
    """Called when a commit has left tasks that are due at once."""

    offer: Callable[[Sequence[OutboxRow]], None] = attrs.field(
        default=attrs.Factory(lambda self: self.relay.offer, takes_self=True)
    )
    """Gets the outbox rows of each commit."""

    @contextmanager
    def open(self, open_work: OpenWork[W] | None = None) -> Generator[UnitOfWork[W]]:
        """Open a transaction: the end of the block flushes and commits, an exception rolls all of it back.

        `open_work` makes the work over it, in place of the service's own `open`.
        """
        with self.service.store.begin() as transaction:
            unit = UnitOfWork(transaction, (open_work or self.service.open)(transaction))
            yield unit
            if unit.is_rolled_back:
                return
            rows = self._flush(unit)
            transaction.commit()
        self.offer(rows)
        self.service.committed(unit.work)
        self._report(unit.work.changes)
        if any(task.due_at is None for task in unit.work.changes.tasks):
            self.tasks_due()

    def within(self, join: Callable[[Callable[[], None]], Transaction], act: Callable[[W], object]) -> None:
        """Work in a transaction that the caller commits; the relay then looks for its rows.

        `join` makes that transaction, and calls its argument when the caller is about to commit.
        """
        rows: list[OutboxRow] = []
        with join(lambda: self.relay.expect(rows)) as transaction:
            unit = UnitOfWork(transaction, self.service.open(transaction))
            act(unit.work)
            rows += self._flush(unit, leased=False)
            transaction.commit()

    def _flush(self, unit: UnitOfWork[W], *, leased: bool = True) -> Sequence[OutboxRow]:
        unit.work.flush()
        changes = unit.work.changes
        if changes.parked:
            changes.parked = park(unit.transaction, changes.parked)
        rows = self.outbox.rows(changes, leased=leased)
        delivery = Delivery(
            outbox=rows,
            tasks=changes.tasks,
            ended=changes.ended,
            postponed=changes.postponed,
            parked=changes.parked,
        )
        if delivery != _NOTHING:
            unit.transaction.flush(delivery)
        return rows

    def _report(self, changes: RecordedChanges) -> None:
        if changes.notes:
            self.telemetry.note_all(changes.notes)
        for event, fields in changes.alerts:
            self.telemetry.alert(event, **fields)
        for name in changes.counts:
            self.telemetry.count(name)


_NOTHING = Delivery(outbox=[], tasks=[], ended=[], postponed=[], parked=[])
