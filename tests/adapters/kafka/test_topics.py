"""Making and checking Kafka's topics."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import attrs
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource
from typed_settings import Secret

from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.kafka.topics import TopicsReport, _new, check_topics, ensure_topics
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.ports.errors import Permanent, Retryable
from oms.ports.messages import Outgoing
from oms.settings import Settings
from tests.support.kafka_server import PASSWORD, USER, KafkaServer, new_topic, own_server

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> KafkaServer:
    return own_server()


def names(count: int) -> list[str]:
    return sorted(f"topic-{uuid4().hex}" for _ in range(count))


def partitions(server: KafkaServer, name: str) -> int:
    return len(AdminClient({"bootstrap.servers": server.plain}).list_topics(timeout=10).topics[name].partitions)


def test_what_is_missing_is_made_and_doing_it_again_changes_nothing(server: KafkaServer) -> None:
    wanted = names(3)
    assert list(map(str, check_topics(server.settings().kafka, wanted))) == [
        f"topic {name} is missing: `oms setup` makes it" for name in wanted
    ]
    assert ensure_topics(server.settings().kafka, wanted) == TopicsReport(wanted, [], [])
    assert check_topics(server.settings().kafka, wanted) == []
    assert ensure_topics(server.settings().kafka, wanted) == TopicsReport([], [], wanted)


def test_partitions_are_added_and_never_taken_away(server: KafkaServer) -> None:
    one, three, nine = new_topic(server, 1), new_topic(server, 3), new_topic(server, 9)
    *found, warning = map(str, check_topics(server.settings().kafka, [one, three, nine]))
    assert set(found) == {
        f"topic {one} has 1 partition, OMS_PARTITIONS is 4: `oms setup` adds them",
        f"topic {three} has 3 partitions, OMS_PARTITIONS is 4: `oms setup` adds them",
    }
    assert warning.startswith("warning: ")
    report = ensure_topics(server.settings().kafka, [one, three, nine])
    assert report == TopicsReport([], sorted([one, three]), [nine], sorted([one, three, nine]))
    assert [partitions(server, name) for name in (one, three, nine)] == [4, 4, 9]
    assert check_topics(server.settings().kafka, [one, three, nine]) == []


def test_several_hosts_at_once(server: KafkaServer) -> None:
    wanted = [*names(6), *(new_topic(server, 1) for _ in range(3))]
    reports: list[Any] = []
    hosts = [
        threading.Thread(target=lambda: reports.append(ensure_topics(server.settings().kafka, wanted)))
        for _ in range(4)
    ]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join(60)
    assert len(reports) == 4
    made = [name for report in reports for name in report.created]
    assert sorted(made) == sorted(wanted[:6])  # each by exactly one of them
    assert check_topics(server.settings().kafka, wanted) == []


def test_more_copies_than_brokers_are_refused_in_the_words_of_the_settings(server: KafkaServer) -> None:
    with pytest.raises(Permanent, match="OMS_KAFKA_REPLICATION is 3"):
        ensure_topics(server.settings(kafka_replication=3).kafka, names(1))


def test_a_name_that_kafka_doesnt_take_is_refused(server: KafkaServer) -> None:
    with pytest.raises(Permanent, match="no topic"):
        ensure_topics(server.settings().kafka, ["no topic"])


def test_the_largest_message_of_ours_fits(server: KafkaServer) -> None:
    (name,) = names(1)
    ensure_topics(server.settings().kafka, [name])
    admin = AdminClient({"bootstrap.servers": server.plain})
    (described,) = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name)]).values()
    assert int(described.result()["max.message.bytes"].value) == 1_048_576 + 65_536


def test_existing_topics_get_the_size_limits(server: KafkaServer) -> None:
    limited, wide = names(1)[0], new_topic(server, 4, **{"max.message.bytes": "9000000", "retention.ms": "12345678"})
    ensure_topics(server.settings().kafka, [limited])
    (warning,) = map(str, check_topics(server.settings().kafka, [limited, wide]))
    assert warning.startswith(f"warning: a compressed message of any size can end its consumers: {wide} lack ")
    assert ensure_topics(server.settings().kafka, [limited, wide]).limited == [wide]
    assert check_topics(server.settings().kafka, [limited, wide]) == []
    admin = AdminClient({"bootstrap.servers": server.plain})
    (described,) = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, wide)]).values()
    assert described.result()["retention.ms"].value == "12345678"


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4", "snappy"])
@pytest.mark.parametrize("size_mib", [2, 60, 300])
def test_the_broker_refuses_a_bomb_and_goes_on_with_its_small_heap(
    server: KafkaServer, codec: str, size_mib: int
) -> None:
    """Some of them don't fit into the broker's heap (512 MiB) when decompressed and copied; it outlives them all."""
    (name,) = names(1)
    ensure_topics(server.settings().kafka, [name])
    most = {"message.max.bytes": 10**9, "batch.size": 15 * 10**8, "queue.buffering.max.kbytes": 2 * 10**6}
    foreign = {"bootstrap.servers": server.plain, "compression.codec": codec, "retries": 0, **most}
    reports: list[object] = []
    producer = Producer(foreign)
    producer.produce(name, bytes(size_mib * 2**20), on_delivery=lambda error, _: reports.append(error))
    producer.flush(60)
    (report,) = reports
    assert report is not None, "it was taken"
    log = KafkaBroker(server.settings().kafka, RecordingTelemetry(), topics=[name])
    assert list(log.publish([Outgoing(name, b"k", b"small")])) == [None]
    assert [record.value for record in log.all_records()] == [b"small"]
    log.close()


def test_kafka_forgets_before_the_inboxes_do(server: KafkaServer) -> None:
    (name,) = names(1)
    ensure_topics(attrs.evolve(server.settings(), retention_days=8).kafka, [name])
    admin = AdminClient({"bootstrap.servers": server.plain})
    (described,) = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name)]).values()
    day_ms = 24 * 3600 * 1000
    topic_config = described.result()
    assert (int(topic_config["retention.ms"].value), int(topic_config["segment.ms"].value)) == (6 * day_ms, day_ms)


@pytest.mark.parametrize(("copies", "in_sync"), [(1, None), (2, None), (3, "2"), (5, "3")])
def test_from_three_copies_on_a_message_needs_most_of_them(copies: int, in_sync: str | None) -> None:
    topic = _new(Settings(kafka_replication=copies).kafka, "t")
    assert (topic.replication_factor, topic.config.get("min.insync.replicas")) == (copies, in_sync)


def test_what_cant_be_reached_is_one_clear_line() -> None:
    settings = Settings(kafka_bootstrap="127.0.0.1:1")
    (line,) = map(str, check_topics(settings.kafka, ["t"]))
    assert line.startswith("Kafka can't be reached at 127.0.0.1:1: ")
    assert "Connection refused" in line
    with pytest.raises(Retryable):
        ensure_topics(settings.kafka, ["t"])


def test_a_wrong_password_is_told_and_not_shown(server: KafkaServer) -> None:
    wrong = Secret(PASSWORD[::-1])
    settings = server.settings(
        kafka_bootstrap=server.sasl,
        kafka_security="sasl_plaintext",
        kafka_sasl_mechanism="PLAIN",
        kafka_user=USER,
        kafka_password=wrong,
    )
    (line,) = map(str, check_topics(settings.kafka, ["t"]))
    assert "Invalid username or password" in line
    assert wrong.get_secret_value() not in line


def test_a_certificate_that_nobody_trusts_is_told(server: KafkaServer) -> None:
    (line,) = map(str, check_topics(server.settings(kafka_bootstrap=server.tls, kafka_security="ssl").kafka, ["t"]))
    assert "certificate verify failed" in line


def test_no_tls_on_a_listener_that_wants_it_is_told(server: KafkaServer) -> None:
    (line,) = map(str, check_topics(server.settings(kafka_bootstrap=server.tls).kafka, ["t"]))
    assert line.startswith("Kafka can't be reached")
