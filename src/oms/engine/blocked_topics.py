"""Topics for which the broker accepts no messages at present: each has a back-off of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import attrs

from oms.domain.text import storable_text
from oms.engine.health import OPENS_AFTER, OPENS_AFTER_S, Condition, ServiceHealth
from oms.engine.retries import LONGEST_S, next_try
from oms.ports.clock import Clock
from oms.ports.errors import PortError
from oms.ports.stores.rows import OutboxRow
from oms.ports.telemetry import Telemetry

MAX_HELD = 100
"""Rows that wait in memory for one blocked topic; the sweeper claims further ones once their lease has expired."""

MAX_TOPICS = 100
"""Topics that are tracked at once, so that no more rows are held than `relay.QUEUE_LIMIT`.

A step may publish to any number of topics. Refused rows of others wait for the sweeper.
"""


@attrs.define
class Blocked:
    """A topic whose last batch failed. Times are steady time; `rows` wait for the next try.

    `trial` is true after one row was accepted: all rows are sent again, and if they succeed the topic recovers.
    Otherwise a topic with some unreachable partitions would count as recovered at every try.
    """

    since: datetime
    due_at: datetime
    tried_at: datetime
    error: str
    failures: int = 1
    trial: bool = False
    alerted: bool = False
    rows: deque[OutboxRow] = attrs.field(factory=deque)


class BlockedTopics:
    """The blocked topics of one relay. False while there are none.

    A blocked topic is tried with one row, after 0.25 s, then twice as long each time, up to a minute.
    """

    def __init__(self, group: str, clock: Clock, telemetry: Telemetry, health: ServiceHealth) -> None:
        self._group, self._clock, self._telemetry, self._health = group, clock, telemetry, health
        self._topics: dict[str, Blocked] = {}

    def __bool__(self) -> bool:
        return bool(self._topics)

    def waiting(self, now: datetime) -> Sequence[str]:
        """Return the topics of which no row is to be claimed at present."""
        return [topic for topic, one in self._topics.items() if now < one.due_at]

    def next_due(self) -> datetime | None:
        """Return when the next topic is tried again, in steady time."""
        return min((one.due_at for one in self._topics.values()), default=None)

    def wants_look(self, now: datetime) -> bool:
        """Whether a topic is due and no row of it is in memory."""
        return any(one.due_at <= now and not one.rows for one in self._topics.values())

    def take_due(self, now: datetime, leased_after: datetime) -> list[OutboxRow]:
        """Return the first row of each due topic, or all rows of one on trial, if leased beyond `leased_after`."""
        taken: list[OutboxRow] = []
        for one in self._topics.values():
            if one.due_at > now:
                continue
            while one.rows and not _is_leased(one.rows[0], leased_after):
                one.rows.popleft()
            taken += [one.rows.popleft() for _ in range(len(one.rows) if one.trial else min(1, len(one.rows)))]
        return taken

    def admit(self, rows: Iterable[OutboxRow], now: datetime, trying: Iterable[OutboxRow] = ()) -> list[OutboxRow]:
        """The rows that may be sent; holds those of blocked topics, but for one row of each that is due.

        `trying` are rows that are sent as well.
        """
        tried, admitted = {row.message.topic for row in trying}, []
        for row in rows:
            one = self._topics.get(row.message.topic)
            if one is None or (one.due_at <= now and (one.trial or row.message.topic not in tried)):
                admitted.append(row)
                tried.add(row.message.topic)
            else:
                _hold(one, [row])
        return admitted

    def looked(self, now: datetime, rows: Iterable[OutboxRow]) -> None:
        """Note the rows that the store has of all topics that were due.

        A topic without any is postponed, and forgotten after a minute: another process may have sent its rows.
        """
        found = {row.message.topic for row in rows}
        for topic, one in list(self._topics.items()):
            if one.due_at > now or one.rows or topic in found:
                continue
            if one.trial or now - one.tried_at >= timedelta(seconds=LONGEST_S):
                self._end(topic)
            else:
                one.due_at = next_try(now, one.failures)

    def failed(self, topic: str, error: PortError, rows: Iterable[OutboxRow]) -> None:
        """A batch of a topic failed; `rows` were not accepted. The first failure is logged, an alert follows."""
        now, one = self._clock.steady(), self._topics.get(topic)
        if one is None:
            if len(self._topics) >= MAX_TOPICS:
                return
            one = self._topics[topic] = Blocked(now, next_try(now, 1), now, storable_text(error))
            fields = {"group": self._group, "topic": topic, "next_try_at": next_try(self._clock.now(), 1).isoformat()}
            self._telemetry.failure("topic can't be written", error, **fields)
        else:
            one.failures, one.trial, one.tried_at, one.error = one.failures + 1, False, now, storable_text(error)
            one.due_at = next_try(now, one.failures)
        _hold(one, rows, first=True)
        detail = f"messages of the topic {topic!r} can't be sent ({one.error})"
        self._health.failed(Condition.OUTBOX_BLOCKED, topic, detail)
        if not one.alerted and self._needs_alert(one):
            one.alerted = True
            fields = {"group": self._group, "topic": topic, "failures": str(one.failures), "cause": one.error}
            self._telemetry.alert("messages of a topic can't be sent", **fields)

    def succeeded(self, topic: str) -> None:
        """A batch of a topic was accepted; the others are then tried at once, as the whole broker may be back."""
        one = self._topics.get(topic)
        if one is None:
            return
        if one.rows and not one.trial:
            one.trial, one.due_at = True, self._clock.steady()
        else:
            self._end(topic)
        now = self._clock.steady()
        for other in self._topics.values():
            other.due_at = min(other.due_at, now)

    def give_up(self) -> Sequence[OutboxRow]:
        """Return the rows that are held here, and hold them no longer."""
        held = [row for one in self._topics.values() for row in one.rows]
        for one in self._topics.values():
            one.rows.clear()
        return held

    def state(self) -> Sequence[tuple[str, datetime, int, Sequence[str]]]:
        """Topic, due time, failures and topics of the held rows, for comparisons of two relays."""
        return [(topic, one.due_at, one.failures, len(one.rows) * (topic,)) for topic, one in self._topics.items()]

    def _needs_alert(self, one: Blocked) -> bool:
        waited = self._clock.steady() - one.since >= timedelta(seconds=OPENS_AFTER_S)
        return one.failures >= OPENS_AFTER or waited

    def _end(self, topic: str) -> None:
        failures = self._topics.pop(topic).failures
        self._health.succeeded(Condition.OUTBOX_BLOCKED, topic)
        self._telemetry.note("topic can be written again", group=self._group, topic=topic, failures=failures)


def _hold(one: Blocked, rows: Iterable[OutboxRow], *, first: bool = False) -> None:
    room = list(rows)[: max(0, MAX_HELD - len(one.rows))]
    if first:
        one.rows.extendleft(reversed(room))
    else:
        one.rows.extend(room)


def _is_leased(row: OutboxRow, after: datetime) -> bool:
    return row.leased_until is not None and row.leased_until > after
