"""Sending: messages of all callers go out together, and each caller waits for the reports of its own."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from functools import lru_cache, partial

from confluent_kafka import KafkaError, KafkaException, Producer

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.clients import keep_in_forks
from oms.adapters.kafka.conf import LOGGER, Conf, delivery_timeout_s
from oms.ports.errors import OutcomeUnknown, Permanent, PortError, Retryable
from oms.ports.messages import Outgoing, too_large
from oms.ports.telemetry import Telemetry

SCAN_S = 2.0
"""librdkafka looks once a second for messages whose time is up; their reports come that much later."""

LEAD_S = 0.1
FOLLOW_S = 0.005
"""One thread at a time asks librdkafka for the reports, whoever's they are; the others look so often if it left."""

_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_SILENCE = OutcomeUnknown("Kafka didn't say in time whether it has the message")

Report = KafkaError | PortError | None


class Batch:
    """The reports of one call, in the order of its messages. Until one comes, it is unknown."""

    def __init__(self, size: int) -> None:
        self.reports: list[Report] = [_SILENCE] * size
        self.complete = threading.Event()
        self._size, self._delivered, self._refused = size, 0, 0

    def delivered(self, index: int, error: KafkaError | None, _message: object) -> None:
        """The delivery report, on the thread that leads."""
        self.reports[index] = error
        self._delivered += 1
        self._check()

    def refuse(self, index: int, report: Report) -> None:
        """Not even librdkafka took it; on the caller's own thread."""
        self.reports[index] = report
        self._refused += 1
        self._check()

    def _check(self) -> None:
        if self._delivered + self._refused >= self._size:
            self.complete.set()


class Sender:
    """One producer, made when it is first needed, and anew after an error that it can't get over."""

    def __init__(self, conf: Conf, telemetry: Telemetry) -> None:
        self._conf, self._telemetry = conf, telemetry
        self._timeout_s = delivery_timeout_s(conf)
        self._producer: Producer | None = None
        self._making, self._leading = threading.Lock(), threading.Lock()
        keep_in_forks(self)

    def send(self, messages: Sequence[Outgoing]) -> Sequence[Report]:
        """Send all and wait for their reports: for the delivery timeout and a little more, at most."""
        until = time.monotonic() + self._timeout_s + SCAN_S
        producer, batch = self._current(), Batch(len(messages))
        for index, message in enumerate(messages):
            self._produce(producer, batch, index, message, until)
        while not batch.complete.is_set() and (left_s := until - time.monotonic()) > 0:
            self._serve(producer, batch, left_s)
        return list(batch.reports)

    def close(self) -> None:
        """Let go of the producer."""
        with self._making:
            self._producer = None

    def _current(self) -> Producer:
        with self._making:
            if self._producer is None:
                try:
                    self._producer = Producer({**self._conf, "error_cb": self._count}, logger=LOGGER)
                except KafkaException as error:
                    raise driver_errors.refused_settings(error) from None
            return self._producer

    def _produce(self, producer: Producer, batch: Batch, index: int, message: Outgoing, until: float) -> None:
        report = partial(batch.delivered, index)
        headers: list[tuple[str, str | bytes]] = [*message.headers]
        while True:
            try:
                producer.produce(message.topic, message.value, message.key, on_delivery=report, headers=headers)
            except BufferError:  # librdkafka's queue is full of messages that it will get rid of, or give up
                if time.monotonic() >= until:
                    return batch.refuse(index, Retryable(f"{message.topic}: too many messages wait to be sent"))
                self._serve(producer, batch, LEAD_S)
            except KafkaException as error:
                return batch.refuse(index, driver_errors.of(error))
            else:
                return None

    def _serve(self, producer: Producer, batch: Batch, at_most_s: float) -> None:
        if self._leading.acquire(blocking=False):
            try:
                producer.poll(min(at_most_s, LEAD_S))
            except KafkaException as error:  # it says once that it is at its end; the reports come nevertheless
                self._give_up(producer, driver_errors.of(error))
            finally:
                self._leading.release()
        else:
            batch.complete.wait(min(at_most_s, FOLLOW_S))

    def _give_up(self, producer: Producer, error: KafkaError) -> None:
        self._count(error)
        self._telemetry.alert("Kafka's producer is made anew", cause=driver_errors.said(error))
        with self._making:
            if self._producer is producer:
                self._producer = None

    def _count(self, error: KafkaError) -> None:
        self._telemetry.count("kafka_errors", client="producer", cause=error.name())


class Publisher:
    """Sends batches. Kafka refuses batches whole, so whoever was refused in company is sent once more, alone."""

    def __init__(self, conf: Conf, telemetry: Telemetry) -> None:
        self._together = Sender(conf, telemetry)
        self._alone = Sender({**conf, "batch.num.messages": "1"}, telemetry)

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        """One answer a message, in their order."""
        reports: list[Report] = [_unsendable(message) for message in messages]
        fit = [index for index, report in enumerate(reports) if report is None]
        _send(self._together, messages, reports, fit)
        accused = [index for index, report in enumerate(reports) if _may_be_innocent(report)]
        _send(self._alone, messages, reports, accused)
        return [_answer(message, report) for message, report in zip(messages, reports, strict=True)]

    def close(self) -> None:
        """Let go of the producers."""
        self._together.close()
        self._alone.close()


def _send(sender: Sender, messages: Sequence[Outgoing], reports: list[Report], chosen: Sequence[int]) -> None:
    if chosen:
        found = sender.send([messages[index] for index in chosen])
        for index, report in zip(chosen, found, strict=True):
            reports[index] = report


def _may_be_innocent(report: Report) -> bool:
    return isinstance(report, KafkaError) and driver_errors.refuses_a_batch(report)


def _answer(message: Outgoing, report: Report) -> PortError | None:
    return driver_errors.undelivered(report, message.topic) if isinstance(report, KafkaError) else report


def _unsendable(message: Outgoing) -> Permanent | None:
    """Why a message can't be sent as it is. The library would cut a name short at a NUL, and crash on half a letter."""
    if not _is_topic(message.topic):
        return Permanent(f"{message.topic[:300]!r} is no name that Kafka allows for a topic")
    for name, _ in message.headers:
        if not _is_header(name):
            return Permanent(f"{message.topic}: {name[:300]!r} is no name of a header")
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
