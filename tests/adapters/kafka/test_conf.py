"""Kafka's settings as plain data, and the translation of its errors; without a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st
from typed_settings import Secret

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.kafka.conf import conf_of, delivery_timeout_s, group_conf, producer_conf, reader_conf
from oms.adapters.kafka.topics import check_topics
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable, SettingsError
from oms.ports.messages import Outgoing
from oms.settings import Settings, load_settings

PASSWORD = "correct-horse-battery"


def sasl(**more: object) -> Settings:
    words = {"kafka_security": "sasl_ssl", "kafka_user": "oms", "kafka_password": Secret(PASSWORD)}
    return load_settings({}, **{**words, **more})


def confs(settings: Settings) -> list[dict[str, str]]:
    return [
        conf_of(settings.kafka),
        producer_conf(settings.kafka),
        group_conf(settings.kafka, "g"),
        reader_conf(settings.kafka),
    ]


def test_plaintext_needs_an_address_and_nothing_else() -> None:
    conf = conf_of(Settings(kafka_bootstrap="a:1,b:2").kafka)
    assert (conf["bootstrap.servers"], conf["security.protocol"]) == ("a:1,b:2", "plaintext")
    assert not [key for key in conf if key.startswith(("sasl.", "ssl."))]


def test_sasl_and_tls_as_librdkafka_calls_them() -> None:
    conf = conf_of(sasl(kafka_ca_file="/etc/ca.pem", kafka_sasl_mechanism="SCRAM-SHA-256").kafka)
    assert conf["security.protocol"] == "sasl_ssl"
    assert conf["ssl.ca.location"] == "/etc/ca.pem"
    assert conf["sasl.mechanism"] == "SCRAM-SHA-256"
    assert (conf["sasl.username"], conf["sasl.password"]) == ("oms", PASSWORD)


@pytest.mark.parametrize("security", ["plaintext", "sasl_plaintext"])
def test_authorities_are_for_tls_alone(security: str) -> None:
    assert "ssl.ca.location" not in conf_of(sasl(kafka_security=security, kafka_ca_file="/etc/ca.pem").kafka)


def test_every_client_logs_in_alike() -> None:
    login = {key: text for key, text in conf_of(sasl().kafka).items() if key.startswith(("sasl.", "ssl.", "security."))}
    for conf in confs(sasl()):
        assert login.items() <= conf.items()


def test_the_promises_of_producer_and_group() -> None:
    producer, group = producer_conf(Settings().kafka), group_conf(Settings().kafka, "payment-group")
    assert (producer["acks"], producer["enable.idempotence"]) == ("all", "true")
    assert group["group.id"] == "payment-group"
    assert (group["enable.auto.commit"], group["enable.auto.offset.store"]) == ("false", "false")
    assert (group["auto.offset.reset"], group["partition.assignment.strategy"]) == ("earliest", "roundrobin")


PROMISED = {
    "acks": "0",
    "auto.offset.reset": "latest",
    "bootstrap.servers": "elsewhere:1",
    "enable.auto.commit": "true",
    "enable.auto.offset.store": "true",
    "enable.idempotence": "false",
    "group.id": "mine",
}


@given(st.dictionaries(st.sampled_from([*PROMISED, "linger.ms", "fetch.min.bytes"]), st.just("7")))
def test_a_key_of_the_users_wins_where_no_promise_rests_on_it(given_: dict[str, str]) -> None:
    plain, theirs = confs(Settings()), confs(Settings(kafka_conf=given_))
    for before, after in zip(plain, theirs, strict=True):
        for key in PROMISED.keys() & before.keys():
            assert after[key] == before[key]
        for key in given_.keys() - PROMISED.keys():
            assert after[key] == "7"


def test_what_is_ours_comes_last_so_that_no_other_name_gets_around_it() -> None:
    keys = list(producer_conf(Settings(kafka_conf={"acks": "0", "queue.buffering.max.ms": "3"}).kafka))
    assert keys.index("acks") > keys.index("queue.buffering.max.ms") > keys.index("linger.ms")


@pytest.mark.parametrize("key", ["request.required.acks", "metadata.broker.list", "transactional.id"])
def test_other_names_of_what_is_ours_are_refused(key: str) -> None:
    with pytest.raises(SettingsError, match=key.upper().replace(".", "_")):
        conf_of(Settings(kafka_conf={key: "1"}).kafka)


def test_kafkas_new_way_to_run_a_group_gets_no_keys_of_the_old_one() -> None:
    conf = group_conf(Settings(kafka_conf={"group.protocol": "consumer"}).kafka, "g")
    assert not conf.keys() & {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"}


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        (Settings(), 5.0),
        (Settings(outbox_lease_s=4), 2.0),
        (Settings(outbox_lease_s=600), 5.0),
        (Settings(kafka_conf={"delivery.timeout.ms": "1500"}), 1.5),
        (Settings(kafka_conf={"message.timeout.ms": "2500"}), 2.5),
    ],
)
def test_a_publish_ends_within_the_outbox_lease_or_when_the_user_says(settings: Settings, seconds: float) -> None:
    assert delivery_timeout_s(producer_conf(settings.kafka)) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "soon"])
def test_a_publish_that_never_ends_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="DELIVERY_TIMEOUT"):
        KafkaBroker(Settings(kafka_conf={"delivery.timeout.ms": text}).kafka, RecordingTelemetry())


def test_librdkafka_takes_every_conf_of_ours() -> None:
    program = """
