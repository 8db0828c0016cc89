"""Whether a member is in its group, by what librdkafka's errors and statistics say.

An error comes once, or again and again, as librdkafka retries; that the group has taken the member comes in its
statistics alone, once a second. So an error makes the refusal, and only the statistics end it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

JOINS_WITHIN_S = 30.0
"""How long a member may wait for its group without a reason; a rebalance waits for the slowest member of the group."""


SURE = 2
"""Statistics in a row that end a refusal."""


class _Group(msgspec.Struct):
    state: str = ""
    join_state: str = ""


class _Statistics(msgspec.Struct):
    cgrp: _Group | None = None


_decode = msgspec.json.Decoder(_Statistics).decode


class Membership:
    """One member's, on the thread that polls."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._outside_since = now_s()
        self._has_ended = False
        self._steady = 0
        """Statistics in a row that show the member in its group, without an error in between."""
        self.refusal: str | None = None
        """Why the group doesn't have this member; None where it has, or may have soon."""

    def refuse(self, reason: str) -> None:
        """The group refused the member, or one of its heartbeats."""
        self.refusal, self._steady = reason, 0

    def fail(self, reason: str) -> None:
        """The client is at its end by this error."""
        self.refusal, self._has_ended = reason, True

    def begin(self) -> None:
        """A new client joins; what refused the last one stays until the group has this one."""
        self._has_ended = False

    def end(self) -> None:
        """The client is closed: its statistics say nothing any more."""
        self._has_ended = True

    def note_statistics(self, text: str) -> None:
        """A callback of librdkafka: nothing may be raised here."""
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
        if is_member:  # librdkafka believes so for some time after the group has refused its heartbeats
            self._outside_since = self._now_s()
            self.refusal = None if self._steady >= SURE else self.refusal
        elif self.refusal is None and (waited_s := self._now_s() - self._outside_since) > JOINS_WITHIN_S:
            self.refusal = f"not a member for {waited_s:.0f} s (coordinator {group.state}, {group.join_state})"
