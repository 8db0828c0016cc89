"""Sends messages. Those of all callers share batches; each caller waits for the delivery reports of its own."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from functools import lru_cache, partial

from confluent_kafka import KafkaError, KafkaException, Producer

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.clients import keep_in_forks, new_producer
from oms.adapters.kafka.conf import Conf, delivery_timeout_s
from oms.ports.errors import OutcomeUnknown, Permanent, PortError, Retryable
from oms.ports.messages import Outgoing, too_large
from oms.ports.telemetry import Telemetry

SCAN_S = 2.0
"""librdkafka looks once a second for messages whose time limit has passed, so their reports come up to that much
later, in seconds."""

LEAD_S = 0.1
FOLLOW_S = 0.005
"""One thread at a time, the leader, polls librdkafka for the reports of all callers, for at most `LEAD_S` seconds. The
others check every `FOLLOW_S` seconds whether there still is a leader."""

_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_NO_REPORT = OutcomeUnknown("Kafka didn't say in time whether it has the message")

Report = KafkaError | PortError | None


class Batch:
    """The reports of one call, in the order of its messages. A message without a report has an unknown outcome."""

    def __init__(self, size: int) -> None:
        self.reports: list[Report] = [_NO_REPORT] * size
        self.complete = threading.Event()
        self._size, self._delivered, self._refused = size, 0, 0

    def delivered(self, index: int, error: KafkaError | None, _message: object) -> None:
        """Take a delivery report; called on the leader's thread."""
        self.reports[index] = error
        self._delivered += 1
        self._check()

    def refuse(self, index: int, report: Report) -> None:
        """Note that librdkafka didn't accept a message; called on the caller's own thread."""
        self.reports[index] = report
        self._refused += 1
        self._check()

    def _check(self) -> None:
        if self._delivered + self._refused >= self._size:
            self.complete.set()


class Sender:
    """Sends with one producer, which is made for the first message, and again after a fatal error."""

    def __init__(self, conf: Conf, telemetry: Telemetry) -> None:
        self._conf, self._telemetry = conf, telemetry
        self._timeout_s = delivery_timeout_s(conf)
        self._producer: Producer | None = None
        self._making, self._leading = threading.Lock(), threading.Lock()
        keep_in_forks(self)

    def send(self, messages: Sequence[Outgoing]) -> Sequence[Report]:
        """Send messages and wait for their reports, at most for the delivery timeout and `SCAN_S`."""
        until = time.monotonic() + self._timeout_s + SCAN_S
        producer, batch = self._current(), Batch(len(messages))
        for index, message in enumerate(messages):
            self._produce(producer, batch, index, message, until)
        while not batch.complete.is_set() and (left_s := until - time.monotonic()) > 0:
            self._serve(producer, batch, left_s)
        return list(batch.reports)

    def close(self) -> None:
        """Drop the producer; a later `send` makes another one."""
        with self._making:
            self._producer = None

    def _current(self) -> Producer:
        with self._making:
            if self._producer is None:
                self._producer = new_producer(self._conf, error_cb=self._count)
            return self._producer

    def _produce(self, producer: Producer, batch: Batch, index: int, message: Outgoing, until: float) -> None:
        report = partial(batch.delivered, index)
        headers: list[tuple[str, str | bytes]] = [*message.headers]
        while True:
            try:
                producer.produce(message.topic, message.value, message.key, on_delivery=report, headers=headers)
            except BufferError:  # librdkafka's queue is full until messages are delivered or time out
                if time.monotonic() >= until:
                    return batch.refuse(index, Retryable(f"{message.topic}: too many messages wait to be sent"))
                self._serve(producer, batch, LEAD_S)
            except KafkaException as error:
                return batch.refuse(index, driver_errors.error_in(error))
            else:
                return None

    def _serve(self, producer: Producer, batch: Batch, at_most_s: float) -> None:
        if self._leading.acquire(blocking=False):
            try:
                producer.poll(min(at_most_s, LEAD_S))
            except KafkaException as error:  # a fatal error is raised once; the reports still come
                self._replace(producer, driver_errors.error_in(error))
            finally:
                self._leading.release()
        else:
            batch.complete.wait(min(at_most_s, FOLLOW_S))

    def _replace(self, producer: Producer, error: KafkaError) -> None:
        self._count(error)
        self._telemetry.alert("Kafka's producer is made anew", cause=driver_errors.describe(error))
        with self._making:
            if self._producer is producer:
                self._producer = None

    def _count(self, error: KafkaError) -> None:
        self._telemetry.count("kafka_errors", client="producer", cause=error.name())


class Publisher:
    """Sends messages in batches. Kafka refuses whole batches, so those of a refused batch are sent again singly."""

    def __init__(self, conf: Conf, telemetry: Telemetry) -> None:
        self._batched = Sender(conf, telemetry)
        self._single = Sender({**conf, "batch.num.messages": "1"}, telemetry)

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        """The outcome of each message, in their order; None if every in-sync replica has it."""
        reports: list[Report] = [_unsendable(message) for message in messages]
        fit = [index for index, report in enumerate(reports) if report is None]
        _send(self._batched, messages, reports, fit)
        refused = [index for index, report in enumerate(reports) if _may_be_sendable(report)]
        _send(self._single, messages, reports, refused)
        return [_outcome(message, report) for message, report in zip(messages, reports, strict=True)]

    def close(self) -> None:
        """Drop the producers."""
        self._batched.close()
        self._single.close()


def _send(sender: Sender, messages: Sequence[Outgoing], reports: list[Report], chosen: Sequence[int]) -> None:
    if chosen:
        found = sender.send([messages[index] for index in chosen])
        for index, report in zip(chosen, found, strict=True):
            reports[index] = report


def _may_be_sendable(report: Report) -> bool:
    return isinstance(report, KafkaError) and driver_errors.refuses_a_batch(report)


def _outcome(message: Outgoing, report: Report) -> PortError | None:
    return driver_errors.undelivered(report, message.topic) if isinstance(report, KafkaError) else report


def _unsendable(message: Outgoing) -> Permanent | None:
    """Why a message can't be sent. librdkafka would truncate a name at a NUL, and crash on an unpaired surrogate."""
    if not _is_topic(message.topic):
        return Permanent(f"{message.topic[:300]!r} isn't a valid name of a topic")
    for name, _ in message.headers:
        if not _is_header(name):
            return Permanent(f"{message.topic}: {name[:300]!r} isn't a valid name of a header")
    return too_large(message)


@lru_cache(maxsize=1000)
def _is_topic(name: str) -> bool:
    return _TOPIC.fullmatch(name) is not None


@lru_cache(maxsize=1000)
def _is_header(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name
