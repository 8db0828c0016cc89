"""The broker port on the log, and its subscriptions."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Protocol

from oms.adapters.sqlite_log import log_file, records
from oms.adapters.sqlite_log.groups import Groups, Member
from oms.adapters.sqlite_log.writer import Append, Writer
from oms.ports.broker import NO_STARTS, Broker, Subscription, TopicPartition
from oms.ports.clock import Clock
from oms.ports.errors import Permanent, PortError
from oms.ports.evidence import LogEvidence
from oms.ports.messages import Outgoing, Record, too_large


class DataFiles(Protocol):
    """Checks that the other files of the system belong to the log. It is called while the log is locked."""

    @abstractmethod
    def check(self) -> None:
        """Called before the log is opened or created."""

    @abstractmethod
    def identify(self, end: int) -> None:
        """Called when the log is open; `end` is the number of records that it has ever had."""

    @abstractmethod
    def ended(self) -> None:
        """Called after the last write."""


class SqliteLog(Broker, LogEvidence):
    """A log in one file, for one process; raises `Permanent` while another process has it open.

    The CRC-32 of its key decides the partition of a record; records without a key take the partitions in turn. Every
    topic has the same number of partitions; an existing file keeps its number, even if `partitions` differs. The
    callbacks in `woken` run after each commit of messages, on the writer's thread: they must not wait or raise. An
    error that `files` raises stops the start.
    """

    def __init__(self, path: Path, *, clock: Clock, partitions: int = 4, files: DataFiles | None = None) -> None:
        self._path, self._files = path, files
        self.woken: list[Callable[[], None]] = []
        self._lock = log_file.Lock(path)
        try:
            if files is not None:
                files.check()
            self.partitions = log_file.create(path, partitions)
            if files is not None:
                files.identify(records.end_of(path, self.partitions))
            offsets = _stored_offsets(path)
            self._writer = Writer(path, self.partitions, clock, self._wake)
            self._groups = Groups(self.partitions, offsets, self._writer.keep_offset)
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def read_only(cls, path: Path, *, immutable: bool = False) -> LogEvidence:
        """The records of a log that another process may have open; `Permanent` if the file isn't a log.

        `immutable`: no process can change the file, such as one on a read-only file system.
        """
        return records.RecordedLog(path, immutable=immutable)

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        """Append the messages in one commit, which may include those of other callers."""
        reports: list[PortError | None] = []
        appends: list[Append] = []
        for message in messages:
            append = _append_of(message)
            reports.append(append if isinstance(append, PortError) else None)
            if not isinstance(append, PortError):
                appends.append(append)
        error = self._writer.append(appends) if appends else None
        return [report or error for report in reports]

    def check(self, topics: Collection[str], groups: Collection[str]) -> None:  # noqa: ARG002 - a file refuses none
        log_file.check_writable(self._path)

    def subscribe(
        self, group: str, topics: Collection[str], starts: Mapping[TopicPartition, int] = NO_STARTS
    ) -> Subscription:
        ends = self._writer.ends
        starts = {place: offset for place, offset in starts.items() if offset <= ends.get(place, 0)}
        return SqliteSubscription(self._path, self._groups, Member(group, topics), ends, starts)

    def ends(self, topics: Collection[str]) -> Mapping[TopicPartition, int]:
        return {place: end for place, end in dict(self._writer.ends).items() if place.topic in topics}

    def knows(self, group: str, topics: Collection[str]) -> bool:
        return any(place.topic in topics for place in self._groups.offsets(group))

    def all_records(self) -> Iterable[Record]:
        return records.RecordedLog(self._path).all_records()

    def in_order(self, first: Mapping[TopicPartition, int]) -> Iterator[Record]:
        """Every durable record from these offsets on, in the order in which they were written."""
        return records.in_order(self._path, first)

    def offsets(self, group: str) -> Mapping[TopicPartition, int]:
        return self._groups.offsets(group)

    def purge(self, older_than: datetime, limit: int) -> int:
        """Remove at most `limit` records that are older and that every group has passed; returns how many.

        A group counts from its first join on, also while it has no member. Later records continue the offsets.
        """
        bounds: dict[TopicPartition, int] = {}
        removed = 0
        with closing(log_file.open_reader(self._path)) as connection:
            for place, end in list(self._writer.ends.items()):
                passed = self._groups.lowest_offset(place, end)
                rows = _oldest(connection, self._path, place, passed, older_than, limit - removed)
                if rows:
                    bounds[place] = rows[-1] + 1
                    removed += len(rows)
        error = self._writer.delete(bounds) if bounds else None
        if error is not None:
            raise error
        return removed

    @property
    def end(self) -> int:
        """The number of records that the log has ever had, in all partitions; it never decreases."""
        return self._writer.end

    def close(self) -> None:
        """Write what is queued, and release the file."""
        self._writer.stop()
        try:
            if self._files is not None:
                self._files.ended()
        finally:
            self._lock.release()

    def _wake(self) -> None:
        for woken in self.woken:
            woken()


class SqliteSubscription(Subscription):
    """One member of a group. A poll without new records runs no SQL."""

    def __init__(
        self,
        path: Path,
        groups: Groups,
        member: Member,
        ends: Mapping[TopicPartition, int],
        starts: Mapping[TopicPartition, int],
    ) -> None:
        self._path, self._groups, self._member, self._ends = path, groups, member, ends
        self._connection: sqlite3.Connection | None = log_file.open_reader(path)
        groups.join(member, starts)

    def is_new(self) -> bool:
        return self._member.is_new

    def poll(self, max_records: int) -> Sequence[Record]:
        if self._connection is None:
            raise Permanent("this member has left its group")
        polled: list[Record] = []
        if max_records <= 0:
            return polled
        for place, position, end in self._groups.readable(self._member, self._ends):
            room = max_records - len(polled)
            if room <= 0:
                break
            found = self._read(self._connection, place, position, end, room)
            # If fewer came than there was room for, the rest up to the end was purged.
            to = end if len(found) < room else found[-1].offset + 1
            if self._groups.advance(self._member, place, position, to):
                polled += found
        return polled

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._groups.commit(self._member, offsets)

    def lost(self) -> Collection[TopicPartition]:
        return self._groups.lost(self._member)

    def close(self) -> None:
        self._groups.leave(self._member)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(
        self, connection: sqlite3.Connection, place: TopicPartition, first: int, end: int, limit: int
    ) -> Sequence[Record]:
        try:
            return records.read(connection, place, first, end, limit)
        except sqlite3.Error as error:
            raise log_file.unusable(self._path, error) from error


def _append_of(message: Outgoing) -> Append | PortError:
    refused = too_large(message)
    if refused is not None:
        return refused
    try:
        message.topic.encode()
        return message.topic, message.key, records.pack_headers(message.headers), message.value
    except UnicodeEncodeError:
        return Permanent(f"{message.topic!r}: topic and header names must be valid Unicode text")


def _stored_offsets(path: Path) -> Mapping[str, dict[TopicPartition, int]]:
    stored: dict[str, dict[TopicPartition, int]] = {}
    with closing(log_file.open_reader(path)) as connection:
        rows = connection.execute("SELECT consumers, topic, partition, next FROM offsets").fetchall()
        for group, topic, partition, next_ in rows:
            stored.setdefault(group, {})[TopicPartition(topic, partition)] = next_
    return stored


def _oldest(
    connection: sqlite3.Connection, path: Path, place: TopicPartition, bound: int, older_than: datetime, limit: int
) -> Sequence[int]:
    """Offsets of the oldest records up to `bound` that are older than `older_than`, without a gap."""
    oldest = "SELECT offset, at FROM records WHERE topic = ? AND partition = ? AND offset < ? ORDER BY offset LIMIT ?"
    before = int(older_than.timestamp() * 1_000_000)
    try:
        rows = connection.execute(oldest, (place.topic, place.partition, bound, limit)).fetchall()
    except sqlite3.Error as error:
        raise log_file.unusable(path, error) from error
    young = next((index for index, (_, at) in enumerate(rows) if at >= before), len(rows))
    return [offset for offset, _ in rows[:young]]
