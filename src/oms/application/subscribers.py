"""A user's own step: the same inbox, retries, dead letters and outbox as the four services have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import cast

import attrs

from oms.application import topic_rights
from oms.application.extensions.calling import called
from oms.application.extensions.json_body import NotJson, json_text
from oms.application.extensions.names import check_own_topic
from oms.domain.errors import InvalidValue, OmsError
from oms.domain.tasks import TaskKind, TaskRequest, call_of, composite_key
from oms.domain.values import OrderId
from oms.engine.group_start import Since, start_offsets
from oms.engine.recorded_changes import RecordedChanges
from oms.engine.retries import next_try
from oms.engine.service import NotAppliedYet, Service
from oms.ports.call_executor import Ended
from oms.ports.clock import Clock
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable
from oms.ports.messages import AnyEvent, CustomEvent
from oms.ports.stores.rows import Postponed, Task
from oms.ports.stores.steps import StepStore, StepTransaction
from oms.ports.stores.store import Transaction
from oms.ports.telemetry import Telemetry

Document = Mapping[str, object]
"""What a step remembers of an order: a JSON object."""

MAX_CALL_NAME = 64
_NOT_IN_CALL_NAMES = frozenset(':"\\')

MAX_WARNED_TOPICS = 100
"""Undeclared topics of a step that are named in the log, each once: a step may make their names at run time."""

UNKNOWN_CALL_ATTEMPTS = 10
"""Attempts before a call that this process doesn't know is parked: about two minutes, in which a process of the
version that asked for it can make it during a rolling upgrade."""


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
    """What a handler of an own step works with, for one order. Everything is saved together, or not at all.

    `source` is what is handled: a topic, or the key of the call that has its result. A step handles each source of an
    order once, so source and number tell its calls apart.
    """

    def __init__(self, work: StepWork, order_id: OrderId, source: str) -> None:
        self._work, self._source = work, source
        self._calls = 0
        self.order_id = order_id
        self.now: datetime = work.now

    @property
    def state(self) -> Document | None:
        """What this step saved of the order before; None where it never did."""
        return self._work.document(self.order_id)

    def save(self, document: Document) -> None:
        """Remember a JSON object of the order, in place of the one remembered before; `NotJson` for anything else."""
        self._work.put(self.order_id, json_text(document, "document", sort_keys=True))

    def publish(self, topic: str, **body: object) -> None:
        """Owe an event of your own to the log; an order has at most one of each topic.

        Raises `WrongName` for a topic that Kafka refuses or that is the system's own, `NotJson` for a body that isn't
        a JSON object. The event holds the body as it is now, whatever the handler does with its values later.
        A topic that the step didn't declare (`subscribe(..., publishes=[...])`) is logged as a warning, once; in the
        next release it raises `UndeclaredTopic`.
        """
        self._work.publications.check(topic)
        if body.setdefault("orderId", self.order_id) != self.order_id:
            raise NotJson("body.orderId: expected the order's own id, which is set without being named")
        text = json_text(body, "body")
        self._work.changes.publish(CustomEvent(topic, self.order_id, json.loads(text)))

    def call(self, name: str, **payload: object) -> None:
        """Make an outside call after the commit: once, or after a crash again with the same arguments.

        Every use makes a call of its own, also for the same name. Raises `OmsError`, which parks the message, where
        `subscribe` was given no call of this name.
        """
        if name not in self._work.calls:
            known = ", ".join(sorted(self._work.calls)) or "none"
            raise OmsError(f"the step {self._work.group} has no outside call {name!r:.100}; it has: {known}")
        key = call_key(name, self.order_id, self._source, self._calls)
        self._work.changes.owe(TaskRequest(TaskKind.CALL, key, payload=json_text(payload, "payload")))
        self._calls += 1


def call_key(name: str, order_id: str, source: str, number: int) -> str:
    """The key of the `number`th call that a step makes of an order when it handles `source`; at most 175 characters."""
    return composite_key(name, order_id, hashlib.sha256(source.encode()).hexdigest()[:16], number)


StepHandler = Callable[[AnyEvent, StepContext], None]


@attrs.frozen
class OutsideCall:
    """An outside call of a step.

    `run` gets (order id, payload) outside of any transaction and must be idempotent; `then` gets its result within
    one, so its effects happen once. `Permanent` of `run` parks the call; after any other exception the call is made
    again with back-off. So it is after `Retryable` and `OutcomeUnknown` of `then`; any other exception of `then` parks
    the call.
    """

    run: Callable[[OrderId, Document], object]
    then: Callable[[object, StepContext], None] = lambda _result, _step: None


@attrs.frozen
class OwnStep:
    """A consumer group of the shop's own: handlers by topic, outside calls by name, topics that it publishes to."""

    handlers: Mapping[str, StepHandler] = attrs.field(factory=dict)
    calls: Mapping[str, OutsideCall] = attrs.field(factory=dict)
    publishes: Collection[str] = frozenset()
    since: Mapping[str, Since] = attrs.field(factory=dict)
    """Where the group begins in each topic when it is new."""

    @property
    def topics(self) -> topic_rights.StepTopics:
        """What it reads and writes."""
        return topic_rights.StepTopics(tuple(self.handlers), self.publishes)


class UndeclaredTopic(OmsError):
    """A step published to a topic that it didn't declare."""


