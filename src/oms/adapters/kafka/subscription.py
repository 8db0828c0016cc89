"""One member of a consumer group.

librdkafka fetches records in threads of its own. It reports everything else (partitions assigned and revoked, failed
commits, errors) by callbacks, and calls them only during `consume` and `close`, on the calling thread. So nothing here
changes between two calls, and only `wait` waits. No callback may raise: librdkafka would then drop the records that it
is about to return.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from oms.adapters.kafka import driver_errors, group_offsets
from oms.adapters.kafka.careful_reader import CarefulReader
from oms.adapters.kafka.clients import keep_in_forks, new_consumer
from oms.adapters.kafka.conf import Conf, has_cooperative_rebalances
from oms.adapters.kafka.consumer_errors import ConsumerErrors
from oms.adapters.kafka.membership import Membership
from oms.adapters.kafka.offset_commits import OffsetCommits
from oms.adapters.kafka.partitions import Partitions, RecordBuffer, for_driver, from_driver
from oms.adapters.kafka.records import record_of
from oms.ports.broker import NO_STARTS, Subscription, TopicPartition
from oms.ports.errors import Permanent
from oms.ports.messages import Record
from oms.ports.telemetry import Telemetry

MAX_BUFFERED = 16
"""Records that are buffered while the caller polls for none. After that the partitions are paused, for which librdkafka
discards what it has fetched: too expensive for a short pause."""

CAREFUL_POLL_S = 0.02
"""Time between two polls of the careful reader, in seconds."""


class KafkaSubscription(Subscription):
    """A member that joins at once, or with `starts` at the first poll; joins again after its client has failed."""

    def __init__(
        self,
        conf: Conf,
        topics: Collection[str],
        telemetry: Telemetry,
        starts: Mapping[TopicPartition, int] = NO_STARTS,
    ) -> None:
        self._topics, self._starts = sorted(set(topics)), starts
        self._membership = Membership()
        self._errors = ConsumerErrors(conf, telemetry, self._membership)
        self._commits = OffsetCommits(telemetry, self._membership)
        self._partitions = Partitions()
        self._is_new: bool | None = None
        self._buffer = RecordBuffer(self._partitions)
        self._holding = False
        self._positions: dict[TopicPartition, int] = {}
        """The next offset of closed partitions, as far as it is known."""
        self._reader: CarefulReader | None = None
        self._newly_closed = False
        """Whether partitions were closed since the last `wait`."""
        self._closed = False
        keep_in_forks(self)
        self._consumer: Consumer | None = None if starts else self._join()

    def poll(self, max_records: int) -> Sequence[Record]:
        """The next records, without waiting. `Retryable` if Kafka can't be read; no record is lost then."""
        consumer = self._member()
        self._pause_and_resume(consumer, all_closed=max_records <= 0 and len(self._buffer) >= MAX_BUFFERED)
        self._send_commits(consumer)
        # Also if no record is wanted: librdkafka keeps the membership alive, and calls back, only during `consume`.
        self._receive(consumer, max(1, max_records - len(self._buffer)))
        self._read_carefully()
        polled = self._buffer.take(max_records)
        error = None if polled else self._errors.take()
        if error is not None:
            raise error
        return polled

    def wait(self, timeout_s: float) -> bool:
        if self._closed or self._errors.is_broken or self._consumer is None or self._buffer:
            return False
        if self._newly_closed:
            self._newly_closed = False
            return True
        careful = self._partitions.read_carefully is not None
        self._receive(self._consumer, 1, min(timeout_s, CAREFUL_POLL_S) if careful else timeout_s)
        return True

    def refusal(self) -> str | None:
        return self._membership.refusal

    def is_new(self) -> bool | None:
        """Whether the group had no offsets; read as soon as the group has assigned partitions to this member."""
        if self._is_new is None and self._consumer is not None and self._partitions.ours:
            self._is_new = group_offsets.is_unknown(self._consumer, self._topics)
        return self._is_new

    def hold_back(self) -> bool:
        self._holding = True
        return True

    def held_back(self) -> Mapping[TopicPartition, int]:
        """The closed partitions with their positions.

        Leaves out the partition that is read carefully while a commit is under way: if the process dies of the next
        record, that commit must have been made.
        """
        closed = self._partitions.held - self._partitions.taken_away
        if not closed or self._consumer is None or self._errors.is_broken:
            return {}
        if self._reader is not None and self._commits.pending:
            closed = closed - {self._reader.place}
        unknown = closed - self._positions.keys()
        if unknown:
            self._positions |= group_offsets.positions(self._consumer, sorted(unknown))
        return {place: self._positions[place] for place in sorted(closed)}

    def with_records(self, offsets: Mapping[TopicPartition, int]) -> Collection[TopicPartition]:
        return group_offsets.with_records(self._consumer, offsets) if self._consumer is not None else ()

    def open(self, offsets: Mapping[TopicPartition, int], *, careful: bool = False) -> None:
        """Return the records of closed partitions again; with `careful`, the next one through a `CarefulReader`."""
        for place, offset in offsets.items():
            if place not in self._partitions.held or self._consumer is None:
                continue
            if careful:
                self._open_reader(place, offset)
            else:
                self._close_reader(self._consumer, place, offset)
            self._partitions.held.discard(place)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit now or during a later poll, without waiting; a failed commit is repeated."""
        ours = {place: offset for place, offset in offsets.items() if self._partitions.is_open(place)}
        if self._consumer is None or self._errors.is_broken or not ours:
            return  # a broken client has lost all its partitions
        self._commits.add(ours)
        self._send_commits(self._consumer)

    def lost(self) -> Collection[TopicPartition]:
        return self._partitions.take_lost()

    def close(self) -> None:
        self._closed = True
        self._drop_reader()
        self._leave()

    @property
    def assigned(self) -> Collection[TopicPartition]:
        """The partitions of this member, as of the last poll."""
        return sorted(self._partitions.ours)

    @property
    def commits_open(self) -> int:
        """Commits that Kafka hasn't confirmed, or that weren't sent yet, as of the last poll."""
        return self._commits.pending

    # -- the client

    def _member(self) -> Consumer:
        if self._closed:
            raise Permanent("this member has left its group")
        if self._errors.is_broken:
            self._leave()
        if self._consumer is None:
            self._membership.begin()
            if self._starts:
                was_new = group_offsets.begin(self._errors.conf, self._topics, self._starts)
                self._is_new = was_new if self._is_new is None else self._is_new
            self._consumer = self._join()
        return self._consumer

    def _join(self) -> Consumer:
        consumer = new_consumer(
            self._errors.conf,
            error_cb=self._errors.note,
            on_commit=self._commits.on_commit,
            stats_cb=self._membership.note_statistics,
        )
        try:
            consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        except KafkaException as error:
            raise driver_errors.refused_settings(error) from None
        return consumer

    def _leave(self) -> None:
        consumer, self._consumer, self._errors.is_broken = self._consumer, None, False
        if consumer is not None:
            self._membership.end()
            consumer.close()
        self._forget(list(self._partitions.ours))
        self._commits.client_closed()

    def _pause_and_resume(self, consumer: Consumer, *, all_closed: bool) -> None:
        pause, resume = self._partitions.to_pause_and_resume(all_closed=all_closed)
        try:
            if pause:
                consumer.pause(for_driver(pause))
            if resume:
                consumer.resume(for_driver(resume))
        except KafkaException as error:
            self._errors.is_broken = True
            raise driver_errors.unreachable(error) from None

    def _receive(self, consumer: Consumer, limit: int, timeout_s: float = 0) -> None:
        try:
            messages = consumer.consume(limit, timeout_s)
        except KafkaException as error:
            self._errors.note(driver_errors.error_in(error))
            return
        for message in messages:
            fault = message.error()
            if fault is not None:
                self._errors.note_message(fault, message)
                continue
            self._buffer.add(record_of(message))

    def _send_commits(self, consumer: Consumer) -> None:
        self._commits.send_due(consumer, at_once=self._reader is not None)

    # -- careful reading

    def _open_reader(self, place: TopicPartition, offset: int) -> None:
        reader = self._reader
        if reader is None or (reader.place, reader.offset) != (place, offset):
            self._drop_reader()
            self._reader = CarefulReader(self._errors.conf, place, offset)
        self._partitions.read_carefully = place

    def _close_reader(self, consumer: Consumer, place: TopicPartition, offset: int) -> None:
        """Make the member's own client continue at the reader's position."""
        if self._reader is None or self._reader.place != place:
            return
        try:
            consumer.seek(KafkaPartition(*place, offset))
        except KafkaException as error:
            raise driver_errors.unreachable(error) from None
        self._drop_reader()
        self._partitions.read_carefully = None

    def _drop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _read_carefully(self) -> None:
        """Buffer the reader's next record and close its partition again; also at the partition's end."""
        reader, place = self._reader, self._partitions.read_carefully
        if reader is None or place is None or place in self._partitions.held:
            return
        record = reader.next()
        if record is not None:
            self._buffer.add(record)
        if record is not None or reader.at_end:
            self._positions[place] = reader.offset
            self._partitions.held.add(place)
            self._newly_closed = True

    # -- callbacks of librdkafka, during `consume` and `close`

    def _on_assign(self, consumer: Consumer, partitions: Sequence[KafkaPartition]) -> None:
        assigned = from_driver(partitions)
        if not self._holding:
            self._partitions.give(assigned)
            return
        try:
            # Paused before librdkafka knows their offsets, so before it fetches anything.
            cooperative = has_cooperative_rebalances(self._errors.conf)
            (consumer.incremental_assign if cooperative else consumer.assign)(list(partitions))
            consumer.pause(list(partitions))
        except KafkaException as error:
            self._errors.note(driver_errors.error_in(error))
            self._errors.is_broken = True
            return
        self._partitions.hold(assigned)
        self._newly_closed = True

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[KafkaPartition]) -> None:
        revoked = from_driver(partitions)
        self._commits.send_for(consumer, revoked)
        self._forget(revoked)

    def _on_lost(self, _consumer: Consumer, partitions: Sequence[KafkaPartition]) -> None:
        self._forget(from_driver(partitions))

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        gone = frozenset(partitions)
        self._partitions.take(gone)
        self._commits.forget(gone)
        self._positions = {place: offset for place, offset in self._positions.items() if place not in gone}
        self._buffer.forget(gone)
        if self._reader is not None and self._reader.place in gone:
            self._drop_reader()
