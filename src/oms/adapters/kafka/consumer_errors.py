"""Handles the errors that a member's client reports: counters, alerts, a new client, or an error of `poll`."""

from __future__ import annotations

from confluent_kafka import KafkaError, Message

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.conf import Conf
from oms.adapters.kafka.membership import Membership
from oms.ports.errors import PortError
from oms.ports.telemetry import Telemetry

MAX_STUCK = 100
"""Unreadable batches that are remembered, so that each raises one alert."""

_INSTANCE = "group.instance.id"


class ConsumerErrors:
    """The errors of one member. Its methods are called from librdkafka's callbacks, so they never raise."""

    def __init__(self, conf: Conf, telemetry: Telemetry, membership: Membership) -> None:
        self.conf = conf
        """The keys of the next client; without `group.instance.id` after another process was found to use it."""
        self.is_broken = False
        """Whether the client can't be used any more, so that another one has to be made."""
        self._telemetry, self._membership = telemetry, membership
        self._stuck: set[tuple[str | None, int | None, int | None]] = set()
        self._stops_reading: PortError | None = None

    def note(self, error: KafkaError) -> None:
        """Count an error, and decide what follows from it."""
        self._telemetry.count("kafka_errors", client="consumer", cause=error.name())
        self.is_broken = self.is_broken or driver_errors.is_fatal(error)
        if driver_errors.is_instance_taken(error):
            self._give_up_instance(error)
        if driver_errors.is_fatal(error):
            self._membership.fail(driver_errors.describe(error))
        elif driver_errors.refuses_member(error):
            self._membership.refuse(driver_errors.describe(error))
        self._stops_reading = driver_errors.stops_reading(error) or self._stops_reading

    def note_message(self, error: KafkaError, message: Message) -> None:
        """Handle an error that came in place of a record; one alert for each batch that can't be read."""
        self.note(error)
        at = (message.topic(), message.partition(), message.offset())
        if driver_errors.is_stuck(error) and at not in self._stuck and len(self._stuck) < MAX_STUCK:
            self._stuck.add(at)
            topic, partition, offset = at
            self._telemetry.alert(
                "a partition can't be read on",
                topic=topic,
                partition=partition,
                offset=offset,
                cause=driver_errors.describe(error),
            )

    def take(self) -> PortError | None:
        """The latest error that keeps this member from reading, once."""
        error, self._stops_reading = self._stops_reading, None
        return error

    def _give_up_instance(self, error: KafkaError) -> None:
        """Make the next client join as a dynamic member.

        With the same `group.instance.id` it would fence the other process, which would fence it again, and neither
        would read anything.
        """
        instance = self.conf.get(_INSTANCE)
        if instance is not None:
            self.conf = {key: text for key, text in self.conf.items() if key != _INSTANCE}
            self._telemetry.alert(
                "another process has this group.instance.id, this one joins without it",
                group=self.conf["group.id"],
                instance=instance,
                cause=driver_errors.describe(error),
            )
