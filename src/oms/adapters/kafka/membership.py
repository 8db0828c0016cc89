"""Whether a member is in its group, according to librdkafka's errors and statistics.

An error is reported once, or repeatedly while librdkafka retries. That the group has accepted the member shows only in
the statistics, once a second. So an error begins a refusal, and only the statistics end it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

JOINS_WITHIN_S = 30.0
"""Time in seconds after which a member that isn't in its group counts as refused, even without an error. A rebalance
waits for the slowest member of the group."""

STEADY_STATISTICS = 2
"""Statistics in a row that must show the member in its group to end a refusal."""


class _Group(msgspec.Struct):
    state: str = ""
    join_state: str = ""


class _Statistics(msgspec.Struct):
    cgrp: _Group | None = None


_decode = msgspec.json.Decoder(_Statistics).decode


class Membership:
    """The membership of one member; used on the thread that polls."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._outside_since = now_s()
        self._has_ended = False
        self._steady = 0
        """Statistics in a row that show the member in its group, without an error in between."""
        self.refusal: str | None = None
        """Why the group refuses this member; None if it is a member, or may become one soon."""

    def refuse(self, reason: str) -> None:
        """The group refused the member, or one of its heartbeats."""
        self.refusal, self._steady = reason, 0

    def fail(self, reason: str) -> None:
        """The client can't be used any more because of this error."""
        self.refusal, self._has_ended = reason, True

    def begin(self) -> None:
        """A new client joins; the refusal of the last one remains until the group accepts this one."""
        self._has_ended = False

    def end(self) -> None:
        """The client was closed; its later statistics are ignored."""
        self._has_ended = True

    def note_statistics(self, text: str) -> None:
        """Read the statistics of one second. A callback of librdkafka: it must not raise."""
        if self._has_ended:
            return
        try:
            group = _decode(text).cgrp
        except msgspec.MsgspecError:
            return
        if group is None:
            return
        is_member = group.state == "up" and group.join_state == "steady"
        self._steady = self._steady + 1 if is_member else 0
        if is_member:  # librdkafka still says so for some time after the group has refused its heartbeats
            self._outside_since = self._now_s()
            self.refusal = None if self._steady >= STEADY_STATISTICS else self.refusal
        elif self.refusal is None and (waited_s := self._now_s() - self._outside_since) > JOINS_WITHIN_S:
            self.refusal = f"not a member for {waited_s:.0f} s (coordinator {group.state}, {group.join_state})"
