"""Tables with READ COMMITTED transactions, which behave like PostgreSQL's towards concurrent workers.

Other transactions see the changes of a transaction when it has committed. Until then it holds a lock on each key that
it changed or read for update. An insert locks its key too, so a second insert of the same key waits for the first and
then sees its row. No table is copied: the cost of a transaction depends only on the rows that it touches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from enum import Enum
from typing import Any, Generic, NoReturn, TypeVar

import attrs

from oms.adapters.memory.call_hooks import CallHooks
from oms.ports.errors import Permanent, PortError, Retryable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Watch = Callable[[K, V | None, V | None], None]
"""Called with (key, before, after) when a change is committed, to keep an index up to date."""


@attrs.frozen(eq=False)
class Table(Generic[K, V]):
    """The committed rows of one table, and the transactions that have locked its keys."""

    name: str
    watch: Watch[K, V] | None = None
    check_row: Callable[[K, V], None] | None = None
    """Called with key and row before each write of a transaction; raises `Permanent` where PostgreSQL would."""

    rows: dict[K, V] = attrs.field(init=False, factory=dict)
    holders: dict[K, TableTransaction] = attrs.field(init=False, factory=dict)
    sharers: dict[K, dict[TableTransaction, None]] = attrs.field(init=False, factory=dict)

    def apply(self, key: K, row: V | None) -> None:
        """Commit one change at once; None deletes the row."""
        before = self.rows.get(key) if self.watch is not None else None
        if row is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = row
        if self.watch is not None:
            self.watch(key, before, row)


COMMITTING = threading.Lock()
"""Held while a transaction becomes visible, so that a copy of several tables has all of its changes or none."""


class TransactionState(Enum):
    """The state of a transaction."""

    OPEN = "open"
    ABORTED = "aborted by an error"
    ENDED = "ended"


class TableTransaction:
    """One transaction: its changes and its locks. Any error aborts it, as in PostgreSQL."""

    __slots__ = ("_changes", "_hooks", "_locks", "_shares", "owner", "state", "waits_for")

    def __init__(self, hooks: CallHooks) -> None:
        self.owner = hooks.owner
        self.state = TransactionState.OPEN
        self._hooks = hooks
        self._changes: dict[Table[Any, Any], dict[Any, Any]] = {}
        self._locks: list[tuple[Table[Any, Any], Any]] = []
        self._shares: list[tuple[Table[Any, Any], Any]] = []
        self.waits_for: tuple[TableTransaction, ...] = ()
        """The transactions that hold the lock that this one waits for."""

    def find(self, table: Table[K, V], key: K) -> V | None:
        """The row as this transaction sees it: as it changed it, else as it is committed."""
        own = self._changes.get(table)
        if own is not None and key in own:
            row: V | None = own[key]
            return row
        return table.rows.get(key)

    def scan(self, table: Table[K, V]) -> Iterator[tuple[K, V]]:
        """All rows as this transaction sees them."""
        own = self._changes.get(table, {})
        yield from ((key, row) for key, row in table.rows.items() if key not in own)
        yield from ((key, row) for key, row in own.items() if row is not None)

    def own(self, table: Table[K, V]) -> Iterable[tuple[K, V]]:
        """The rows that this transaction itself wrote and hasn't deleted."""
        return [(key, row) for key, row in self._changes.get(table, {}).items() if row is not None]

    def put(self, table: Table[K, V], key: K, row: V | None) -> None:
        """Write a row whose key is locked; None deletes it."""
        if row is not None and table.check_row is not None:
            self._check_row(table, key, row)
        changes = self._changes.get(table)
        if changes is None:
            changes = self._changes[table] = {}
        changes[key] = row

    def insert(self, table: Table[K, V], key: K, row: V) -> bool:
        """Write a new row; False if there is one. Waits for another transaction that has locked the key."""
        if table.check_row is not None:
            self._check_row(table, key, row)
        self.lock(table, key)
        own = self._changes.get(table)
        if own is None:
            own = self._changes[table] = {}
        if (own[key] is not None) if key in own else (key in table.rows):
            return False
        own[key] = row
        return True

    def lock_row(self, table: Table[K, V], key: K) -> V | None:
        """Like SELECT FOR UPDATE: locks a row that is committed, or of this transaction; None if there is none."""
        seen = self.find(table, key)
        if seen is None or not self.lock(table, key):
            return seen
        return self.find(table, key)

    def lock(self, table: Table[K, V], key: K) -> bool:
        """Lock a key exclusively until the transaction ends; returns whether it had to wait for another transaction."""
        if not table.sharers and table.holders.setdefault(key, self) is self:
            self._locks.append((table, key))
            return False
        waited = False
        while True:
            holder = table.holders.get(key)
            if holder is self:
                return waited
            others = (holder,) if holder is not None else self._other_sharers(table, key)
            if not others:
                break
            self._wait(table, key, others)
            waited = True
        table.holders[key] = self
        self._locks.append((table, key))
        return waited

    def share(self, table: Table[K, V], key: K) -> None:
        """Lock a key in shared mode: other transactions may share it, none can lock it exclusively."""
        while (holder := table.holders.get(key)) is not None:
            if holder is self:
                return
            self._wait(table, key, (holder,))
        sharers = table.sharers.setdefault(key, {})
        if self not in sharers:
            sharers[self] = None
            self._shares.append((table, key))

    def ensure_open(self) -> None:
        """Raise if the transaction has ended."""
        if self.state is TransactionState.ABORTED:
            raise Retryable("the transaction was aborted by an earlier error")
        if self.state is TransactionState.ENDED:
            raise Permanent("the transaction has ended")

    def refuse(self, error: PortError) -> NoReturn:
        """Abort the transaction and raise `error`."""
        self.undo(TransactionState.ABORTED)
        raise error

    def commit(self) -> None:
        """Make all changes visible at once, then release the locks."""
        with COMMITTING:
            for table, changes in self._changes.items():
                if table.watch is None:
                    table.rows.update(changes)
                    for key in [key for key, row in changes.items() if row is None]:
                        del table.rows[key]
                else:
                    for key, row in changes.items():
                        table.apply(key, row)
        self.undo(TransactionState.ENDED)

    def undo(self, state: TransactionState = TransactionState.ENDED) -> None:
        """Discard the uncommitted changes and release the locks."""
        self.state = state
        self._changes = {}
        for table, key in self._locks:
            table.holders.pop(key, None)
        for table, key in self._shares:
            table.sharers[key].pop(self, None)
        self._locks, self._shares = [], []

    def _check_row(self, table: Table[K, V], key: K, row: V) -> None:
        try:
            table.check_row(key, row)  # type: ignore[misc]
        except Permanent as error:
            self.refuse(error)

    def _other_sharers(self, table: Table[K, V], key: K) -> tuple[TableTransaction, ...]:
        sharers = table.sharers.get(key)
        return tuple(work for work in sharers if work is not self) if sharers else ()

    def _wait(self, table: Table[K, V], key: K, others: tuple[TableTransaction, ...]) -> None:
        self.waits_for = others
        if self._is_deadlocked():
            self.refuse(Retryable(f"deadlock detected at {table.name} {key}"))
        try:
            self._hooks.blocked(f"{table.name} {key}")
        finally:
            self.waits_for = ()
        self._hooks.check()
        self.ensure_open()

    def _is_deadlocked(self) -> bool:
        seen: dict[TableTransaction, None] = {}
        todo = list(self.waits_for)
        while todo:
            work = todo.pop()
            if work is self:
                return True
            if work not in seen:
                seen[work] = None
                todo.extend(work.waits_for)
        return False
