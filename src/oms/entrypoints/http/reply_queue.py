"""Where the answers of a group's commands come in, on its thread, for the requests that wait on an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from oms.engine.command_groups import Reply
from oms.ports.errors import OutcomeUnknown

LOOK_EVERY_S = 1.0
"""How often to look for requests that have waited for too long."""


class ReplyQueue:
    """The answers for one loop. A group's come together and wake the loop once; one timer serves all that wait.

    A future of another thread, a timer and a wake-up for each request took a quarter of its time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, within_s: float) -> None:
        self.loop, self._within_s = loop, within_s
        self._arrived: deque[tuple[asyncio.Future[Any], object, Exception | None]] = deque()
        self._rung = False
        self._open: dict[asyncio.Future[Any], float] = {}
        """Who waits, and until when; the longest waiting first."""
        self._timer: asyncio.TimerHandle | None = None

    async def answer(self, submit: Callable[[Reply], None]) -> Any:
        """What the reply that `submit` takes along is called with; `OutcomeUnknown` where it isn't in time."""
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
        """Whoever waits until then, in the loop's time, has waited for long enough."""
        for future, until in self._open.items():
            if until <= due and not future.done():
                future.set_exception(OutcomeUnknown("the command wasn't answered in time"))

    def _put(self, future: asyncio.Future[Any], value: object, error: Exception | None) -> None:
        """On any thread. Who finds that it rang already is seen: the bell is taken down before the box is emptied."""
        self._arrived.append((future, value, error))
        if not self._rung:
            self._rung = True
            with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                self.loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        self._rung = False
        while self._arrived:
            future, value, error = self._arrived.popleft()
            if future.done():  # its caller went away
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)

    def _look(self) -> None:
        self.give_up(self.loop.time())
        self._timer = self.loop.call_later(LOOK_EVERY_S, self._look) if self._open else None
