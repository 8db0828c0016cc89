"""Kafka goes away, or takes a member for dead, and comes back: the same objects go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path

import attrs
import pytest

from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.kafka.subscription import KafkaSubscription
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.ports.broker import Subscription, TopicPartition
from oms.ports.errors import OutcomeUnknown, PortError, Retryable
from oms.ports.messages import Outgoing
from tests.support.kafka_server import KafkaServer, new_topic, own_server, place, read, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.servers, pytest.mark.slow]

IMPATIENT = {"session.timeout.ms": "1500", "max.poll.interval.ms": "2000"}


@pytest.fixture(scope="module")
def server() -> KafkaServer:
    return own_server()


def message(topic: str, number: int) -> Outgoing:
    return Outgoing(topic, f"k{number}".encode(), str(number).encode())


def poll_through(member: Subscription, found: set[bytes | None], errors: list[PortError]) -> None:
    """One round of a worker: it reads the lost partitions, and waits and continues after `Retryable`."""
    member.lost()
    try:
        found.update(record.value for record in member.poll(100))
    except Retryable as error:
        errors.append(error)


def test_a_broker_that_is_killed_in_the_middle_loses_nothing(server: KafkaServer) -> None:
    telemetry = RecordingTelemetry()
    broker = KafkaBroker(server.settings({"message.timeout.ms": "2000"}).kafka, telemetry)
    topic = new_topic(server)
    member, found, errors = broker.subscribe(topic, [topic]), set[bytes | None](), list[PortError]()
    assert list(broker.publish([message(topic, 0)])) == [None]
    wait_for(lambda: poll_through(member, found, errors) or found == {b"0"})

    reports: list[PortError | None] = []
    wanted = set(range(1, 2001))

    def publish() -> None:
        """As the relay does: what isn't known to be sent is sent again."""
        waiting = sorted(wanted)
        while waiting:
            batch, waiting = waiting[:50], waiting[50:]
            answers = broker.publish([message(topic, number) for number in batch])
            reports.extend(answers)
            waiting += [number for number, answer in zip(batch, answers, strict=True) if answer is not None]

    publishing = threading.Thread(target=publish)
    publishing.start()
    wait_for(lambda: len(reports) >= 100)
    server.kill()
    try:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            poll_through(member, found, errors)
            time.sleep(0.01)
    finally:
        server.start()
    publishing.join(60)
    assert not publishing.is_alive()
    failures = [report for report in reports if report is not None]
    assert failures
    assert all(isinstance(report, OutcomeUnknown | Retryable) for report in failures)
    assert errors  # the reader got an error, and waited
    wait_for(lambda: poll_through(member, found, errors) or len(found) == 2001, 60)
    kept = {record.value for record in KafkaBroker(broker._config, telemetry, topics=[topic]).all_records()}
    assert kept == found == {str(number).encode() for number in range(2001)}
    assert list(broker.publish([message(topic, 5000)])) == [None]
    member.close()


def test_a_publish_and_a_close_end_in_time_while_kafka_is_away(server: KafkaServer) -> None:
    broker = KafkaBroker(server.settings({"message.timeout.ms": "1000"}).kafka, RecordingTelemetry())
    topic = new_topic(server)
    wait_for(lambda: list(broker.publish([message(topic, 0)])) == [None])
    member = broker.subscribe(topic, [topic])
    read(member, 1)
    server.kill()
    try:
        begun = time.monotonic()
        reports = broker.publish([message(topic, number) for number in range(500)])
        assert time.monotonic() - begun < 1 + 2 + 0.5
        assert all(isinstance(report, OutcomeUnknown | Retryable) for report in reports)
        begun = time.monotonic()
        member.close()
        broker.close()
        assert time.monotonic() - begun < 5
        begun = time.monotonic()
        with pytest.raises(Retryable):
            list(KafkaBroker(server.settings().kafka, RecordingTelemetry(), topics=[topic]).all_records())
        assert time.monotonic() - begun < 15
    finally:
        server.start()


def test_what_kafka_was_away_for_is_told_once_and_costs_little(server: KafkaServer) -> None:
    telemetry = RecordingTelemetry()
    broker = KafkaBroker(server.settings(kafka_bootstrap="127.0.0.1:1").kafka, telemetry)
    member, errors = broker.subscribe("g", ["t"]), list[PortError]()
    until, spent = time.monotonic() + 3, time.process_time()
    while time.monotonic() < until:
        poll_through(member, set(), errors)
        time.sleep(0.01)
    assert 1 <= len(errors) <= 10
    assert "Kafka" in str(errors[0])
    assert time.process_time() - spent < 1.5
    member.close()


