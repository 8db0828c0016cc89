"""Passes the replies of a command group from its thread to the requests that wait on an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any

from oms.application.use_cases.requests import Submit
from oms.ports.errors import OutcomeUnknown

LOOK_EVERY_S = 1.0
"""Seconds between two checks for requests that have waited too long."""


class ReplyQueue:
    """The replies for one event loop. The replies of one group wake the loop once; one timer serves all requests.

    A future from another thread, a timer and a wake-up for each request took a quarter of the request's time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, within_s: float) -> None:
        self.loop, self._within_s = loop, within_s
        self._arrived: deque[tuple[asyncio.Future[Any], object, Exception | None]] = deque()
        self._wakes_up = False
        """Whether a call of `_hand_out` is already scheduled on the loop."""

        self._open: dict[asyncio.Future[Any], float] = {}
        """The waiting requests, with the loop time at which each gives up; the longest waiting first."""

        self._timer: asyncio.TimerHandle | None = None

    async def reply_to(self, submit: Submit) -> Any:
        """Submit a command and return its result; raises `OutcomeUnknown` if no reply comes in time."""
        future: asyncio.Future[Any] = self.loop.create_future()
        self._open[future] = self.loop.time() + self._within_s
        if self._timer is None:
            self._timer = self.loop.call_later(LOOK_EVERY_S, self._look)
        try:
            submit(partial(self._put, future))
            return await future
        finally:
            del self._open[future]

    def give_up(self, due: float = float("inf")) -> None:
        """Fail the requests whose time limit ends at or before `due` (the loop's time); by default all."""
        for future, until in self._open.items():
            if until <= due and not future.done():
                future.set_exception(OutcomeUnknown("the command wasn't answered in time"))

    def _put(self, future: asyncio.Future[Any], value: object, error: Exception | None) -> None:
        """Add a reply, on any thread. `_hand_out` resets the flag before it empties the queue, so it misses none."""
        self._arrived.append((future, value, error))
        if not self._wakes_up:
            self._wakes_up = True
            with suppress(RuntimeError):  # the loop is closed, so no request waits
                self.loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        self._wakes_up = False
        while self._arrived:
            future, value, error = self._arrived.popleft()
            if future.done():  # the client has disconnected, or the request gave up
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)

    def _look(self) -> None:
        self.give_up(self.loop.time())
        self._timer = self.loop.call_later(LOOK_EVERY_S, self._look) if self._open else None
