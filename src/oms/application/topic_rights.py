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

UNDECLARED_TOPICS_FAIL = False
"""Whether a step that publishes to a topic which it didn't declare fails. Until the release that sets this to True, it
writes a warning, and `oms setup --acl` lets steps that declare nothing write to every topic that a step handles."""


@attrs.frozen
class StepTopics:
    """The topics that an own step handles, and those that it declares to publish to."""

    handles: Collection[str]
    publishes: Collection[str] = ()


@attrs.frozen
class TopicAccess:
    """The services and own steps, by name, that write to a topic and that read it. No reader: operators' tools."""

    topic: str
    writers: Sequence[str]
    readers: Sequence[str]


def topic_access(steps: Mapping[str, StepTopics]) -> Sequence[TopicAccess]:
    """The access of all topics, sorted; `steps` are the own steps by group."""
    own = {topic for step in steps.values() for topic in (*step.handles, *step.publishes)}
    copies = {copies_topic(name): name for name in (*ROUTING, *steps)}
    return [
        TopicAccess(topic, _writers(topic, copies, steps), _readers(topic, steps))
        for topic in sorted({*BY_TOPIC, *copies, *own})
    ]


def _writers(topic: str, copies: Mapping[str, str], steps: Mapping[str, StepTopics]) -> Sequence[str]:
    if topic in copies:
        return [copies[topic]]
    if topic in BY_TOPIC:
        return sorted({step.service for step in SAGA if BY_TOPIC[topic] in step.publishes})
    anyone = not UNDECLARED_TOPICS_FAIL and any(topic in step.handles for step in steps.values())
    return sorted(group for group, step in steps.items() if topic in step.publishes or (anyone and not step.publishes))


def _readers(topic: str, steps: Mapping[str, StepTopics]) -> Sequence[str]:
    services = {name for name, consumes in ROUTING.items() if topic in consumes.topics}
    return sorted(services | {group for group, step in steps.items() if topic in step.handles})
