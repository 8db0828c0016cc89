"""Which service writes and which reads each topic, derived from the saga and the routes.

A consumer can't check every message. The payment service charges what `inventory.reserved` names, so whoever may write
to that topic can have a customer charged: only the broker's access lists prevent it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs

from oms.application.routing import ROUTING
from oms.domain.events import BY_TOPIC
from oms.domain.saga import SAGA
from oms.ports.messages import copies_topic


@attrs.frozen
class TopicAccess:
    """The services and own steps, by name, that write to a topic and that read it. No reader: operators' tools."""

    topic: str
    writers: Sequence[str]
    readers: Sequence[str]


def topic_access(steps: Mapping[str, Collection[str]]) -> Sequence[TopicAccess]:
    """The access of all topics, sorted. `steps` are the topics that each own step handles, by its group.

    Any own step may write to a topic that is no event of `oms` and that some own step handles. Topics that own steps
    publish to and none handles aren't known here.
    """
    handled = {topic for topics in steps.values() for topic in topics}
    copies = {copies_topic(name): name for name in (*ROUTING, *steps)}
    return [
        TopicAccess(topic, _writers(topic, copies, steps), _readers(topic, steps))
        for topic in sorted({*BY_TOPIC, *copies, *handled})
    ]


def _writers(topic: str, copies: Mapping[str, str], steps: Collection[str]) -> Sequence[str]:
    if topic in copies:
        return [copies[topic]]
    if topic in BY_TOPIC:
        return sorted({step.service for step in SAGA if BY_TOPIC[topic] in step.publishes})
    return sorted(steps)


def _readers(topic: str, steps: Mapping[str, Collection[str]]) -> Sequence[str]:
    services = {name for name, consumes in ROUTING.items() if topic in consumes.topics}
    return sorted(services | {group for group, topics in steps.items() if topic in topics})
