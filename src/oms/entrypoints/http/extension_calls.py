"""Runs a shop's own code (authenticator, pricing, policy) for requests; a hanging call blocks no other request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from oms.engine.health import Condition, ServiceHealth
from oms.ports.call_executor import CallAbandoned
from oms.ports.errors import Retryable
from oms.runtime.call_executor import ThreadPoolCallExecutor

T = TypeVar("T")

THREADS = 16
MOST_HUNG = 16
"""Number of abandoned calls that haven't returned at which requests that need a call get 503."""

MAX_WAITING = 1000
"""Most calls that wait for a thread. A call behind more than these would exceed the time limit of its request."""

LOOK_EVERY_S = 0.1
"""Seconds between two checks for calls that have exceeded their time limit."""

_Queued = tuple["asyncio.Future[Any]", Callable[[], Any]]


class ExtensionCalls:
    """The calls of one extension for the requests of one event loop. Only that loop's thread uses this object."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        limit_s: float,
        alert: Callable[..., None],
        health: ServiceHealth | None = None,
    ) -> None:
        self.loop, self.name, self._health = loop, name, health
        self._alert, self._alerted = alert, False
        self._calls: ThreadPoolCallExecutor[asyncio.Future[Any]] = ThreadPoolCallExecutor(
            THREADS, self._wake, limit_s=limit_s, most_hung=MOST_HUNG
        )
        self._waiting: deque[_Queued] = deque()
        self._open = 0
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """Run `call` on a thread and return its result; raises `Retryable` if it takes too long or can't start now."""
        if self._calls.blocked() or len(self._waiting) >= MAX_WAITING:
            raise Retryable(f"the {self.name} can't be called now: too many calls are under way")
        future: asyncio.Future[T] = self.loop.create_future()
        self._waiting.append((future, call))
        self._open += 1
        self._fill()
        self._keep_looking()
        try:
            return await future
        finally:
            self._open -= 1

    def _wake(self) -> None:
        """Have the loop collect an ended call; called on the call's thread."""
        with suppress(RuntimeError):  # the loop is closed, so no request waits
            self.loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        for ended in self._calls.collect():
            if ended.token.done():  # the client has disconnected, or the request gave up
                continue
            if ended.error is None:
                ended.token.set_result(ended.answer)
            else:
                ended.token.set_exception(_error_for(self.name, ended.error))
        self._watch()
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._calls.room():
            future, call = self._waiting.popleft()
            if not future.done():
                self._calls.submit(future, call)

    def _watch(self) -> None:
        """When calls become blocked, alert once and fail the requests that wait for one."""
        if not self._calls.blocked():
            if self._alerted and self._health is not None:
                self._health.succeeded(Condition.CALLS_BLOCKED, self.name)
            self._alerted = False
            return
        if not self._alerted:
            self._alerted = True
            self._alert("calls blocked", extension=self.name, abandoned=MOST_HUNG)
            detail = f"{self.name}: {MOST_HUNG} abandoned calls haven't returned; no further one is made until some do"
            if self._health is not None:
                self._health.failed(Condition.CALLS_BLOCKED, self.name, detail, opens_after=1)
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(Retryable(f"the {self.name} can't be called now"))

    def _keep_looking(self) -> None:
        if self._timer is None and self._open:
            self._timer = self.loop.call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._timer = None
        self._collect()
        self._keep_looking()


def _error_for(name: str, error: Exception) -> Exception:
    """Return the error for the request: `Retryable` for an abandoned call, because nothing has happened yet."""
    return Retryable(f"the {name} took too long") if isinstance(error, CallAbandoned) else error
