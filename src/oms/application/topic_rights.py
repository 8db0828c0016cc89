"""The services that write and read each topic, derived from the saga and the routes.

The broker has to enforce these rights, because a consumer can't check every message: the payment service charges the
amount that `inventory.reserved` states, so any client that may write to that topic can have a customer charged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs

from oms.application.routing import ROUTING
from oms.domain.events import BY_TOPIC
from oms.domain.saga import SAGA
from oms.ports.messages import copies_topic

UNDECLARED_TOPICS_FAIL = False
"""Whether publishing to an undeclared topic fails. While this is False, it is logged as a warning, and
`oms setup --acl` lets steps that declare no topics write to every topic that a step handles."""


@attrs.frozen
class StepTopics:
    """The topics that a user's own step handles, and those to which it declares to publish."""

    handles: Collection[str]
    publishes: Collection[str] = ()


@attrs.frozen
class TopicAccess:
    """The services and own steps, by name, that write to and read a topic. One without readers is for operators."""

    topic: str
    writers: Sequence[str]
    readers: Sequence[str]


def topic_access(steps: Mapping[str, StepTopics]) -> Sequence[TopicAccess]:
    """Return the access to all topics, sorted by topic; `steps` are the own steps by group."""
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
    open_to_all = not UNDECLARED_TOPICS_FAIL and any(topic in step.handles for step in steps.values())
    return sorted(
        group for group, step in steps.items() if topic in step.publishes or (open_to_all and not step.publishes)
    )


def _readers(topic: str, steps: Mapping[str, StepTopics]) -> Sequence[str]:
    services = {name for name, consumes in ROUTING.items() if topic in consumes.topics}
    return sorted(services | {group for group, step in steps.items() if topic in step.handles})
