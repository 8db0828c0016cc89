"""The store of a user's own steps: one document for each (group, key)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from oms.adapters.memory import column_limits
from oms.adapters.memory.call_hooks import port_call
from oms.adapters.memory.service_tables import ServiceTables
from oms.adapters.memory.store import MemoryStore
from oms.adapters.memory.tables import Table
from oms.adapters.memory.transaction import MemoryTransaction
from oms.ports.broker import TopicPartition
from oms.ports.clock import Clock, Ids
from oms.ports.stores.steps import StepStore, StepTransaction


class StepTables(ServiceTables):
    """The steps' tables."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        super().__init__(clock, ids)
        self.documents: Table[tuple[str, str], str] = Table("documents", check_row=column_limits.check_document)
        self.start_offsets: dict[str, Mapping[TopicPartition, int]] = {}


class MemoryStepTransaction(MemoryTransaction, StepTransaction):
    """The unit of work of a user's own steps."""

    _tables: StepTables

    @port_call
    def lock_documents(self, group: str, keys: Collection[str]) -> Mapping[str, str]:
        rows = self._lock_rows(self._tables.documents, [(group, key) for key in keys])
        return {key: body for (_, key), body in rows.items()}

    @port_call
    def save_documents(self, group: str, changes: Sequence[tuple[str, str | None, str]]) -> None:
        self._open()
        for key, before, after in sorted(changes, key=lambda change: change[0]):
            if before is None:
                self._insert(self._tables.documents, (group, key), after)
            else:
                self._update(self._tables.documents, (group, key), after, before.__eq__)


class MemoryStepStore(MemoryStore[StepTables], StepStore):
    """The store of a user's own steps in memory."""

    name = "steps"

    @port_call
    def begin(self) -> StepTransaction:
        return MemoryStepTransaction(self._tables, self._hooks)

    @port_call
    def document(self, group: str, key: str) -> str | None:
        return self._tables.documents.rows.get((group, key))

    def start_offsets(self, group: str) -> Mapping[TopicPartition, int] | None:
        return self._tables.start_offsets.get(group)

    def pin_start_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return self._tables.start_offsets.setdefault(group, dict(offsets))

    @classmethod
    def new_tables(cls, clock: Clock, ids: Ids) -> StepTables:
        """Empty tables of a user's own step."""
        return StepTables(clock, ids)
