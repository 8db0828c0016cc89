"""One member of a consumer group.

librdkafka fetches ahead in threads of its own and tells of everything else (partitions given and taken, failed
commits, errors) only while it is asked for records, on the asking thread. So does this: nothing here waits but `wait`,
and nothing happens between two calls. No callback may raise: librdkafka would drop the records it is about to hand out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPlace

from oms.adapters.kafka import driver_errors, group_offsets
from oms.adapters.kafka.careful_reader import CarefulReader
from oms.adapters.kafka.clients import keep_in_forks
from oms.adapters.kafka.conf import LOGGER, Conf
from oms.adapters.kafka.membership import Membership
from oms.adapters.kafka.partitions import Partitions
from oms.adapters.kafka.records import record_of
from oms.ports.broker import NO_STARTS, Subscription, TopicPartition
from oms.ports.errors import Permanent, PortError
from oms.ports.messages import Record
from oms.ports.telemetry import Telemetry

AHEAD = 16
"""Records kept for later by polls that want none. After so many the partitions are paused, for which librdkafka
throws away what it has fetched: too dear for a short wait."""

COMMIT_EVERY_S = 0.25
"""Offsets that were asked for go together. Whoever takes over after a crash reads so much again, and drops it."""

APART_S = 0.02
"""How often a reader of a single partition is asked for its record."""

MAX_STUCK = 100
"""Batches that can't be read which are remembered, so that each is reported once."""

_INSTANCE = "group.instance.id"

COMMIT_AGAIN_S = 1.0
"""A commit that failed is tried again after that, or with the next one."""


