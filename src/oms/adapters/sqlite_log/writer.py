"""The one thread that writes: whatever waits goes into one transaction, and so shares one wait for the disk.

Callers that publish wait for their commit. Offsets ride along with the next commit, or have one of their own when
nothing is published for a while; losing them only means that records come again.
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

from oms.adapters.sqlite_log import file, records
from oms.ports.broker import TopicPartition
from oms.ports.clock import Clock
from oms.ports.errors import OutcomeUnknown, PortError, Retryable

MAX_GROUP = 10_000
"""Records in one transaction, unless a single call has more."""

OFFSETS_WAIT_S = 0.05

_KEEP_OFFSET = (
    "INSERT INTO offsets (consumers, topic, partition, next) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (consumers, topic, partition) DO UPDATE SET next = excluded.next"
)
_KEEP_END = (
    "INSERT INTO ends (topic, partition, next) VALUES (?, ?, ?)"
    " ON CONFLICT (topic, partition) DO UPDATE SET next = max(next, excluded.next)"
)
_DELETE = "DELETE FROM records WHERE topic = ? AND partition = ? AND offset < ?"

Append = tuple[str, bytes | None, bytes, bytes]
"""Topic, key, packed headers, value."""
Offsets = dict[tuple[str, TopicPartition], int]


@attrs.define(eq=False)
class _Job:
    """What one caller waits for: all of it is written, or none."""

    appends: Sequence[Append] = ()
    deletes: Mapping[TopicPartition, int] = attrs.Factory(dict)
    ended: threading.Event = attrs.Factory(threading.Event)
    error: PortError | None = None


class Writer:
    """Writes one log. `ends` is the next offset of each partition, `end` their sum; of committed records only."""

    def __init__(self, path: Path, partitions: int, clock: Clock, committed: Callable[[], None]) -> None:
        self._path, self._partitions, self._clock, self._committed = path, partitions, clock, committed
        self.ends: dict[TopicPartition, int] = {}
        self.end = 0
        self.commits = 0
        self._connection: sqlite3.Connection | None = None
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._offsets: Offsets = {}
        self._offsets_due: float | None = None
        self._turns: dict[str, int] = {}
        self._stopped = False
        self._connected()
        self._thread = threading.Thread(target=self._run, name="oms-log", daemon=True)
        self._thread.start()

    def append(self, appends: Sequence[Append]) -> PortError | None:
        """Write records and wait until they are durable; None when they are."""
        return self._wait_for(_Job(appends))

    def delete(self, before: Mapping[TopicPartition, int]) -> PortError | None:
        """Remove the records before an offset of each partition, and wait for it."""
        return self._wait_for(_Job(deletes=before))

    def keep_offset(self, group: str, place: TopicPartition, offset: int) -> None:
        """Write how far a group is, soon; doesn't wait."""
        with self._changed:
            self._offsets[group, place] = offset
            if self._offsets_due is None:
                self._offsets_due = time.monotonic() + OFFSETS_WAIT_S
                self._changed.notify()

    def stop(self) -> None:
        """Write what waits and end."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _wait_for(self, job: _Job) -> PortError | None:
        with self._changed:
            if self._stopped:
                return Retryable(f"{self._path}: the log is closed")
            self._jobs.append(job)
            self._changed.notify()
        job.ended.wait()
        return job.error

    def _run(self) -> None:
        jobs: list[_Job] = []
        try:
            while True:
                jobs, offsets = self._next_group()
                if not jobs and not offsets:
                    return
                error = self._write(jobs, offsets)
                if error is not None:
                    self._put_back(offsets)
                _end(jobs, error)
                if jobs and error is None:
                    self._committed()
        finally:
            with self._changed:  # also where the thread dies of an error: nobody may wait for ever
                self._stopped = True
                _end([*jobs, *self._jobs], OutcomeUnknown(f"{self._path}: the log's writer has ended"))
            self._disconnect()

    def _next_group(self) -> tuple[list[_Job], Offsets]:
        """Wait for something to write; nothing at all means that it's time to end."""
        with self._changed:
            while not self._jobs and not self._stopped:
                wait_s = None if self._offsets_due is None else self._offsets_due - time.monotonic()
                if wait_s is not None and wait_s <= 0:
                    break
                self._changed.wait(wait_s)
            jobs: list[_Job] = []
            room = MAX_GROUP
            while self._jobs and room > 0:
                jobs.append(self._jobs.popleft())
                room -= len(jobs[-1].appends)
            offsets, self._offsets, self._offsets_due = self._offsets, {}, None
            return jobs, offsets

    def _put_back(self, offsets: Offsets) -> None:
        with self._changed:
            if not self._stopped:  # a stopping writer that can't write doesn't try for ever
                self._offsets = {**offsets, **self._offsets}
                self._offsets_due = time.monotonic() + 20 * OFFSETS_WAIT_S

    def _write(self, jobs: Sequence[_Job], offsets: Offsets) -> PortError | None:
        """One transaction. After any failure the connection is left, and the file asked what it really holds."""
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            rows, ends = self._placed(jobs)
            connection.executemany(records.INSERT, rows)
            connection.executemany(
                _KEEP_OFFSET, [(group, p.topic, p.partition, next_) for (group, p), next_ in offsets.items()]
            )
            for job in jobs:
                bounds = [(p.topic, p.partition, end) for p, end in job.deletes.items()]
                connection.executemany(_KEEP_END, bounds)
                connection.executemany(_DELETE, bounds)
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

    def _placed(self, jobs: Sequence[_Job]) -> tuple[list[tuple[object, ...]], dict[TopicPartition, int]]:
        now = self._clock.now()
        at = int(now.timestamp() * 1_000_000)
        rows: list[tuple[object, ...]] = []
        ends: dict[TopicPartition, int] = {}
        for job in jobs:
            for topic, key, headers, value in job.appends:
                place = TopicPartition(topic, self._partition(topic, key))
                offset = ends.get(place)
                if offset is None:
                    offset = self.ends.get(place, 0)
                ends[place] = offset + 1
                rows.append((topic, place.partition, offset, key, headers, value, at))
        return rows, ends

    def _partition(self, topic: str, key: bytes | None) -> int:
        """The partition of a key; records without one take turns."""
        if key is not None:
            return crc32(key) % self._partitions
        turn = self._turns[topic] = self._turns.get(topic, -1) + 1
        return turn % self._partitions

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = file.open_writer(self._path)
            self.ends.update(records.ends(connection, self._partitions))
            self.end = sum(self.ends.values())
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):  # it is being left because it failed
                self._connection.close()
            self._connection = None


def _end(jobs: Sequence[_Job], error: PortError | None) -> None:
    for job in jobs:
        if not job.ended.is_set():
            job.error = error
            job.ended.set()
