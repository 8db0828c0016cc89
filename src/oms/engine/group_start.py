"""Decides once where the consumer group of a user's own step begins to read, and keeps this in the step's store.

The store keeps the decision for two reasons. If two instances start at once, both begin at the offsets that were stored
first. And a log may forget a group's offsets: Kafka does so after seven days without a member. A group that began "now"
then reads again from where it began, and not from the end, which would lose messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, get_args

from oms.ports.broker import Broker, Subscription, TopicPartition
from oms.ports.stores.steps import StepStore
from oms.ports.stores.store import Store
from oms.ports.telemetry import Telemetry

Since = Literal["earliest", "now"]
"""Where a new group begins in a topic: at the first message that the log still has, or after the last one."""

DEFAULT: Since = "earliest"

SURELY_COMMITTED = timedelta(seconds=10)
"""A process commits offsets a quarter of a second after their messages. A process that died before its first
commit has handled no message that is older than this."""


def is_since(value: object) -> bool:
    """Whether `value` is one of the values of `Since`."""
    return value in get_args(Since)


def start_offsets(
    store: StepStore, broker: Broker, telemetry: Telemetry, group: str, topics: Mapping[str, Since]
) -> Mapping[TopicPartition, int]:
    """Return the offsets at which a group begins; a partition that isn't named is read from its beginning.

    `topics` says for each topic where a new group begins. A group that has read or handled anything is not new, so
    `topics` doesn't matter to it. Raises `Retryable` if the log or the store can't be reached.
    """
    kept = store.start_offsets(group)
    if kept is not None:
        return kept
    now = [topic for topic, since in topics.items() if since == "now"]
    knows = getattr(broker, "knows", None)  # a shop's own broker may lack this method
    is_known = (knows is not None and knows(group, topics)) or store.first_handled(group) is not None
    wanted = broker.ends(now) if now and not is_known else {}
    kept = store.pin_start_offsets(group, wanted)
    if not is_known and kept == wanted:
        telemetry.note("group created", group=group, **{f"since {topic}": since for topic, since in topics.items()})
    elif is_known and now:
        telemetry.note("group exists already", group=group, detail='since="now" has no effect', topics=", ".join(now))
    return kept


class LostOffsets:
    """Checks once whether the log has lost the offsets of a group that has handled messages according to its store.

    The group then reads everything again that the log still has. Nothing takes effect twice, because the inbox drops
    the repeats, but an alert is needed: the same cause may have lost messages.
    """

    def __init__(self, store: Store, group: str, subscription: Subscription, telemetry: Telemetry) -> None:
        self._store, self._group, self._subscription, self._telemetry = store, group, subscription, telemetry
        self._is_done = False

    def look(self, now: datetime) -> None:
        """Raise an alert if the offsets are lost; called before each poll until the log knows the group's state."""
        if self._is_done:
            return
        is_new = self._subscription.is_new()
        if is_new is None:
            return
        handled = self._store.first_handled(self._group) if is_new else None
        if handled is not None and handled <= now - SURELY_COMMITTED:
            self._telemetry.count("group_offsets_lost", group=self._group)
            self._telemetry.alert("group offsets are lost", group=self._group, handled_since=handled.isoformat())
        self._is_done = True