class KafkaSubscription(Subscription):
    """A member; joins at once, or with `starts` at the first poll, and again when the group or client gave it up."""

    def __init__(
        self,
        conf: Conf,
        topics: Collection[str],
        telemetry: Telemetry,
        starts: Mapping[TopicPartition, int] = NO_STARTS,
    ) -> None:
        self._conf, self._topics, self._telemetry, self._starts = conf, sorted(set(topics)), telemetry, starts
        self._is_new: bool | None = None
        self._partitions = Partitions()
        self._ahead: deque[Record] = deque()
        """Received, and not given out yet: for polls that wanted none, or from a partition that is closed."""
        self._asked: dict[TopicPartition, int] = {}
        self._unsent: set[TopicPartition] = set()
        """Partitions whose offset Kafka hasn't been asked to keep, or couldn't."""
        self._send_at = 0.0
        self._commits_open = 0
        self._holding = False
        self._positions: dict[TopicPartition, int] = {}
        """The next offset of closed partitions, as far as it was asked for."""
        self._reader: CarefulReader | None = None
        self._news = False
        """Whether partitions were closed since the last wait."""
        self._stuck: set[tuple[str | None, int | None, int | None]] = set()
        """Batches that librdkafka can't get past, each of them reported."""
        self._trouble: PortError | None = None
        self._membership = Membership()
        self._broken = False
        self._closed = False
        keep_in_forks(self)
        self._consumer: Consumer | None = None if starts else self._join()

    def poll(self, max_records: int) -> Sequence[Record]:
        """The next records, without waiting. `Retryable` where Kafka can't be read; then nothing was given out."""
        consumer = self._member()
        self._steer(consumer, closed=max_records <= 0 and len(self._ahead) >= AHEAD)
        self._send_commits(consumer)
        # Only whoever asks for records is alive, and is told anything.
        self._receive(consumer, max(1, max_records - len(self._ahead)))
        self._read_apart()
        polled = self._give_out(max_records)
        if not polled:
            self._tell_trouble()
        return polled

    def wait(self, timeout_s: float) -> bool:
        if self._closed or self._broken or self._consumer is None or self._ahead:
            return False
        if self._news:
            self._news = False
            return True
        self._receive(self._consumer, 1, min(timeout_s, APART_S) if self._partitions.read_apart else timeout_s)
        return True

    def refusal(self) -> str | None:
        return self._membership.refusal

    def is_new(self) -> bool | None:
        """Whether the group had no offsets; asked as soon as it has given partitions to this member."""
        if self._is_new is None and self._consumer is not None and self._partitions.ours:
            self._is_new = group_offsets.is_unknown(self._consumer, self._topics)
        return self._is_new

    def hold_back(self) -> bool:
        self._holding = True
        return True

    def held_back(self) -> Mapping[TopicPartition, int]:
        """The closed partitions with their positions; not while a commit is under way, which a death would undo."""
        closed = self._partitions.held - self._partitions.taken_away
        if not closed or self._consumer is None or self._broken:
            return {}
        if self._reader is not None and (self._commits_open or self._unsent):
            closed = closed - {self._reader.place}
        unknown = closed - self._positions.keys()
        if unknown:
            self._positions |= group_offsets.positions(self._consumer, sorted(unknown))
        return {place: self._positions[place] for place in sorted(closed)}

    def with_records(self, offsets: Mapping[TopicPartition, int]) -> Collection[TopicPartition]:
        return group_offsets.with_records(self._consumer, offsets) if self._consumer is not None else ()

    def open(self, offsets: Mapping[TopicPartition, int], *, careful: bool = False) -> None:
        """Give out the records of closed partitions; with `careful`, the next one through a reader of its own."""
        for place, offset in offsets.items():
            if place not in self._partitions.held or self._consumer is None:
                continue
            if careful:
                self._open_reader(place, offset)
            else:
                self._close_reader(self._consumer, place, offset)
            self._partitions.held.discard(place)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Ask Kafka to remember, now or with a later poll; the answer comes there, and a failure is made up for."""
        ours = {place: offset for place, offset in offsets.items() if self._partitions.is_open(place)}
        if self._consumer is None or self._broken or not ours:
            return  # of a client at its end, all partitions are lost
        self._asked.update(ours)
        self._unsent.update(ours)
        self._send_commits(self._consumer)

    def lost(self) -> Collection[TopicPartition]:
        return self._partitions.tell()

    def close(self) -> None:
        self._closed = True
        self._drop_reader()
        self._leave()

    @property
    def assigned(self) -> Collection[TopicPartition]:
        """The partitions that are this member's, as of the last poll."""
        return sorted(self._partitions.ours)

    @property
    def commits_open(self) -> int:
        """Commits that Kafka hasn't answered, or wasn't asked for yet, as of the last poll."""
        return self._commits_open + bool(self._unsent)

    # -- librdkafka's side

    def _join(self) -> Consumer:
        callbacks: Mapping[str, Callable[..., None]] = {
            "error_cb": self._noticed,
            "on_commit": self._on_commit,
            "stats_cb": self._membership.note_statistics,
        }
        try:
            consumer = Consumer({**self._conf, **callbacks}, logger=LOGGER)
            consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        except KafkaException as error:
            raise driver_errors.refused_settings(error) from None
        return consumer

    def _member(self) -> Consumer:
        if self._closed:
            raise Permanent("this member has left its group")
        if self._broken:
            self._leave()
        if self._consumer is None:
            self._membership.begin()
            if self._starts:
                was_new = group_offsets.begin(self._conf, self._topics, self._starts)
                self._is_new = was_new if self._is_new is None else self._is_new
            self._consumer = self._join()
        return self._consumer

    def _leave(self) -> None:
        consumer, self._consumer, self._broken = self._consumer, None, False
        if consumer is not None:
            self._membership.end()
            consumer.close()
        self._forget(list(self._partitions.ours))
        self._commits_open = 0

    def _steer(self, consumer: Consumer, *, closed: bool) -> None:
        pause, resume = self._partitions.to_steer(closed=closed)
        try:
            if pause:
                consumer.pause([KafkaPlace(place.topic, place.partition) for place in pause])
            if resume:
                consumer.resume([KafkaPlace(place.topic, place.partition) for place in resume])
        except KafkaException as error:
            self._broken = True
            raise driver_errors.unreachable(error) from None

    def _receive(self, consumer: Consumer, limit: int, timeout_s: float = 0) -> None:
        try:
            messages = consumer.consume(limit, timeout_s)
        except KafkaException as error:
            self._noticed(driver_errors.of(error))
            return
        for message in messages:
            fault = message.error()
            if fault is not None:
                self._noticed(fault)
                self._report_stuck(fault, (message.topic(), message.partition(), message.offset()))
                continue
            record = record_of(message)
            if (record.topic, record.partition) in self._partitions.ours:
                self._ahead.append(record)

    def _report_stuck(self, fault: KafkaError, at: tuple[str | None, int | None, int | None]) -> None:
        if driver_errors.is_stuck(fault) and at not in self._stuck and len(self._stuck) < MAX_STUCK:
            self._stuck.add(at)
            topic, partition, offset = at
            self._telemetry.alert(
                "a partition can't be read on",
                topic=topic,
                partition=partition,
                offset=offset,
                cause=driver_errors.said(fault),
            )

    # -- careful reading

    def _open_reader(self, place: TopicPartition, offset: int) -> None:
        reader = self._reader
        if reader is None or (reader.place, reader.offset) != (place, offset):
            self._drop_reader()
            self._reader = CarefulReader(self._conf, place, offset)
        self._partitions.read_apart = place

    def _close_reader(self, consumer: Consumer, place: TopicPartition, offset: int) -> None:
        """Have the member itself read on from where the reader came to."""
        if self._reader is None or self._reader.place != place:
            return
        try:
            consumer.seek(KafkaPlace(place.topic, place.partition, offset))
        except KafkaException as error:
            raise driver_errors.unreachable(error) from None
        self._drop_reader()
        self._partitions.read_apart = None

    def _drop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _read_apart(self) -> None:
        """Keep the reader's next record for the caller and close its partition again; also at the partition's end."""
        reader, place = self._reader, self._partitions.read_apart
        if reader is None or place is None or place in self._partitions.held:
            return
        record = reader.next()
        if record is not None:
            self._ahead.append(record)
        if record is not None or reader.at_end:
            self._positions[place] = reader.offset
            self._partitions.held.add(place)
            self._news = True

    def _give_out(self, limit: int) -> Sequence[Record]:
        if not self._partitions.taken_away:  # as nearly always: what is kept here is ours, and open
            return [self._ahead.popleft() for _ in range(min(limit, len(self._ahead)))]
        polled: list[Record] = []
        waiting: list[Record] = []
        while self._ahead and len(polled) < limit:
            record = self._ahead.popleft()
            is_open = self._partitions.is_open((record.topic, record.partition))
            (polled if is_open else waiting).append(record)
        self._ahead.extendleft(reversed(waiting))
        return polled

    @property
    def _cooperative(self) -> bool:
        """Whether the group gives partitions one by one instead of all anew."""
        strategy = self._conf.get("partition.assignment.strategy", "")
        return self._conf.get("group.protocol") == "consumer" or "cooperative" in strategy

    def _send_commits(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if self._unsent and (now >= self._send_at or self._reader is not None):
            self._send_at = now + COMMIT_EVERY_S
            self._send_commit(consumer, self._unsent)

    def _send_commit(self, consumer: Consumer, places: Collection[TopicPartition]) -> None:
        offsets = {place: self._asked[place] for place in places}
        self._unsent = self._unsent.difference(places)
        if not offsets:
            return
        try:
            consumer.commit(
                offsets=[KafkaPlace(place.topic, place.partition, offset) for place, offset in offsets.items()],
                asynchronous=True,
            )
            self._commits_open += 1
        except KafkaException as error:
            self._commit_failed(driver_errors.of(error), offsets.keys())

    # -- what librdkafka tells, during `consume` and `close`

    def _on_assign(self, consumer: Consumer, places: Sequence[KafkaPlace]) -> None:
        given = [_place(one) for one in places]
        if not self._holding:
            self._partitions.give(given)
            return
        try:
            # Paused before librdkafka knows their offsets, so before it fetches anything.
            (consumer.incremental_assign if self._cooperative else consumer.assign)(list(places))
            consumer.pause(list(places))
        except KafkaException as error:
            self._noticed(driver_errors.of(error))
            self._broken = True
            return
        self._partitions.hold(given)
        self._news = True

    def _on_revoke(self, consumer: Consumer, places: Sequence[KafkaPlace]) -> None:
        given_back = [_place(one) for one in places]
        self._send_commit(consumer, self._unsent.intersection(given_back))
        self._forget(given_back)

    def _on_lost(self, _consumer: Consumer, places: Sequence[KafkaPlace]) -> None:
        self._forget([_place(one) for one in places])

    def _forget(self, places: Collection[TopicPartition]) -> None:
        gone = frozenset(places)
        self._partitions.take(gone)
        self._positions = {place: offset for place, offset in self._positions.items() if place not in gone}
        if self._reader is not None and self._reader.place in gone:
            self._drop_reader()
        self._unsent -= gone
        self._asked = {place: offset for place, offset in self._asked.items() if place not in gone}
        self._ahead = deque(record for record in self._ahead if (record.topic, record.partition) not in gone)

    def _on_commit(self, error: KafkaError | None, places: Sequence[KafkaPlace]) -> None:
        self._commits_open = max(0, self._commits_open - 1)
        for one in places:
            failed = error or one.error
            if failed is not None:
                self._commit_failed(failed, [_place(one)])

    def _commit_failed(self, error: KafkaError, places: Collection[TopicPartition]) -> None:
        self._telemetry.count("kafka_commit_failures", cause=error.name())
        if driver_errors.refuses_member(error):
            self._membership.refuse(driver_errors.said(error))
        self._unsent.update(place for place in places if place in self._asked)
        self._send_at = time.monotonic() + COMMIT_AGAIN_S

    def _noticed(self, error: KafkaError) -> None:
        self._telemetry.count("kafka_errors", client="consumer", cause=error.name())
        self._broken = self._broken or driver_errors.is_fatal(error)
        if driver_errors.is_instance_taken(error):
            self._give_up_instance(error)
        if driver_errors.is_fatal(error):
            self._membership.fail(driver_errors.said(error))
        elif driver_errors.refuses_member(error):
            self._membership.refuse(driver_errors.said(error))
        self._trouble = driver_errors.stops_reading(error) or self._trouble

    def _give_up_instance(self, error: KafkaError) -> None:
        """Have the next client join as a dynamic member.

        With the same `group.instance.id` it would fence the other process, which would fence it again, and neither
        would read anything.
        """
        instance = self._conf.get(_INSTANCE)
        if instance is not None:
            self._conf = {key: text for key, text in self._conf.items() if key != _INSTANCE}
            self._telemetry.alert(
                "another process has this group.instance.id, this one joins without it",
                group=self._conf["group.id"],
                instance=instance,
                cause=driver_errors.said(error),
            )

    def _tell_trouble(self) -> None:
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble


def _place(one: KafkaPlace) -> TopicPartition:
    return TopicPartition(one.topic, one.partition)
