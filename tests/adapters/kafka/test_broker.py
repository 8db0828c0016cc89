"""The Kafka adapter beyond the contract, on a broker of its own."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from uuid import uuid4

import attrs
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPlace
from confluent_kafka.admin import AdminClient, NewPartitions
from typed_settings import Secret

from oms.adapters.kafka import driver_errors, group_offsets, subscription
from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.kafka.conf import reader_conf
from oms.adapters.kafka.subscription import KafkaSubscription
from oms.adapters.kafka.topics import ensure_topics
from oms.adapters.memory.steps import MemoryStepStore
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.adapters.system.clock import SystemClock, SystemIds
from oms.adapters.wire.codec import JsonCodec
from oms.domain.money import Currency
from oms.engine.dependencies import ServiceDependencies
from oms.engine.outbox import OutboxWriter
from oms.engine.relay import Relay
from oms.ports.broker import Subscription, TopicPartition
from oms.ports.errors import Permanent, Retryable
from oms.ports.messages import Outgoing, Record
from oms.ports.stores.rows import Delivery, OutboxRow
from oms.settings import Settings
from oms.testing.contracts.samples import flush
from tests.support.kafka_server import PASSWORD, USER, KafkaServer, new_topic, own_server, place, read, wait_for

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> KafkaServer:
    return own_server()


@pytest.fixture(scope="module")
def broker(server: KafkaServer) -> KafkaBroker:
    return KafkaBroker(server.settings().kafka, RecordingTelemetry())


def numbered(topic: str, count: int, *, first: int = 0, size: int = 0) -> list[Outgoing]:
    return [
        Outgoing(topic, f"k{number}".encode(), str(number).encode() + b"." * size)
        for number in range(first, first + count)
    ]


def values(broker: KafkaBroker, topic: str) -> list[bytes | None]:
    return sorted(
        record.value or b"" for record in KafkaBroker(broker._config, broker._telemetry, topics=[topic]).all_records()
    )


# -- sending


def test_a_message_that_is_too_large_for_its_topic_is_refused_alone(server: KafkaServer, broker: KafkaBroker) -> None:
    topic = new_topic(server, 1, **{"max.message.bytes": "2000"})
    messages = numbered(topic, 20, size=900)
    messages.insert(7, Outgoing(topic, b"k", b"x" * 3000))
    reports = broker.publish(messages)
    assert [index for index, report in enumerate(reports) if report is not None] == [7]
    assert isinstance(reports[7], Permanent)
    assert len(values(broker, topic)) == 20


def test_the_largest_message_is_as_large_as_in_every_other_log(server: KafkaServer, broker: KafkaBroker) -> None:
    topic = f"topic-{uuid4().hex}"
    ensure_topics(server.settings().kafka, [topic])
    header = ("name", b"12")
    fits, too_large = b"x" * (1_048_576 - 6), b"x" * (1_048_576 - 5)
    first, second, third = broker.publish(
        [
            Outgoing(topic, b"k" * 100, too_large, (header,)),
            Outgoing(topic, b"k" * 100, fits, (header,)),
            *numbered(topic, 1),
        ]
    )
    assert isinstance(first, Permanent)
    assert (second, third) == (None, None)


@pytest.mark.parametrize(
    "bad",
    [
        Outgoing("no topic", None, b"v"),
        Outgoing("", None, b"v"),
        Outgoing("..", None, b"v"),
        Outgoing("x" * 250, None, b"v"),
        Outgoing("t\n", None, b"v"),
        Outgoing("\ud800", None, b"v"),
        Outgoing("t", None, b"v", (("cut\0short", b""),)),
        Outgoing("t", None, b"v", (("\ud800", b""),)),
        Outgoing("t", b"k" * 1_200_000, b"v"),
    ],
    ids=range(9),
)
def test_what_can_never_be_sent_is_refused_alone(server: KafkaServer, broker: KafkaBroker, bad: Outgoing) -> None:
    topic = new_topic(server, 1)
    before, refused, after = broker.publish([*numbered(topic, 1), bad, *numbered(topic, 1, first=1)])
    assert isinstance(refused, Permanent)
    assert (before, after) == (None, None)
    assert values(broker, topic) == [b"0", b"1"]


def test_a_topic_that_is_missing_delays_no_other_topic(server: KafkaServer) -> None:
    telemetry, clock, ids = RecordingTelemetry(), SystemClock(), SystemIds()
    broker = KafkaBroker(server.settings().kafka, telemetry)
    there, missing = new_topic(server, 2), f"topic-{uuid4().hex}"
    store = MemoryStepStore(clock, ids)
    shared = ServiceDependencies(broker, JsonCodec(Currency.of("USD")), clock, ids, telemetry, batch=10)
    health = shared.health
    relay = Relay(store, "shipping", OutboxWriter(shared, ""), shared, health.of("shipping"))
    mixed = [
        one for number in range(60) for one in (*numbered(missing, 1, first=number), *numbered(there, 1, first=number))
    ]
    flush(store, Delivery(outbox=[OutboxRow(ids.token(), message) for message in mixed]))

    def moves(done: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < until, store.backlog()
            relay.run_once()
            time.sleep(0.01)

    moves(lambda: {row.message.topic for row in store.all_outbox()} == {missing}, 10)
    assert len(values(broker, there)) == 60
    moves(lambda: bool(health.report().not_ready), 10)
    assert health.report().not_ready[0].subject == missing
    ensure_topics(server.settings(partitions=2).kafka, [missing])
    moves(lambda: not health.report().not_ready and not list(store.all_outbox()), 75)
    assert len(values(broker, missing)) == 60


def test_a_topic_that_is_missing_is_waited_for(server: KafkaServer, broker: KafkaBroker) -> None:
    topic = f"topic-{uuid4().hex}"
    (report,) = broker.publish(numbered(topic, 1))
    assert isinstance(report, Retryable)
    ensure_topics(server.settings().kafka, [topic])
    wait_for(lambda: list(broker.publish(numbered(topic, 1))) == [None])
    assert set(values(broker, topic)) == {b"0"}


def test_more_than_the_queue_holds_goes_out_in_turn(server: KafkaServer) -> None:
    conf = {"queue.buffering.max.messages": "10"}
    broker = KafkaBroker(server.settings(conf).kafka, RecordingTelemetry())
    topic = new_topic(server)
    assert list(broker.publish(numbered(topic, 300))) == [None] * 300
    assert len(values(broker, topic)) == 300


def test_callers_on_many_threads_each_get_their_own_reports(server: KafkaServer, broker: KafkaBroker) -> None:
    topic = new_topic(server, 4, **{"max.message.bytes": "100000"})
    answers: dict[int, list[object]] = {}

    def publish(caller: int) -> None:
        messages = numbered(topic, 50, first=caller * 50)
        messages[caller] = Outgoing(topic, None, b"x" * 200_000)
        answers[caller] = list(broker.publish(messages))

    threads = [threading.Thread(target=publish, args=(caller,)) for caller in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for caller, reports in answers.items():
        assert [index for index, report in enumerate(reports) if report is not None] == [caller]
    assert len(answers) == 8
    assert len(values(broker, topic)) == 8 * 49


def test_a_producer_that_gave_up_for_good_is_made_anew(server: KafkaServer) -> None:
    telemetry = RecordingTelemetry()
    # With this key, which no user should set, librdkafka takes any refusal for the end.
    broker = KafkaBroker(server.settings({"enable.gapless.guarantee": "true"}).kafka, telemetry)
    topic = new_topic(server, 1, **{"max.message.bytes": "2000"})
    (report,) = broker.publish([Outgoing(topic, b"k", b"x" * 3000)])
    assert isinstance(report, Permanent)
    wait_for(lambda: list(broker.publish(numbered(topic, 1))) == [None])
    assert [line.event for line in telemetry.alerts[:1]] == ["Kafka's producer is made anew"]
    assert set(values(broker, topic)) == {b"0"}


@pytest.mark.parametrize("listener", ["sasl", "tls"])
def test_login_and_tls_work_on_a_real_listener(server: KafkaServer, listener: str) -> None:
    login = {"kafka_user": USER, "kafka_password": Secret(PASSWORD), "kafka_sasl_mechanism": "PLAIN"}
    settings = {
        "sasl": server.settings(kafka_bootstrap=server.sasl, kafka_security="sasl_plaintext", **login),
        "tls": server.settings(kafka_bootstrap=server.tls, kafka_security="ssl", kafka_ca_file=server.ca_file),
    }[listener]
    topic = f"topic-{uuid4().hex}"
    ensure_topics(settings.kafka, [topic])
    broker = KafkaBroker(settings.kafka, RecordingTelemetry(), topics=[topic])
    assert list(broker.publish(numbered(topic, 1))) == [None]
    member = broker.subscribe(topic, [topic])
    assert [record.value for record in read(member, 1)] == [b"0"]
    assert [record.value for record in broker.all_records()] == [b"0"]
    member.close()


# -- reading in groups


def test_in_mid_batch_a_lost_partition_goes_to_the_other_member_whole(server: KafkaServer, broker: KafkaBroker) -> None:
    topic = new_topic(server)
    broker.publish(numbered(topic, 80))
    first = broker.subscribe(topic, [topic])
    batch = read(first, 80)
    second = broker.subscribe(topic, [topic])
    theirs = read(second, 1, first)
    wait_for(lambda: first.poll(0) == [] and first.assigned)
    lost = set(first.lost()) - set(first.assigned)  # all were taken away, and some came back at once
    first.commit({place(record): record.offset + 1 for record in batch})  # the batch was handled meanwhile
    expected = {(place(record), record.offset) for record in batch if place(record) in lost}
    theirs += read(second, len(expected) - len(theirs), first)
    assert {(place(record), record.offset) for record in theirs} == expected
    assert 0 < len(expected) < 80
    first.close()
    kept = [record for record in batch if place(record) not in lost]
    broker.publish(numbered(topic, 80, first=80))
    came = {int(record.value or b"") for record in read(second, 80)}
    assert not came & {int(record.value or b"") for record in kept}
    second.close()


@pytest.mark.parametrize("ahead", [0, 16])
def test_a_member_that_only_shows_that_it_is_alive_misses_nothing(
    server: KafkaServer, broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr(subscription, "MAX_BUFFERED", ahead)
    topic = new_topic(server)
    broker.publish(numbered(topic, 400))
    member, dice = broker.subscribe(topic, [topic]), random.Random(7)
    found: dict[TopicPartition, list[int]] = defaultdict(list)
    until = time.monotonic() + 30
    while sum(map(len, found.values())) < 400 and time.monotonic() < until:
        room = dice.choice([0, 0, 1, 3, 10])
        for _ in range(40):
            records = member.poll(room)
            for record in records:
                found[place(record)].append(record.offset)
            time.sleep(dice.choice([0, 0.001, 0.003]))
    for offsets in found.values():
        assert offsets == list(range(len(offsets)))
    assert sum(map(len, found.values())) == 400
    member.close()


def test_a_partition_that_came_back_stays_closed_until_the_loss_was_told(
    server: KafkaServer, broker: KafkaBroker
) -> None:
    topic = new_topic(server, 1)
    broker.publish(numbered(topic, 5))
    member = broker.subscribe(topic, [topic])
    assert isinstance(member, KafkaSubscription)
    read(member, 5)
    other = broker.subscribe(topic, [topic])
    member._consumer.unsubscribe()  # type: ignore[union-attr]
    wait_for(lambda: not member.poll(10) and not member.assigned)
    other.close()
    member._consumer.subscribe(  # type: ignore[union-attr]
        [topic], on_assign=member._on_assign, on_revoke=member._on_revoke, on_lost=member._on_lost
    )
    early: list[Record] = []
    wait_for(lambda: early.extend(member.poll(10)) or member.assigned)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        early += member.poll(10)
        time.sleep(0.005)
    assert early == []
    assert list(member.lost()) == [TopicPartition(topic, 0)]
    assert [record.offset for record in read(member, 5)] == [0, 1, 2, 3, 4]
    member.close()


class Flaky:
    """A consumer whose next commit fails."""

    def __init__(self, consumer: object) -> None:
        self._consumer, self.failures = consumer, 1

    def __getattr__(self, name: str) -> object:
        return getattr(self._consumer, name)

    def commit(self, **words: object) -> None:
        if self.failures:
            self.failures -= 1
            raise KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
        self._consumer.commit(**words)  # type: ignore[attr-defined]


def test_a_commit_that_failed_is_counted_and_made_up_for(server: KafkaServer) -> None:
    telemetry = RecordingTelemetry()
    broker = KafkaBroker(server.settings().kafka, telemetry)
    topic = new_topic(server, 1)
    broker.publish(numbered(topic, 5))
    member = broker.subscribe(topic, [topic])
    assert isinstance(member, KafkaSubscription)
    read(member, 5)
    member._consumer = Flaky(member._consumer)  # type: ignore[assignment]
    member.commit({TopicPartition(topic, 0): 5})
    assert telemetry.total("kafka_commit_failures", cause="REBALANCE_IN_PROGRESS") == 1

    def committed() -> bool:
        member.poll(0)
        (known,) = member._consumer.committed([KafkaPlace(topic, 0)], timeout=5)  # type: ignore[union-attr]
        return bool(known.offset == 5)

    wait_for(committed)
    member.close()


def test_whoever_comes_and_goes_every_record_is_handled_and_none_committed_before(
    server: KafkaServer, broker: KafkaBroker
) -> None:
    topic, dice = new_topic(server), random.Random(11)
    members = [Worker(broker, topic), Worker(broker, topic)]
    published, handled = 0, set()
    until = time.monotonic() + 8
    while time.monotonic() < until:
        step = dice.random()
        if step < 0.2:
            broker.publish(numbered(topic, 20, first=published))
            published += 20
        elif step < 0.22:
            members.pop(dice.randrange(len(members))).leave() if len(members) > 1 else members.append(
                Worker(broker, topic)
            )
        elif step < 0.24 and len(members) < 3:
            members.append(Worker(broker, topic))
        for member in members:
            handled |= member.step(dice.choice([0, 3, 7]), commit=dice.random() < 0.5)
        time.sleep(0.005)
    wait_for(
        lambda: [handled.update(member.step(100, commit=True)) for member in members] and len(handled) == published
    )
    assert published > 200
    for member in members:
        member.leave()


class Worker:
    """Handles what it polls, in the next step; commits a prefix of what it has handled."""

    def __init__(self, broker: KafkaBroker, topic: str) -> None:
        self._subscription = broker.subscribe(topic, [topic])
        self._batch: list[Record] = []
        self._next: dict[TopicPartition, int] = {}

    def step(self, room: int, *, commit: bool) -> set[int]:
        for lost in self._subscription.lost():
            self._batch = [record for record in self._batch if place(record) != lost]
            self._next.pop(lost, None)
        handled = {int(record.value or b"") for record in self._batch}
        self._next |= {place(record): record.offset + 1 for record in self._batch}
        if commit:
            self._subscription.commit(self._next)
        self._batch = list(self._subscription.poll(room))
        following = dict(self._next)
        for record in self._batch:  # without gaps and repeats while the partition is ours
            assert record.offset == following.get(place(record), record.offset)
            following[place(record)] = record.offset + 1
        return handled

    def leave(self) -> None:
        self._subscription.close()


# -- the whole log


def test_all_records_of_a_log_with_gaps(server: KafkaServer, broker: KafkaBroker) -> None:
    topic, missing = new_topic(server, 2), f"topic-{uuid4().hex}"
    broker.publish([Outgoing(topic, None, b"old")] * 40)
    admin = AdminClient({"bootstrap.servers": server.plain})
    for future in admin.delete_records([KafkaPlace(topic, number, -1) for number in range(2)]).values():
        future.result()
    foreign = Producer({"bootstrap.servers": server.plain, "transactional.id": topic})
    foreign.init_transactions(30)
    for value in (b"aborted", b"kept"):
        foreign.begin_transaction()
        foreign.produce(topic, value, partition=1, headers=[("none", None)])
        foreign.flush(30)
        foreign.abort_transaction(30) if value == b"aborted" else foreign.commit_transaction(30)
    begun = time.monotonic()
    (record,) = KafkaBroker(server.settings().kafka, RecordingTelemetry(), topics=[topic, missing]).all_records()
    assert (record.value, record.headers) == (b"kept", (("none", b""),))
    assert time.monotonic() - begun < 10


def test_all_records_are_a_stream(server: KafkaServer) -> None:
    topic = new_topic(server)
    broker = KafkaBroker(server.settings().kafka, RecordingTelemetry(), topics=[topic])
    for first in range(0, 20_000, 1000):
        broker.publish(numbered(topic, 1000, first=first, size=1000))
    records = iter(broker.all_records())
    next(records)
    broker.publish(numbered(topic, 10, first=20_000))  # comes too late for this reading
    assert len({record.value for record in records}) == 19_999
    some = iter(broker.all_records())
    next(some)
    some.close()  # type: ignore[attr-defined]


# -- where a group begins

KINDS_OF_GROUPS = pytest.mark.parametrize(
    "conf",
    [{}, {"partition.assignment.strategy": "cooperative-sticky"}, {"group.protocol": "consumer"}],
    ids=["classic", "cooperative", "KIP-848"],
)


@KINDS_OF_GROUPS
def test_a_group_that_begins_now_reads_partitions_that_are_added_from_their_beginning(
    server: KafkaServer, conf: dict[str, str]
) -> None:
    topic, group = new_topic(server, 2), f"group-{uuid4().hex}"
    quick = {**conf, "topic.metadata.refresh.interval.ms": "200"}
    settings = server.settings(quick) if conf.get("group.protocol") != "consumer" else only(server, quick)
    broker = KafkaBroker(settings.kafka, RecordingTelemetry(), topics=[topic])
    broker.publish(numbered(topic, 20))
    starts = broker.ends([topic])
    assert sum(starts.values()) == 20
    wait_for(lambda: answers(broker, group, topic))
    member = broker.subscribe(group, [topic], starts)
    assert isinstance(member, KafkaSubscription)
    broker.publish(numbered(topic, 5, first=20))
    assert {int(record.value or b"") for record in read(member, 5)} == set(range(20, 25))
    admin = AdminClient({"bootstrap.servers": server.plain})
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result()
    plain = Producer({"bootstrap.servers": server.plain})
    for number in range(25, 45):
        plain.produce(topic, str(number).encode(), partition=2 + number % 2)
    assert plain.flush(30) == 0
    assert {int(record.value or b"") for record in read(member, 20)} == set(range(25, 45))
    member.close()
    broker.close()


def answers(broker: KafkaBroker, group: str, topic: str) -> bool:
    """Whether the coordinator of the group has loaded its offsets; not at once on a broker that has just started."""
    try:
        broker.knows(group, [topic])
    except Retryable:
        return False
    return True


def test_a_group_with_members_takes_no_offsets_from_an_instance_that_comes_late(server: KafkaServer) -> None:
    """The members read on from the earliest record, because another version began the group."""
    topic, group = new_topic(server, 2), f"group-{uuid4().hex}"
    broker = KafkaBroker(server.settings().kafka, RecordingTelemetry(), topics=[topic])
    first = broker.subscribe(group, [topic])
    wait_for(lambda: not first.poll(10) and len(first.assigned) == 2)
    broker.publish(numbered(topic, 20))
    late = broker.subscribe(group, [topic], broker.ends([topic]))
    came = {record.value for record in read(late, 1, first)}
    assert broker.offsets(group) == {}

    def has_all() -> bool:
        for member in (first, late):
            member.lost()
            came.update(record.value for record in member.poll(10))
        return len(came) == 20

    wait_for(has_all)
    first.close()
    late.close()
    broker.close()


def test_instances_that_begin_a_group_at_once_skip_nothing_later(server: KafkaServer) -> None:
    topic, group = new_topic(server, 4), f"group-{uuid4().hex}"
    broker = KafkaBroker(server.settings().kafka, RecordingTelemetry(), topics=[topic])
    broker.publish(numbered(topic, 20))
    starts = broker.ends([topic])
    members = [broker.subscribe(group, [topic], starts) for _ in range(3)]
    came: list[Record] = []
    begun = threading.Barrier(3)

    def run(member: Subscription) -> None:
        begun.wait()
        until = time.monotonic() + 60
        while {int(record.value or b"") for record in came} != set(range(20, 60)) and time.monotonic() < until:
            member.lost()
            came.extend(member.poll(10))
            time.sleep(0.01)

    threads = [threading.Thread(target=run, args=(member,)) for member in members]
    for thread in threads:
        thread.start()
    for number in range(20, 60):
        broker.publish(numbered(topic, 1, first=number))
    for thread in threads:
        thread.join()
    assert {int(record.value or b"") for record in came} == set(range(20, 60))
    for member in members:
        member.close()
    broker.close()


def test_a_group_whose_offsets_were_deleted_is_new_and_begins_where_it_began(server: KafkaServer) -> None:
    topic, group = new_topic(server, 2), f"group-{uuid4().hex}"
    broker = KafkaBroker(server.settings().kafka, RecordingTelemetry(), topics=[topic])
    broker.publish(numbered(topic, 10))
    starts = broker.ends([topic])
    for is_new in (True, False, True):
        if not is_new:
            broker.publish(numbered(topic, 10, first=10))
        member = broker.subscribe(group, [topic], starts)
        wait_for(lambda member=member: member.poll(0) == [] and member.is_new() is not None)
        assert member.is_new() is is_new
        if not is_new:
            records = read(member, 10)
            member.commit({place(record): record.offset + 1 for record in records})
        member.close()
        if not is_new:
            delete_group(server, group)
    member = broker.subscribe(group, [topic], starts)
    assert {int(record.value or b"") for record in read(member, 10)} == set(range(10, 20))
    member.close()
    broker.close()


def delete_group(server: KafkaServer, group: str) -> None:
    admin = AdminClient({"bootstrap.servers": server.plain})

    def is_deleted() -> bool:
        try:
            admin.delete_consumer_groups([group])[group].result()
        except KafkaException as error:
            if driver_errors.error_in(error).code() != KafkaError.NON_EMPTY_GROUP:  # its last member leaves just now
                raise
            return False
        return True

    wait_for(is_deleted)


@pytest.mark.parametrize("theirs", ["range", "cooperative-sticky"])
def test_a_group_of_members_that_spread_partitions_otherwise_lets_ours_in_when_they_have_left(
    server: KafkaServer, theirs: str
) -> None:
    """Spring's consumers offer `range` and `cooperative-sticky`."""
    topic, group = new_topic(server, 2), f"group-{uuid4().hex}"
    spring = Consumer(
        {
            "bootstrap.servers": server.plain,
            "group.id": group,
            "partition.assignment.strategy": theirs,
            "enable.auto.commit": "false",
        }
    )
    spring.subscribe([topic])
    wait_for(lambda: spring.poll(0.1) is None and spring.assignment())
    telemetry = RecordingTelemetry()
    broker = KafkaBroker(server.settings().kafka, telemetry, topics=[topic])
    broker.publish(numbered(topic, 5))
    ours = broker.subscribe(group, [topic])

    def is_refused() -> bool:
        spring.poll(0.01)
        assert list(ours.poll(10)) == []
        return telemetry.total("kafka_errors", cause="INCONSISTENT_GROUP_PROTOCOL") >= 2

    wait_for(is_refused)
    assert "INCONSISTENT_GROUP_PROTOCOL" in str(ours.refusal())
    spring.close()
    came: list[Record] = []

    wait_for(lambda: came.extend(ours.poll(10)) or len(came) == 5)
    ours.close()
    broker.close()