class Publications:
    """The topics that a step declared, and what becomes of an event for another one. `warn` gets each topic once."""

    def __init__(self, group: str, declared: Collection[str], warn: Callable[[str], None]) -> None:
        self._group, self._declared, self._warn = group, declared, warn
        self._warned: set[str] = set()

    def check(self, topic: str) -> None:
        """Raise `WrongName` for a topic that isn't the step's to write; warn of, or raise, `UndeclaredTopic`."""
        check_own_topic(topic)
        if topic in self._declared:
            return
        if topic_rights.UNDECLARED_TOPICS_FAIL:
            raise UndeclaredTopic(
                f"the step {self._group} doesn't declare the topic {topic!r}: "
                f"app.subscribe(..., group={self._group!r}, publishes=[{topic!r}])"
            )
        if topic not in self._warned and len(self._warned) < MAX_WARNED_TOPICS:
            self._warned.add(topic)
            self._warn(topic)


class StepWork:
    """The documents of a step under lock."""

    def __init__(
        self,
        transaction: StepTransaction,
        group: str,
        now: datetime,
        publications: Publications,
        calls: Collection[str] = frozenset(),
    ) -> None:
        self.changes = RecordedChanges()
        self.now = now
        self.publications = publications
        self.group, self.calls = group, calls
        """The step's group, and the names of the outside calls that it may make."""
        self._transaction = transaction
        self._before: dict[str, str] = {}
        self._after: dict[str, str] = {}

    def load(self, events: Sequence[AnyEvent]) -> None:
        """Lock the documents of these events' orders."""
        self.lock({event.order_id for event in events})

    def lock(self, order_ids: Collection[str]) -> None:
        """Lock documents by order."""
        self._before.update(self._transaction.lock_documents(self.group, order_ids))

    def document(self, order_id: str) -> Document | None:
        """The document as it is now in this unit of work."""
        text = self._after.get(order_id, self._before.get(order_id))
        return None if text is None else cast("Document", json.loads(text))

    def put(self, order_id: str, text: str) -> None:
        """Change a document, given as JSON."""
        self._after[order_id] = text

    def mark(self) -> tuple[dict[str, str], int, int]:
        """Where the unit is, to come back to."""
        return dict(self._after), len(self.changes.events), len(self.changes.tasks)

    def reset(self, mark: tuple[dict[str, str], int, int]) -> None:
        """Come back to a mark."""
        self._after, events, tasks = mark
        del self.changes.events[events:]
        del self.changes.tasks[tasks:]

    def flush(self) -> None:
        """Write the documents that changed."""
        changes = [(key, self._before.get(key), text) for key, text in self._after.items()]
        changed = [change for change in changes if change[1] != change[2]]
        if changed:
            self._transaction.save_documents(self.group, changed)


@attrs.frozen
class StepCalls:
    """Makes the outside calls of one step."""

    known: Mapping[str, OutsideCall]

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:
        """One call each."""
        return {task.key: self._call(task) for task in tasks}

    def load(self, work: StepWork, tasks: Sequence[Task]) -> None:
        """Lock the documents that `then` may change."""
        work.lock({call_of(task.key)[1] for task in tasks})

    def finish(self, work: StepWork, ended: Ended[Task]) -> Postponed | None:
        """Hand the result on, or try again."""
        task = ended.token
        if isinstance(ended.error, Permanent) or self._stays_unknown(ended):
            raise cast("Exception", ended.error)
        if ended.error is not None:
            note = type(ended.error).__name__
            return Postponed(task, next_try(work.now, task.attempts), note=note)
        name, order_id = call_of(task.key)
        then, step = self.known[name].then, StepContext(work, OrderId(order_id), task.key)
        before = work.mark()
        try:
            called(f"then of call {name!r}", then, ended.answer, step)
        except (Retryable, OutcomeUnknown) as error:
            work.reset(before)
            raise NotAppliedYet from error
        return None

    def _call(self, task: Task) -> Callable[[], object]:
        name, order_id = call_of(task.key)
        known = self.known.get(name)
        if known is None:
            return partial(_refuse_unknown, name)
        payload = cast("Document", json.loads(task.payload or "{}"))
        return partial(called, f"run of call {name!r}", known.run, OrderId(order_id), payload)

    def _stays_unknown(self, ended: Ended[Task]) -> bool:
        return isinstance(ended.error, UnknownCall) and ended.token.attempts >= UNKNOWN_CALL_ATTEMPTS


class UnknownCall(OmsError):
    """A task names a call that the step in this process doesn't have."""


def _refuse_unknown(name: str) -> None:
    raise UnknownCall(f"this version of the step has no outside call {name!r}")


def step_service(store: StepStore, clock: Clock, telemetry: Telemetry, group: str, step: OwnStep) -> Service[StepWork]:
    """A service made of a user's step."""

    def warn(topic: str) -> None:
        advice = f"add publishes=[{topic!r}] to app.subscribe(..., group={group!r}); the next release refuses the event"
        telemetry.failure("undeclared topic", None, step=group, topic=topic, detail=advice)

    calls, publications = step.calls, Publications(group, step.publishes, warn)

    def open_work(transaction: Transaction) -> StepWork:
        return StepWork(cast("StepTransaction", transaction), group, clock.now(), publications, frozenset(calls))

    def handled_by(handler: StepHandler) -> Callable[[AnyEvent, StepWork], None]:
        return lambda event, work: _run(handler, event, work)

    routes = {topic: handled_by(handler) for topic, handler in step.handlers.items()}
    executors = {TaskKind.CALL: StepCalls(calls)}
    return Service(
        group,
        group,
        store,
        routes,
        open_work,
        executors,
        extension=f"step:{group}",
        own_handlers=True,
        starts=lambda broker: start_offsets(store, broker, telemetry, group, step.since),
    )


def _run(handler: StepHandler, event: AnyEvent, work: StepWork) -> None:
    """Nothing of a handler that fails half-way stays in the unit of work."""
    before = work.mark()
    try:
        called("the handler", handler, event, StepContext(work, event.order_id, event.topic))
    except BaseException:
        work.reset(before)
        raise
