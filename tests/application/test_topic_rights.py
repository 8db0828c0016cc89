"""Who may write to and read each topic, and the commands and warnings that follow from it."""

from __future__ import annotations

import shlex
from itertools import pairwise

import pytest
from typed_settings import Secret

import oms
from oms.adapters.kafka.access import connection_warnings
from oms.application.routing import ROUTING
from oms.application.topic_rights import StepTopics, topic_access
from oms.bootstrap.operators import acl_of
from oms.bootstrap.servers import topics_of
from oms.bootstrap.system import SERVICES
from oms.domain.events import EVENTS
from oms.domain.saga import routes
from oms.settings import Settings

LOGIN = {"kafka_user": "oms", "kafka_password": Secret("not-for-any-log")}
ALL_BUT_STEPS = {row.topic: row for row in topic_access({})}


def test_every_topic_that_setup_makes_has_a_row() -> None:
    assert sorted(ALL_BUT_STEPS) == sorted(topics_of({}))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.topic)
def test_an_event_is_written_by_one_service_and_read_by_those_that_handle_it(event: type[oms.Event]) -> None:
    row = ALL_BUT_STEPS[event.topic]
    assert row.writers == [event.topic.partition(".")[0]]
    assert tuple(row.readers) == routes()[event.topic]


def test_copies_of_dead_letters_are_written_by_their_service_and_read_by_no_service() -> None:
    for service in SERVICES:
        row = ALL_BUT_STEPS[f"{service}.dlq"]
        assert (row.writers, row.readers) == ([service], [])


def test_own_steps_write_to_topics_of_the_shop_and_to_their_copies_alone() -> None:
    steps = {
        "shipping": StepTopics(["order.confirmed"], ["parcel.sent"]),
        "mail": StepTopics(["parcel.sent"], ["parcel.sent"]),
    }
    rows = {row.topic: row for row in topic_access(steps)}
    assert rows["order.confirmed"].readers == ["inventory", "notification", "shipping"]
    assert rows["order.confirmed"].writers == ["order"]
    assert rows["parcel.sent"].writers == ["mail", "shipping"]
    assert rows["shipping.dlq"].writers == ["shipping"]


def test_the_commands_name_each_principal_group_and_topic() -> None:
    app = oms.create(profile="distributed", kafka_bootstrap="kafka:9092")
    app.subscribe("order.confirmed", group="shipping", handler=lambda _event, _step: None)
    commands = [shlex.split(line) for line in acl_of(app, "User:CN={name},O=the shop")]

    def given(name: str, operation: str, flag: str) -> set[str]:
        ours = (one for one in commands if f"User:CN={name},O=the shop" in one and operation in one)
        return {word for one in ours for before, word in pairwise(one) if before == flag}

    assert {command[2] for command in commands} == {"kafka:9092"}
    assert given("payment", "Write", "--topic") == {
        "payment.success", "payment.failed", "payment.voided", "payment.refunded", "payment.refund_paid",
        "payment.refund_failed", "payment.dlq",
    }  # fmt: skip
    assert given("shipping", "Read", "--topic") == {"order.confirmed"}
    assert given("shipping", "Read", "--group") == {"shipping"}
    assert given("shipping", "Write", "--topic") == {"shipping.dlq"}
    for name, consumes in ROUTING.items():
        assert given(name, "Read", "--topic") == set(consumes.topics)
        assert given(name, "Read", "--group") == {consumes.group}
    assert given("operator", "Write", "--topic") == set()
    assert given("operator", "Read", "--topic") == set(topics_of(app.own_steps))


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "is plaintext"),
        ({"kafka_security": "sasl_plaintext", **LOGIN}, "aren't encrypted"),
        ({"kafka_security": "ssl"}, "who writes"),
        ({"kafka_security": "ssl", "kafka_conf": {"ssl.keystore.location": "/k"}}, None),
        ({"kafka_security": "sasl_ssl", **LOGIN}, None),
    ],
    ids=["plaintext", "SASL without TLS", "TLS without a certificate", "TLS with a certificate", "SASL over TLS"],
)
def test_a_connection_that_does_not_protect_the_topics_is_a_warning(given: dict[str, object], word: str | None) -> None:
    found = list(map(str, connection_warnings(Settings(**given).kafka)))
    assert len(found) == (word is not None)
    for line in found:
        assert line.startswith("warning: ")
        assert str(word) in line
