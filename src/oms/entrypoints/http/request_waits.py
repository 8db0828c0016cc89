"""The waits of a request: for a read, a call of an extension, its command's reply, or a request with the same key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeVar

from oms.application.use_cases.requests import RequestContext, Submit
from oms.engine.health import ServiceHealth
from oms.entrypoints.http.extension_calls import ExtensionCalls
from oms.entrypoints.http.problems import RETRY_AFTER_S, HttpProblem
from oms.entrypoints.http.reply_queue import ReplyQueue
from oms.entrypoints.http.request import Request
from oms.ports.errors import Retryable
from oms.ports.extensions import Principal

T = TypeVar("T")

READERS = 4
MAX_READS = 1000
"""Most reads that run or wait for a thread. A read behind more than these would exceed the request's time limit."""

REPLY_WITHIN_S = 15.0
"""Seconds for which a request waits for its command's reply: three times as long as a command group retries a store
that can't be reached. A later reply means that no thread runs the group."""

IN_FLIGHT_S = 5.0

RequestName = tuple[str, str, str]
"""Caller's scope, route and idempotency key."""


def _no_alert(_event: str, **_fields: object) -> None:
    """Do nothing."""


class RequestWaits:
    """Bounded waits for the requests of one app.

    `limit_s` is the time limit of one call of a shop's own code, in seconds; `alert` is that of the telemetry;
    `health` records an extension that isn't called any more.
    """

    def __init__(
        self,
        limit_s: float = REPLY_WITHIN_S,
        alert: Callable[..., None] = _no_alert,
        health: ServiceHealth | None = None,
    ) -> None:
        self._limit_s, self._alert, self._health = min(limit_s, REPLY_WITHIN_S), alert, health
        self._extensions: dict[str, ExtensionCalls] = {}
        self._readers = ThreadPoolExecutor(READERS, "oms-http")
        self._reads = 0
        self._in_flight: dict[RequestName, asyncio.Event] = {}
        self._timeouts: set[asyncio.Timeout] = set()
        self._replies: ReplyQueue | None = None

    async def reply(self, submit: Submit) -> Any:
        """Submit a command, and return its result after the commit; raises `OutcomeUnknown` after `REPLY_WITHIN_S`."""
        loop, replies = asyncio.get_running_loop(), self._replies
        if replies is None or replies.loop is not loop:
            replies = self._replies = ReplyQueue(loop, REPLY_WITHIN_S)
        return await replies.reply_to(submit)

    def give_up(self) -> None:
        """End all waits, because the process stops: the waiting requests fail with an error that allows a repeat."""
        if self._replies is not None:
            self._replies.give_up()
        now = asyncio.get_running_loop().time()
        for timeout in self._timeouts:
            if not timeout.expired():
                timeout.reschedule(now)

    async def extension(self, name: str, call: Callable[[], T]) -> T:
        """Call a shop's own code on a thread that isn't a reader thread, and return its result.

        `name` names the extension in errors and alerts. Raises `Retryable` after `REPLY_WITHIN_S`.
        """
        loop, calls = asyncio.get_running_loop(), self._extensions.get(name)
        if calls is None or calls.loop is not loop:
            calls = self._extensions[name] = ExtensionCalls(loop, name, self._limit_s, self._alert, self._health)
        try:
            async with self._timeout(REPLY_WITHIN_S):
                return await calls.run(call)
        except TimeoutError:
            raise Retryable(f"the {name} took too long") from None

    async def read(self, call: Callable[[], T]) -> T:
        """Run a blocking call on a reader thread, and return its result; raises `Retryable` after `REPLY_WITHIN_S`."""
        if self._reads >= MAX_READS:
            raise HttpProblem("unavailable", "too many reads are waiting", {"Retry-After": str(RETRY_AFTER_S)})
        self._reads += 1
        future = asyncio.get_running_loop().run_in_executor(self._readers, call)
        future.add_done_callback(self._read_ended)
        try:
            async with self._timeout(REPLY_WITHIN_S):
                return await future
        except TimeoutError:
            raise Retryable("a read took too long") from None

    def context(self, request: Request, caller: Principal, route: str) -> AbstractAsyncContextManager[RequestContext]:
        """Return a context manager that yields the context of a request.

        Within its block, no other request of this caller and route holds the same idempotency key.
        """
        context = RequestContext(caller, request.headers.get("idempotency-key"), request.trace)
        return nullcontext(context) if context.key is None else self.turn(context, route)

    @asynccontextmanager
    async def turn(self, context: RequestContext, route: str) -> AsyncIterator[RequestContext]:
        """Wait until no other request holds the request's idempotency key, and hold it within the block.

        Raises `HttpProblem` if another request holds the key for longer than `IN_FLIGHT_S` seconds.
        """
        name = (context.caller.scope, route, context.key or "")
        await self._wait_for_key(name)
        done = self._in_flight[name] = asyncio.Event()
        try:
            yield context
        finally:
            del self._in_flight[name]
            done.set()

    async def _wait_for_key(self, name: RequestName) -> None:
        if name not in self._in_flight:
            return
        try:
            async with self._timeout(IN_FLIGHT_S):
                while (other := self._in_flight.get(name)) is not None:
                    await other.wait()
        except TimeoutError:
            detail = "a request with this Idempotency-Key is still under way"
            raise HttpProblem("request_in_flight", detail, {"Retry-After": str(RETRY_AFTER_S)}) from None

    @asynccontextmanager
    async def _timeout(self, seconds: float) -> AsyncIterator[None]:
        async with asyncio.timeout(seconds) as timeout:
            self._timeouts.add(timeout)
            try:
                yield
            finally:
                self._timeouts.remove(timeout)

    def _read_ended(self, _future: Awaitable[object]) -> None:
        self._reads -= 1
