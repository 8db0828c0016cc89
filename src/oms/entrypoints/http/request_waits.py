"""How a request waits: for a blocking read on a few threads, for its command's group, for its key's other request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from oms.engine.command_groups import Command, CommandGroup
from oms.engine.health import ServiceHealth
from oms.entrypoints.http.extension_calls import ExtensionCalls
from oms.entrypoints.http.problems import RETRY_AFTER_S, HttpProblem
from oms.entrypoints.http.reply_queue import ReplyQueue
from oms.ports.errors import OutcomeUnknown, Retryable

T = TypeVar("T")

READERS = 4
MAX_READS = 1000
"""Reads that run or wait; more would only wait longer than their callers do."""

ANSWER_WITHIN_S = 15.0
"""Three times what a command waits for a store that can't be reached: nobody drives the system then."""

IN_FLIGHT_S = 5.0

Name = tuple[str, str, str]
"""Caller, route and idempotency key."""


def _no_alarm(_event: str, **_fields: object) -> None:
    """Tell nobody."""


class Waiting:
    """What the requests of one app wait for.

    `limit_s` is the time limit of one call of a shop's own code, in seconds; `alert` is that of the telemetry;
    `health` notes what isn't called any more.
    """

    def __init__(
        self,
        limit_s: float = ANSWER_WITHIN_S,
        alert: Callable[..., None] = _no_alarm,
        health: ServiceHealth | None = None,
    ) -> None:
        self._limit_s, self._alarm, self._health = min(limit_s, ANSWER_WITHIN_S), alert, health
        self._extensions: dict[str, ExtensionCalls] = {}
        self._readers = ThreadPoolExecutor(READERS, "oms-http")
        self._reads = 0
        self._in_flight: dict[Name, asyncio.Event] = {}
        self._patience: set[asyncio.Timeout] = set()
        self._mailbox: ReplyQueue | None = None

    async def ask(self, group: CommandGroup[Any], command: Command[Any, T]) -> T:
        """The result of a command, once its group has committed."""
        loop, box = asyncio.get_running_loop(), self._mailbox
        if box is None or box.loop is not loop:
            box = self._mailbox = ReplyQueue(loop, ANSWER_WITHIN_S)
        answer: T = await box.answer(partial(group.submit, command))
        return answer

    async def answer(self, future: Future[T]) -> T:
        """The same of a command that was submitted already."""
        try:
            async with self._patient(ANSWER_WITHIN_S):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise OutcomeUnknown("the command wasn't answered in time") from None

    def give_up(self) -> None:
        """The process stops: whoever waits has waited long enough, and is told to come again."""
        if self._mailbox is not None:
            self._mailbox.give_up()
        now = asyncio.get_running_loop().time()
        for patience in self._patience:
            if not patience.expired():
                patience.reschedule(now)

    async def extension(self, name: str, call: Callable[[], T]) -> T:
        """The result of a shop's own code, called on a thread that no read needs; `name` says whose it is."""
        loop, calls = asyncio.get_running_loop(), self._extensions.get(name)
        if calls is None or calls.loop is not loop:
            calls = self._extensions[name] = ExtensionCalls(loop, name, self._limit_s, self._alarm, self._health)
        try:
            async with self._patient(ANSWER_WITHIN_S):
                return await calls.run(call)
        except TimeoutError:
            raise Retryable(f"the {name} took too long") from None

    async def read(self, call: Callable[[], T]) -> T:
        """The result of something that may block, called on a thread."""
        if self._reads >= MAX_READS:
            raise HttpProblem("unavailable", "too many reads are waiting", {"Retry-After": str(RETRY_AFTER_S)})
        self._reads += 1
        future = asyncio.get_running_loop().run_in_executor(self._readers, call)
        future.add_done_callback(self._read_ended)
        try:
            async with self._patient(ANSWER_WITHIN_S):
                return await future
        except TimeoutError:
            raise Retryable("a read took too long") from None

    @asynccontextmanager
    async def turn(self, name: Name) -> AsyncIterator[str]:
        """The block in which a request has its key alone; another one with it that is under way is waited for."""
        await self._alone(name)
        done = self._in_flight[name] = asyncio.Event()
        try:
            yield name[-1]
        finally:
            del self._in_flight[name]
            done.set()

    async def _alone(self, key: Name) -> None:
        if key not in self._in_flight:
            return
        try:
            async with self._patient(IN_FLIGHT_S):
                while (other := self._in_flight.get(key)) is not None:
                    await other.wait()
        except TimeoutError:
            detail = "a request with this Idempotency-Key is still under way"
            raise HttpProblem("request_in_flight", detail, {"Retry-After": str(RETRY_AFTER_S)}) from None

    @asynccontextmanager
    async def _patient(self, seconds: float) -> AsyncIterator[None]:
        async with asyncio.timeout(seconds) as patience:
            self._patience.add(patience)
            try:
                yield
            finally:
                self._patience.remove(patience)

    def _read_ended(self, _future: Awaitable[object]) -> None:
        self._reads -= 1
