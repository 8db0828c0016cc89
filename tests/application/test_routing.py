"""The routing table, the saga and the wire contract say the same."""

from __future__ import annotations

from oms.application.routing import ROUTING
from oms.domain.events import BY_TOPIC
from oms.domain.saga import routes


def test_the_routing_is_the_sagas() -> None:
    routed: dict[str, list[str]] = {}
    for service, consumes in ROUTING.items():
        for topic in consumes.topics:
            routed.setdefault(topic, []).append(service)

    assert {topic: tuple(sorted(services)) for topic, services in routed.items()} == dict(routes())


def test_every_topic_has_a_consumer() -> None:
    assert set(routes()) == set(BY_TOPIC)


def test_groups_are_those_of_the_system_replaced() -> None:
    assert {service: consumes.group for service, consumes in ROUTING.items()} == {
        "order": "order-group",
        "inventory": "inventory-group",
        "payment": "payment-group",
        "notification": "notification-group",
    }
