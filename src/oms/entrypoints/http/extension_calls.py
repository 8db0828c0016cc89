"""Runs a shop's own code (authenticator, pricing, policy) for requests, so that a call that hangs locks nobody out."""

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
"""Abandoned calls that may be waited for; while there are so many, requests that need a call are answered 503."""

MAX_WAITING = 1000
"""Calls that wait for a thread; more would only wait longer than their callers do."""

LOOK_EVERY_S = 0.1
"""How often to look for calls that have outlasted their limit."""

_Asked = tuple["asyncio.Future[Any]", Callable[[], Any]]


class ExtensionCalls:
    """The calls of one kind of code for the requests of one event loop. Only that loop's thread uses this object."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        limit_s: float,
        alert: Callable[..., None],
        health: ServiceHealth | None = None,
    ) -> None:
        self.loop, self.name, self._health = loop, name, health
        self._alarm, self._alarmed = alert, False
        self._calls: ThreadPoolCallExecutor[asyncio.Future[Any]] = ThreadPoolCallExecutor(
            THREADS, self._wake, limit_s=limit_s, most_hung=MOST_HUNG
        )
        self._waiting: deque[_Asked] = deque()
        self._open = 0
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns; `Retryable` where it takes longer than the limit, or can't be made now."""
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
        """A call has ended; on its thread."""
        with suppress(RuntimeError):  # the loop is closed, and no request waits any more
            self.loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        for ended in self._calls.collect():
            if ended.token.done():  # its caller went away
                continue
            if ended.error is None:
                ended.token.set_result(ended.answer)
            else:
                ended.token.set_exception(_told(self.name, ended.error))
        self._watch()
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._calls.room():
            future, call = self._waiting.popleft()
            if not future.done():
                self._calls.submit(future, call)

    def _watch(self) -> None:
        """Alert once where calls are blocked, and refuse the requests that wait for one."""
        if not self._calls.blocked():
            if self._alarmed and self._health is not None:
                self._health.succeeded(Condition.CALLS_BLOCKED, self.name)
            self._alarmed = False
            return
        if not self._alarmed:
            self._alarmed = True
            self._alarm("calls blocked", extension=self.name, abandoned=MOST_HUNG)
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


def _told(name: str, error: Exception) -> Exception:
    """Nothing has happened where this code didn't answer, so its request may be sent again."""
    return Retryable(f"the {name} took too long") if isinstance(error, CallAbandoned) else error
