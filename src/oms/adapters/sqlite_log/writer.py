"""The thread that writes the log, with group commit: one transaction, and one fsync, for all that is queued.

Callers that publish wait for their commit. Offsets are written with the next commit, or after `OFFSETS_WAIT_S` without
one; if they are lost, records are only delivered again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import attrs

from oms.adapters.sqlite_log import log_file, records
from oms.ports.broker import TopicPartition
from oms.ports.clock import Clock
from oms.ports.errors import OutcomeUnknown, PortError, Retryable

MAX_GROUP = 10_000
"""Records in one transaction, unless a single call has more."""

OFFSETS_WAIT_S = 0.05
"""How long offsets wait for a commit of messages, in seconds."""

_UPSERT_OFFSET = (
    "INSERT INTO offsets (consumers, topic, partition, next) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (consumers, topic, partition) DO UPDATE SET next = excluded.next"
)
_UPSERT_END = (
    "INSERT INTO ends (topic, partition, next) VALUES (?, ?, ?)"
    " ON CONFLICT (topic, partition) DO UPDATE SET next = max(next, excluded.next)"
)
_DELETE = "DELETE FROM records WHERE topic = ? AND partition = ? AND offset < ?"

Append = tuple[str, bytes | None, bytes, bytes]
"""Topic, key, packed headers, value."""
Offsets = dict[tuple[str, TopicPartition], int]


@attrs.define(eq=False)
class _WriteRequest:
    """The request of one caller, which is written completely or not at all."""

    appends: Sequence[Append] = ()
    deletes: Mapping[TopicPartition, int] = attrs.Factory(dict)
    ended: threading.Event = attrs.Factory(threading.Event)
    error: PortError | None = None


class Writer:
    """Writes one log. `ends` is the next offset of each partition and `end` their sum, of committed records only."""

    def __init__(self, path: Path, partitions: int, clock: Clock, committed: Callable[[], None]) -> None:
        self._path, self._partitions, self._clock, self._committed = path, partitions, clock, committed
        self.ends: dict[TopicPartition, int] = {}
        self.end = 0
        self.commits = 0
        self._connection: sqlite3.Connection | None = None
        self._changed = threading.Condition()
        self._requests: deque[_WriteRequest] = deque()
        self._offsets: Offsets = {}
        self._offsets_due: float | None = None
        self._turns: dict[str, int] = {}
        self._stopped = False
        self._connected()
        self._thread = threading.Thread(target=self._run, name="oms-log", daemon=True)
        self._thread.start()

    def append(self, appends: Sequence[Append]) -> PortError | None:
        """Write records and wait until they are durable; returns the error, or None."""
        return self._wait_for(_WriteRequest(appends))

    def delete(self, before: Mapping[TopicPartition, int]) -> PortError | None:
        """Remove the records before an offset of each partition and wait for the commit; returns the error, or None."""
        return self._wait_for(_WriteRequest(deletes=before))

    def keep_offset(self, group: str, place: TopicPartition, offset: int) -> None:
        """Write an offset of a group with the next commit, without waiting for it."""
        with self._changed:
            self._offsets[group, place] = offset
            if self._offsets_due is None:
                self._offsets_due = time.monotonic() + OFFSETS_WAIT_S
                self._changed.notify()

    def stop(self) -> None:
        """Write what is queued, and end the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _wait_for(self, request: _WriteRequest) -> PortError | None:
        with self._changed:
            if self._stopped:
                return Retryable(f"{self._path}: the log is closed")
            self._requests.append(request)
            self._changed.notify()
        request.ended.wait()
        return request.error

    def _run(self) -> None:
        requests: list[_WriteRequest] = []
        try:
            while True:
                requests, offsets = self._next_group()
                if not requests and not offsets:
                    return
                error = self._write(requests, offsets)
                if error is not None:
                    self._put_back(offsets)
                _end(requests, error)
                if requests and error is None:
                    self._committed()
        finally:
            with self._changed:  # also if the thread dies of an error, so that no caller waits for ever
                self._stopped = True
                _end([*requests, *self._requests], OutcomeUnknown(f"{self._path}: the log's writer has ended"))
            self._disconnect()

    def _next_group(self) -> tuple[list[_WriteRequest], Offsets]:
        """Wait for something to write; returns nothing when the writer was stopped."""
        with self._changed:
            while not self._requests and not self._stopped:
                wait_s = None if self._offsets_due is None else self._offsets_due - time.monotonic()
                if wait_s is not None and wait_s <= 0:
                    break
                self._changed.wait(wait_s)
            requests: list[_WriteRequest] = []
            room = MAX_GROUP
            while self._requests and room > 0:
                requests.append(self._requests.popleft())
                room -= len(requests[-1].appends)
            offsets, self._offsets, self._offsets_due = self._offsets, {}, None
            return requests, offsets

    def _put_back(self, offsets: Offsets) -> None:
        with self._changed:
            if not self._stopped:  # a stopped writer doesn't try again
                self._offsets = {**offsets, **self._offsets}
                self._offsets_due = time.monotonic() + 20 * OFFSETS_WAIT_S

    def _write(self, requests: Sequence[_WriteRequest], offsets: Offsets) -> PortError | None:
        """Write one transaction. After an error the next one uses a new connection and reads the ends from the file."""
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            rows, ends = self._rows_of(requests)
            connection.executemany(records.INSERT, rows)
            _write_offsets(connection, offsets)
            for request in requests:
                _delete(connection, request.deletes)
        except sqlite3.Error as error:
            self._disconnect()
            return Retryable(f"{self._path}: {error}")
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._disconnect()
            return OutcomeUnknown(f"{self._path}: {error}")
        self.ends.update(ends)
        self.end += len(rows)
        self.commits += 1
        return None

    def _rows_of(self, requests: Sequence[_WriteRequest]) -> tuple[list[tuple[object, ...]], dict[TopicPartition, int]]:
        now = self._clock.now()
        at = int(now.timestamp() * 1_000_000)
        rows: list[tuple[object, ...]] = []
        ends: dict[TopicPartition, int] = {}
        for request in requests:
            for topic, key, headers, value in request.appends:
                place = TopicPartition(topic, self._partition(topic, key))
                offset = ends.get(place)
                if offset is None:
                    offset = self.ends.get(place, 0)
                ends[place] = offset + 1
                rows.append((topic, place.partition, offset, key, headers, value, at))
        return rows, ends

    def _partition(self, topic: str, key: bytes | None) -> int:
        """The partition of a key; records without a key take the partitions in turn."""
        if key is not None:
            return crc32(key) % self._partitions
        turn = self._turns[topic] = self._turns.get(topic, -1) + 1
        return turn % self._partitions

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = log_file.open_writer(self._path)
            self.ends.update(records.ends(connection, self._partitions))
            self.end = sum(self.ends.values())
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):  # the connection has failed already
                self._connection.close()
            self._connection = None


def _write_offsets(connection: sqlite3.Connection, offsets: Offsets) -> None:
    rows = [(group, place.topic, place.partition, next_) for (group, place), next_ in offsets.items()]
    connection.executemany(_UPSERT_OFFSET, rows)


def _delete(connection: sqlite3.Connection, before: Mapping[TopicPartition, int]) -> None:
    bounds = [(place.topic, place.partition, end) for place, end in before.items()]
    connection.executemany(_UPSERT_END, bounds)
    connection.executemany(_DELETE, bounds)


def _end(requests: Sequence[_WriteRequest], error: PortError | None) -> None:
    for request in requests:
        if not request.ended.is_set():
            request.error = error
            request.ended.set()
