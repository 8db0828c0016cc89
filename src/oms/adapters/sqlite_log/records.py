"""Reads records from the log's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from oms.adapters.sqlite_log.log_file import open_reader, unusable
from oms.ports.broker import TopicPartition
from oms.ports.evidence import LogEvidence
from oms.ports.messages import Headers, Record, within_limits

CHUNK = 1000
"""Records that a read of all records fetches at a time. A long read transaction would stop checkpoints."""

INSERT = "INSERT INTO records (topic, partition, offset, key, headers, value, at) VALUES (?, ?, ?, ?, ?, ?, ?)"
_NEXT = (
    "SELECT offset, key, headers, value FROM records"
    " WHERE topic = ? AND partition = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?"
)

pack_headers = msgspec.msgpack.Encoder().encode
_unpack_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode
_NO_HEADERS = pack_headers(())


def headers_of(packed: bytes) -> Headers:
    """The headers of a record's row."""
    return () if packed == _NO_HEADERS else _unpack_headers(packed)


def read(connection: sqlite3.Connection, place: TopicPartition, first: int, end: int, limit: int) -> Sequence[Record]:
    """The records of a partition from offset `first` to before `end`, at most `limit`."""
    topic, partition = place.topic, place.partition
    rows = connection.execute(_NEXT, (topic, partition, first, end, limit)).fetchall()
    return [
        within_limits(Record(topic, partition, offset, key, value, headers_of(headers)))
        for offset, key, headers, value in rows
    ]


def topics(connection: sqlite3.Connection) -> Iterator[str]:
    """Every topic that has records, sorted; one index look-up for each topic, not a scan of all records."""
    topic = ""
    following = "SELECT topic FROM records WHERE topic > ? ORDER BY topic LIMIT 1"
    while found := connection.execute(following, (topic,)).fetchone():
        (topic,) = found
        yield topic


def ends(connection: sqlite3.Connection, partitions: int) -> Mapping[TopicPartition, int]:
    """The next offset of each partition that has, or had, records."""
    newest = "SELECT max(offset) FROM records WHERE topic = ? AND partition = ?"
    purged = connection.execute("SELECT topic, partition, next FROM ends").fetchall()
    found = {TopicPartition(topic, partition): next_ for topic, partition, next_ in purged}
    for topic in list(topics(connection)):
        for partition in range(partitions):
            (last,) = connection.execute(newest, (topic, partition)).fetchone()
            if last is not None:
                found[TopicPartition(topic, partition)] = last + 1
    return found


def end_of(path: Path, partitions: int) -> int:
    """The number of records that a log has ever had."""
    with closing(open_reader(path)) as connection:
        try:
            return sum(ends(connection, partitions).values())
        except sqlite3.Error as error:
            raise unusable(path, error) from error


def in_order(path: Path, first: Mapping[TopicPartition, int]) -> Iterator[Record]:
    """Every record from the offsets in `first` on (by default 0), in the order in which they were written.

    Records of one commit have the same time. A time that is earlier than that of the record before it in the same
    partition, because the clock was set back, counts as the time of that record.
    """
    placed: list[tuple[int, str, int, int]] = []
    with closing(open_reader(path)) as connection:
        try:
            latest: dict[TopicPartition, int] = {}
            for topic, partition, offset, at in connection.execute(
                "SELECT topic, partition, offset, at FROM records ORDER BY topic, partition, offset"
            ):
                place = TopicPartition(topic, partition)
                latest[place] = max(at, latest.get(place, at))
                if offset >= first.get(place, 0):
                    placed.append((latest[place], topic, partition, offset))
            for _, topic, partition, offset in sorted(placed):
                yield from read(connection, TopicPartition(topic, partition), offset, offset + 1, 1)
        except sqlite3.Error as error:
            raise unusable(path, error) from error


class RecordedLog(LogEvidence):
    """A log on disk, read-only and without a lock, also while another process writes it."""

    def __init__(self, path: Path, *, immutable: bool = False) -> None:
        self._path, self._immutable = path, immutable
        self._open().close()

    def all_records(self) -> Iterable[Record]:
        """Every record, as a stream by topic, partition and offset, up to the ends at the time of the call."""
        with closing(self._open()) as connection:
            try:
                (partitions,) = connection.execute("SELECT partitions FROM log").fetchone()
                for place, end in sorted(ends(connection, partitions).items()):
                    yield from _stream(connection, place, end)
            except sqlite3.Error as error:
                raise unusable(self._path, error) from error

    def offsets(self, group: str) -> Mapping[TopicPartition, int]:
        """The offsets of a group that are on disk."""
        stored = "SELECT topic, partition, next FROM offsets WHERE consumers = ?"
        with closing(self._open()) as connection:
            try:
                rows = connection.execute(stored, (group,)).fetchall()
            except sqlite3.Error as error:
                raise unusable(self._path, error) from error
        return {TopicPartition(topic, partition): next_ for topic, partition, next_ in rows}

    def _open(self) -> sqlite3.Connection:
        return open_reader(self._path, immutable=self._immutable)


def _stream(connection: sqlite3.Connection, place: TopicPartition, end: int) -> Iterator[Record]:
    first = 0
    while chunk := read(connection, place, first, end, CHUNK):
        yield from chunk
        first = chunk[-1].offset + 1
