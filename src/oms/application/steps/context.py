"""The context that a step's handlers receive, and the records that describe a step: `OutsideCall` and `OwnStep`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import attrs

from oms.application import topic_rights
from oms.application.extensions.json_body import NotJson, json_text
from oms.application.steps.work import Document, StepWork
from oms.domain.errors import InvalidValue, OmsError
from oms.domain.tasks import TaskKind, TaskRequest, composite_key
from oms.domain.values import OrderId
from oms.engine.group_start import Since
from oms.ports.messages import AnyEvent, CustomEvent

MAX_CALL_NAME = 64
_NOT_IN_CALL_NAMES = frozenset(':"\\')


def checked_call_name(name: str) -> str:
    """Return `name` if it is 1 to 64 printable characters without colon, quote or backslash; else `InvalidValue`."""
    fits = isinstance(name, str) and 1 <= len(name) <= MAX_CALL_NAME and name.isprintable()
    if fits and _NOT_IN_CALL_NAMES.isdisjoint(name):
        return name
    raise InvalidValue(
        "invalid_call",
        f'the name of a call must be 1 to {MAX_CALL_NAME} printable characters without : " and \\, not {name!r:.100}',
    )


class StepContext:
    """The state of one order in a step, as its handlers read and change it.

    The changes commit in the same transaction as the message.

    - `order_id`: the order of the message.
    - `now`: the time of this unit of work, an aware datetime; the same each time that a handler reads it.
    - `state`: the JSON object that the step last saved for the order, or None.
    """

    def __init__(self, work: StepWork, order_id: OrderId, source: str) -> None:
        """`source` is the topic of the message, or the key of the outside call whose result is applied.

        A step handles each source of an order once, so source and number identify the calls that its handler makes.
        """
        self._work, self._source = work, source
        self._calls = 0
        self.order_id = order_id
        self.now: datetime = work.now

    @property
    def state(self) -> Document | None:
        """The JSON object that this step saved for the order last; None before the first `save`."""
        return self._work.document(self.order_id)

    def save(self, document: Document) -> None:
        """Replace the JSON object that is saved for the order; raises `NotJson` for anything else."""
        self._work.put(self.order_id, json_text(document, "document", sort_keys=True))

    def publish(self, topic: str, **body: object) -> None:
        """Publish an event of your own after the commit; an order has at most one event of each topic.

        Raises `WrongName` for a topic that Kafka refuses or that is the system's own, `NotJson` for a body that isn't
        a JSON object. The body is copied: later changes of its values have no effect.
        A topic that the step didn't declare (`subscribe(..., publishes=[...])`) is logged as a warning, once; in the
        next release it raises `UndeclaredTopic`.
        """
        self._work.declared.check(topic)
        if body.setdefault("orderId", self.order_id) != self.order_id:
            raise NotJson("body.orderId: expected the order's own id, which is set without being named")
        text = json_text(body, "body")
        self._work.changes.publish(CustomEvent(topic, self.order_id, json.loads(text)))

    def call(self, name: str, **payload: object) -> None:
        """Run the outside call `name` after the commit; after a crash it may run again with the same arguments.

        `payload` has to be a JSON object, else `NotJson`. Each use of this method is a call of its own, also for the
        same name. Raises `OmsError`, which parks the message, unless `subscribe` declared a call of this name.
        """
        if name not in self._work.calls:
            known = ", ".join(sorted(self._work.calls)) or "none"
            raise OmsError(f"the step {self._work.group} has no outside call {name!r:.100}; it has: {known}")
        key = call_key(name, self.order_id, self._source, self._calls)
        self._work.changes.owe(TaskRequest(TaskKind.CALL, key, payload=json_text(payload, "payload")))
        self._calls += 1


def call_key(name: str, order_id: str, source: str, number: int) -> str:
    """Return the key of the `number`th call that a step makes for an order when it handles `source`.

    At most 175 characters.
    """
    return composite_key(name, order_id, hashlib.sha256(source.encode()).hexdigest()[:16], number)


StepHandler = Callable[[AnyEvent, StepContext], None]
"""Handles one event of the topic; events of topics that aren't the system's own are `CustomEvent`s."""


@attrs.frozen
class OutsideCall:
    """An outside call of a step: `run` does it, then `then` applies its result."""

    run: Callable[[OrderId, Document], object]
    """Receives the order's id and the payload of `StepContext.call`. Runs outside of any transaction, on a thread for
    calls, and must be idempotent: it may run again after a crash. Its result is passed to `then` in memory. `Permanent`
    parks the call; after any other exception, it is repeated with back-off."""

    then: Callable[[object, StepContext], None] = lambda _result, _step: None
    """Receives the result of `run` within a transaction, so its effects happen once. After `Retryable` and
    `OutcomeUnknown`, the call is repeated with back-off; any other exception parks it."""


@attrs.frozen
class OwnStep:
    """A user's own step, which is one consumer group."""

    handlers: Mapping[str, StepHandler] = attrs.field(factory=dict)
    """By topic."""

    calls: Mapping[str, OutsideCall] = attrs.field(factory=dict)
    """By the name that `StepContext.call` takes."""

    publishes: Collection[str] = frozenset()
    """The topics that its handlers and calls may publish to."""

    since: Mapping[str, Since] = attrs.field(factory=dict)
    """Where a new group begins in each topic."""

    @property
    def topics(self) -> topic_rights.StepTopics:
        """The topics that the step reads and writes."""
        return topic_rights.StepTopics(tuple(self.handlers), self.publishes)