# -- how far a group is


def test_how_far_a_group_is_while_it_reads_and_after_it_left(server: KafkaServer) -> None:
    topic, group = new_topic(server, 2), f"group-{uuid4().hex}"
    broker = KafkaBroker(server.settings().kafka, RecordingTelemetry(), topics=[topic, "of-nobody"])
    assert broker.publish(numbered(topic, 20)) == [None] * 20
    assert broker.offsets(group) == {}
    member = broker.subscribe(group, [topic])
    records = read(member, 20)
    assert broker.offsets(group) == {}, "what was read isn't done yet"
    ends = {number: sum(record.partition == number for record in records) for number in (0, 1)}
    member.commit({TopicPartition(topic, 0): ends[0]})
    wait_for(lambda: broker.offsets(group) == {TopicPartition(topic, 0): ends[0]})
    member.commit({TopicPartition(topic, 1): ends[1]})
    member.close()
    assert broker.offsets(group) == {TopicPartition(topic, number): end for number, end in ends.items()}


def test_what_a_group_has_left_to_read(server: KafkaServer, broker: KafkaBroker) -> None:
    topic, other, group = new_topic(server, 2), new_topic(server, 1), f"group-{uuid4().hex}"
    conf = reader_conf(server.settings().kafka)
    assert group_offsets.unread(conf, group, [topic, other]) == {}
    broker.publish([*numbered(topic, 20), *numbered(other, 5)])
    member = broker.subscribe(group, [topic, other])
    records = read(member, 25)
    ends = {at: sum(place(record) == at for record in records) for at in set(map(place, records))}
    member.commit({at: end - 1 if at.topic == topic else end for at, end in ends.items()})
    member.close()
    assert group_offsets.unread(conf, group, [topic, other]) == {topic: 2}
    assert group_offsets.unread(conf, group, [other]) == {}