import confluent_kafka, confluent_kafka.admin
from oms.adapters.kafka.conf import *
from oms.ports.messages import Outgoing
from oms.settings import Settings
for conf in ({}, {"group.protocol": "consumer"}):
    settings = Settings(kafka_bootstrap="127.0.0.1:1", kafka_conf=conf)
    confluent_kafka.Producer(producer_conf(settings.kafka))
    confluent_kafka.Consumer(group_conf(settings.kafka, "g")).close()
    confluent_kafka.Consumer(reader_conf(settings.kafka)).close()
    confluent_kafka.admin.AdminClient(conf_of(settings.kafka))
"""
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout + ran.stderr == ""  # not even a warning


def test_nothing_connects_before_it_is_used() -> None:
    telemetry = RecordingTelemetry()
    KafkaBroker(Settings(kafka_bootstrap="127.0.0.1:1").kafka, telemetry).close()
    assert telemetry.counts == []


@pytest.mark.parametrize(
    "conf", [{"linger.ms": "soon"}, {"no.such.key": "1"}, {"ssl.key.pem": PASSWORD}], ids=lambda conf: next(iter(conf))
)
def test_settings_that_librdkafka_refuses_are_told_without_a_secret(conf: dict[str, str]) -> None:
    broker = KafkaBroker(sasl(kafka_conf=conf).kafka, RecordingTelemetry())
    for start in (
        lambda: broker.publish([Outgoing("t", None, b"v")]),
        lambda: broker.subscribe("g", ["t"]),
        lambda: list(broker.all_records()),
        lambda: check_topics(sasl(kafka_conf=conf).kafka, ["t"]),
    ):
        with pytest.raises(SettingsError, match="Kafka's settings") as raised:
            start()
        assert PASSWORD not in repr(raised.value)
        assert raised.value.__suppress_context__


@pytest.mark.slow
def test_a_secret_that_is_found_to_be_bad_later_is_not_told_either() -> None:
    conf = {"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.config": PASSWORD}
    conf["enable.sasl.oauthbearer.unsecure.jwt"] = "true"
    (line,) = map(str, check_topics(sasl(kafka_bootstrap="127.0.0.1:1", kafka_conf=conf).kafka, ["t"]))
    assert PASSWORD not in line
    assert "a secret or a certificate can't be used" in line


def test_nobody_shows_the_password() -> None:
    broker = KafkaBroker(sasl(kafka_bootstrap="127.0.0.1:1").kafka, RecordingTelemetry())
    subscription = broker.subscribe("g", ["t"])
    assert PASSWORD not in f"{broker!r} {subscription!r} {broker._config!r}"
    subscription.close()


MEANINGS = {
    Permanent: (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.TOPIC_EXCEPTION,
    ),
    Retryable: (
        KafkaError._UNKNOWN_TOPIC,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError._QUEUE_FULL,
        KafkaError._PURGE_QUEUE,
    ),
    OutcomeUnknown: (
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._FATAL,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.UNKNOWN,
        -9999,
    ),
}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in MEANINGS.items() for code in codes])
def test_what_a_failed_delivery_means(kind: type, code: int) -> None:
    error = driver_errors.undelivered(KafkaError(code), "order.created")
    assert type(error) is kind
    assert "order.created" in str(error)


@pytest.mark.parametrize("code", [KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._MAX_POLL_EXCEEDED])
def test_a_reader_lets_the_client_get_over_what_it_can(code: int) -> None:
    assert driver_errors.stops_reading(KafkaError(code)) is None


@pytest.mark.parametrize(
    "code", [KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError.UNKNOWN_TOPIC_OR_PART]
)
def test_a_reader_waits_where_nothing_can_be_read(code: int) -> None:
    assert isinstance(driver_errors.stops_reading(KafkaError(code)), Retryable)


def test_a_fatal_error_ends_a_client() -> None:
    fatal = KafkaError(KafkaError.FENCED_INSTANCE_ID, "fenced", True)
    assert driver_errors.is_fatal(fatal)
    assert isinstance(driver_errors.stops_reading(fatal), Retryable)


@pytest.mark.parametrize("code", [KafkaError.FENCED_INSTANCE_ID, 111])
def test_an_instance_id_that_is_taken_shows_in_the_code_or_in_the_text_of_a_fatal_error(code: int) -> None:
    fatal = KafkaError(KafkaError._FATAL, f"Fatal error: {KafkaError(code).str()}: heartbeat")
    assert driver_errors.is_instance_taken(KafkaError(code))
    assert driver_errors.is_instance_taken(fatal)
    assert not driver_errors.is_instance_taken(KafkaError(KafkaError._FATAL, "Fatal error: something else"))


# -- OMS_KAFKA_CONF and its file


LINES = "# for our cluster\nlinger.ms=7\n\n  ssl.key.password = a=b \nclient.rack=\n"


def test_keys_of_librdkafka_come_as_lines_from_a_variable_or_a_file(tmp_path: Path) -> None:
    wanted = {"linger.ms": "7", "ssl.key.password": "a=b", "client.rack": ""}
    assert load_settings({"OMS_KAFKA_CONF": LINES}).kafka_conf == wanted
    path = tmp_path / "kafka.conf"
    path.write_text(LINES)
    assert load_settings({"OMS_KAFKA_CONF_FILE": str(path)}).kafka_conf == wanted
    assert producer_conf(load_settings({"OMS_KAFKA_CONF_FILE": str(path)}).kafka)["linger.ms"] == "7"


def test_a_variable_of_its_own_comes_before_a_line() -> None:
    found = load_settings({"OMS_KAFKA_CONF": LINES, "OMS_KAFKA_CONF_LINGER_MS": "9", "OMS_KAFKA_CONF_RETRIES": "3"})
    assert found.kafka_conf == {"linger.ms": "9", "retries": "3", "ssl.key.password": "a=b", "client.rack": ""}


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"OMS_KAFKA_CONF": "ssl.key.password=hunter2\nlinger.ms"},
            "OMS_KAFKA_CONF: the value given is not lines of key=value",
        ),
        ({"OMS_KAFKA_CONF": "=5"}, "OMS_KAFKA_CONF: the value given is not lines of key=value"),
        ({"OMS_KAFKA_CONF": "linger.ms=5\nlinger.ms=6"}, "each key once"),
        ({"OMS_KAFKA_CONF": "acks=0"}, "OMS_KAFKA_CONF: acks isn't yours to set"),
        ({"OMS_KAFKA_CONF_ACKS": "0"}, "OMS_KAFKA_CONF_ACKS: acks isn't yours to set"),
        ({"OMS_KAFKA_CONF_FILE": "/nowhere/kafka.conf"}, "OMS_KAFKA_CONF_FILE: the file can't be read"),
        ({"OMS_KAFKA_CONF": "", "OMS_KAFKA_CONF_FILE": "/nowhere"}, "exclude each other"),
    ],
    ids=str,
)
def test_lines_that_cannot_be_meant_are_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(environ)
    assert message in str(refused.value)
    assert "hunter2" not in str(refused.value)