def test_a_member_that_was_silent_for_too_long_forgets_and_comes_back(server: KafkaServer) -> None:
    broker = KafkaBroker(server.settings(IMPATIENT).kafka, RecordingTelemetry())
    topic = new_topic(server)
    broker.publish([message(topic, number) for number in range(40)])
    member = broker.subscribe(topic, [topic])
    assert isinstance(member, KafkaSubscription)
    batch = read(member, 40)
    time.sleep(3)
    member.commit({place(record): record.offset + 1 for record in batch})  # handled, but too late
    wait_for(lambda: member.poll(100) or set(member.assigned) == {place(record) for record in batch})
    assert set(member.lost()) == {place(record) for record in batch}
    assert len(read(member, 40)) == 40
    member.close()


STOPPED = """
import sys, time
from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.settings import Settings

bootstrap, topic, conf = sys.argv[1], sys.argv[2], dict(pair.split("=") for pair in sys.argv[3:])
broker = KafkaBroker(Settings(kafka_bootstrap=bootstrap, kafka_conf=conf).kafka, RecordingTelemetry())
member = broker.subscribe(topic, [topic])
while True:
    for place in member.lost():
        print("lost", place.partition, flush=True)
    for record in member.poll(100):
        print("read", record.partition, record.offset, flush=True)
    time.sleep(0.01)
"""


def test_a_worker_that_was_stopped_for_too_long_forgets_and_joins_again(server: KafkaServer, tmp_path: Path) -> None:
    broker = KafkaBroker(server.settings(IMPATIENT).kafka, RecordingTelemetry())
    topic = new_topic(server)
    broker.publish([message(topic, number) for number in range(40)])
    output = tmp_path / "worker.log"
    conf = [f"{key}={text}" for key, text in {**IMPATIENT, "heartbeat.interval.ms": "100"}.items()]
    with output.open("w") as log:
        worker = subprocess.Popen([sys.executable, "-c", STOPPED, server.plain, topic, *conf], stdout=log)
    try:
        wait_for(lambda: output.read_text().count("read") == 40)
        os.kill(worker.pid, signal.SIGSTOP)
        other = broker.subscribe(topic, [topic])
        assert len(read(other, 40)) == 40  # nothing was committed, and the group didn't wait for ever
        os.kill(worker.pid, signal.SIGCONT)
        wait_for(lambda: other.poll(0) or output.read_text().count("lost") == 4)
        broker.publish([message(topic, number) for number in range(40, 80)])
        wait_for(lambda: other.poll(0) or output.read_text().count("read") > 40)  # it has some partitions again
        other.close()
        wait_for(lambda: output.read_text().count("read") >= 40 + 80)
        lines = output.read_text().splitlines()
        assert lines.index("lost 0") < lines.index("read 0 0", lines.index("lost 0"))
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_two_members_with_one_instance_id_both_read(server: KafkaServer, protocol: str) -> None:
    """Kafka turns one of them out, by protocol the first or the second one. That one joins again without the id."""
    telemetry = RecordingTelemetry()
    settings = server.settings({"group.instance.id": "one"})
    if protocol == "consumer":  # it refuses the keys of the classic one
        settings = attrs.evolve(settings, kafka_conf={"group.instance.id": "one", "group.protocol": protocol})
    topic = new_topic(server, 2)
    broker = KafkaBroker(settings.kafka, telemetry)
    first = broker.subscribe(topic, [topic])
    found: set[bytes | None] = set()
    errors: list[PortError] = []
    wait_for(lambda: poll_through(first, found, errors) or len(assigned(first)) == 2)
    second = broker.subscribe(topic, [topic])

    def polled() -> bool:
        poll_through(first, found, errors)
        poll_through(second, found, errors)
        return len(assigned(first)) == len(assigned(second)) == 1

    wait_for(polled)
    assert len(errors) == 1, "one of them was turned out, once"
    assert [alert.fields["instance"] for alert in telemetry.alerts] == ["one"]
    broker.publish([message(topic, number) for number in range(20)])
    wait_for(lambda: polled() and len(found) == 20)
    wait_for(lambda: polled() and first.refusal() is None and second.refusal() is None)
    assert len(errors) == 1, "neither turned the other one out again"
    first.close()
    second.close()


def assigned(member: Subscription) -> Collection[TopicPartition]:
    assert isinstance(member, KafkaSubscription)
    return member.assigned