def test_a_cluster_that_does_not_answer_is_no_group_without_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_offsets, "ASK_S", 0.5)
    nowhere = KafkaBroker(Settings(kafka_bootstrap="127.0.0.1:1").kafka, RecordingTelemetry())
    with pytest.raises(Retryable):
        nowhere.offsets("order-group")


@KINDS_OF_GROUPS
def test_every_kind_of_group_holds_new_partitions_back(server: KafkaServer, conf: dict[str, str]) -> None:
    topic = new_topic(server, 2)
    settings = server.settings(conf) if conf.get("group.protocol") != "consumer" else only(server, conf)
    broker = KafkaBroker(settings.kafka, RecordingTelemetry(), topics=[topic])
    assert list(broker.publish([Outgoing(topic, b"k", b"v")])) == [None]
    member = broker.subscribe(f"group-{uuid4().hex}", [topic])
    assert member.hold_back()
    wait_for(lambda: member.poll(10) or len(member.held_back()) == 2)
    time.sleep(0.5)
    assert list(member.poll(10)) == []
    member.open(member.held_back())
    assert [record.value for record in read(member, 1)] == [b"v"]
    member.close()
    broker.close()


def only(server: KafkaServer, conf: dict[str, str]) -> Settings:
    """Settings without the keys of the classic group, which the other kind refuses."""
    return attrs.evolve(server.settings(), kafka_conf=conf)


def test_a_batch_that_librdkafka_cannot_decompress_is_reported_once_and_the_others_are_read(
    server: KafkaServer,
) -> None:
    stuck, fine = new_topic(server, 1, **{"max.message.bytes": str(2**26)}), new_topic(server, 1)
    foreign = {"bootstrap.servers": server.plain, "compression.codec": "zstd", "message.max.bytes": 10**8}
    producer = Producer(foreign)
    producer.produce(stuck, bytes(50 * 2**20))
    assert producer.flush(30) == 0
    telemetry = RecordingTelemetry()
    settings = server.settings({"receive.message.max.bytes": "9000000"})
    broker = KafkaBroker(settings.kafka, telemetry, topics=[fine])
    member = broker.subscribe(f"group-{uuid4().hex}", [stuck, fine])
    wait_for(lambda: member.poll(10) or telemetry.alerts)
    broker.publish([Outgoing(fine, b"k", b"v")])
    assert [record.value for record in read(member, 1)] == [b"v"]
    time.sleep(1.5)
    member.poll(10)
    (alert,) = telemetry.alerts
    assert (alert.event, alert.fields["topic"], alert.fields["partition"]) == ("a partition can't be read on", stuck, 0)
    member.close()
    broker.close()
