"""Kafka with access lists: the commands of `oms setup --acl` let the services work, and no other client write."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import product

import attrs
import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.settings import load_settings
from oms.testing.servers import NativeKafka
from oms.testing.servers.native.server import free_port
from tests.support.cluster import SERVICES, Cluster, Worker, request
from tests.support.serving import wait_for
from tests.support.stack import own_stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

PASSWORD = "a-password-of-the-tests"
USERS = (*(f"oms-{name}" for name in (*SERVICES, "parcels", "operator")), "mallory")
STEP = """
def subscribe(app):
    def confirmed(event, step):
        step.publish("parcels.booked")
    app.subscribe("order.confirmed", group="parcels", handler=confirmed, publishes=["parcels.booked"])
"""
OPERATIONS = {
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "IdempotentWrite": AclOperation.IDEMPOTENT_WRITE,
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
}


@attrs.frozen
class Guarded:
    cluster: Cluster
    admin: AdminClient
    """A superuser of Kafka: every client that doesn't log in."""

    address: str
    """Where Kafka wants a login."""

    def settings(self, user: str) -> dict[str, str]:
        return {
            **self.cluster.settings(),
            "OMS_KAFKA_BOOTSTRAP": self.address,
            "OMS_KAFKA_SECURITY": "sasl_plaintext",
            "OMS_KAFKA_SASL_MECHANISM": "PLAIN",
            "OMS_KAFKA_USER": user,
            "OMS_KAFKA_PASSWORD": PASSWORD,
        }

    def refusal(self, user: str, topic: str) -> int | None:
        """The code with which Kafka refuses a user's message; None if it takes it."""
        producer = Producer(
            {
                "bootstrap.servers": self.address,
                "security.protocol": "sasl_plaintext",
                "sasl.mechanism": "PLAIN",
                "sasl.username": user,
                "sasl.password": PASSWORD,
                "message.timeout.ms": 15000,
            }
        )
        reports: list[KafkaError | None] = []
        producer.produce(topic, b"not json", on_delivery=lambda error, _: reports.append(error))
        producer.flush(20)
        (error,) = reports
        return error.code() if error is not None else None


def access_lists(bindings: NativeKafka, port: int) -> dict[str, str]:
    users = " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
    listeners = f"PLAINTEXT://{bindings.url},SASL_PLAINTEXT://127.0.0.1:{port}"
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "listeners": f"{listeners},CONTROLLER://{bindings.controller}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        ),
    }


def bindings_of(command: str) -> list[AclBinding]:
    """The ACL binding that a line of `oms setup --acl` creates."""
    words = shlex.split(command)
    assert words[:5] == ["kafka-acls.sh", "--bootstrap-server", words[2], "--command-config", "admin.properties"]
    assert words[5:7] == ["--add", "--force"]
    given: dict[str, list[str]] = {}
    rest = iter(words[7:])
    for flag in rest:
        given.setdefault(flag, []).append("kafka-cluster" if flag == "--cluster" else next(rest))
    (principal,) = given.pop("--allow-principal")
    operations = given.pop("--operation")
    kinds = {"--topic": ResourceType.TOPIC, "--group": ResourceType.GROUP, "--cluster": ResourceType.BROKER}
    resources = [(kinds[flag], name) for flag, names in given.items() for name in names]
    return [
        AclBinding(
            kind, name, ResourcePatternType.LITERAL, principal, "*", OPERATIONS[operation], AclPermissionType.ALLOW
        )
        for (kind, name), operation in product(resources, operations)
    ]


def grant(admin: AdminClient, commands: Sequence[str]) -> None:
    asked = admin.create_acls([binding for command in commands for binding in bindings_of(command)])
    for future in asked.values():
        future.result()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("acl")
    kafka, port = NativeKafka(), free_port()
    kafka.settings.update(access_lists(kafka, port))
    with own_stack(directory, {"OMS_PAYMENT_SUCCESS_RATE": "1"}, step=STEP, kafka=kafka) as stack:
        cluster = stack.cluster
        printed = cluster.oms("setup", "--acl")
        assert (printed.returncode, printed.stderr) == (0, "")
        made = Guarded(cluster, stack.admin, f"127.0.0.1:{port}")
        grant(made.admin, printed.stdout.splitlines())
        for service in (*SERVICES, "parcels"):
            log = directory / f"{service}.log"
            cluster.workers.append(Worker(service, made.settings(f"oms-{service}"), log).start())
        cluster.await_ready()
        yield made
        cluster.settle()
        cluster.environ.update({key: value for key, value in made.settings("oms-operator").items() if "KAFKA" in key})
        cluster.check()


def test_the_four_services_do_their_work(guarded: Guarded) -> None:
    order_service = guarded.cluster.of("order")[0]
    body = {"userId": "ann", "amount": 12.5, "items": {"apple": 2}}
    status, order = request(order_service.port, "POST", "/orders", body)
    assert status == 201, order
    where = f"/orders/{order['id']}"
    wait_for(lambda: order_service.get(where)[1]["status"] == "CONFIRMED", "it is confirmed")


def test_a_step_publishes_to_the_topic_that_it_declares(guarded: Guarded) -> None:
    """`oms setup` made the topic, and its access lists let the step write there, and no other service."""
    body = {"userId": "bob", "amount": 12.5, "items": {"apple": 1}}
    status, order = request(guarded.cluster.of("order")[0].port, "POST", "/orders", body)
    assert status == 201, order
    settings = load_settings(guarded.cluster.settings())
    broker = KafkaBroker(settings.kafka, RecordingTelemetry(), topics=["parcels.booked"])
    wait_for(lambda: order["id"].encode() in {record.key for record in broker.all_records()}, "its event is sent")
    assert guarded.refusal("oms-parcels", "parcels.booked") is None
    assert guarded.refusal("oms-payment", "parcels.booked") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    (parcels,) = guarded.cluster.of("parcels")
    assert "undeclared topic" not in parcels.log.read_text()


@pytest.mark.parametrize("topic", ["inventory.reserved", "payment.success", "order.created", "order.dlq"])
def test_a_foreign_writer_is_refused(guarded: Guarded, topic: str) -> None:
    refusal = guarded.refusal("mallory", topic)
    assert refusal in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


def test_each_service_writes_to_its_own_topics_alone(guarded: Guarded) -> None:
    assert guarded.refusal("oms-payment", "payment.dlq") is None
    assert guarded.refusal("oms-payment", "inventory.reserved") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert guarded.refusal("oms-notification", "payment.success") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert guarded.refusal("oms-operator", "order.dlq") == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_an_operator_may_look_at_everything(guarded: Guarded) -> None:
    found = guarded.cluster.oms("doctor", **guarded.settings("oms-operator"))
    assert found.returncode == 0, found.stderr
    warnings = [line for line in found.stderr.splitlines() if "Kafka" in line or "KAFKA" in line or "topic" in line]
    assert warnings == [
        "oms: warning: OMS_KAFKA_SECURITY is sasl_plaintext: messages aren't encrypted; see Security in docs/distributed.md"
    ]
