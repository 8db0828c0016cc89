"""Runs external calls one after the other, in the thread that submits them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta

from oms.adapters.memory.call_hooks import CallHooks, Point, no_point, port_call, raise_deadlock
from oms.ports.call_executor import CallAbandoned, CallExecutor, Ended, Token
from oms.ports.clock import Clock
from oms.ports.errors import Permanent


class SequentialCallExecutor(CallExecutor[Token]):
    """Runs each call during `submit`; `collect` returns the results in the order of submission.

    With a clock, a call that takes more than `limit_s` seconds by that clock ends as `CallAbandoned`.
    """

    def __init__(
        self, limit: int = 32, *, point: Point = no_point, clock: Clock | None = None, limit_s: float = math.inf
    ) -> None:
        self._limit = limit
        self._clock, self._limit_s = clock, limit_s
        self._ended: list[Ended[Token]] = []
        self._closed = False
        self._hooks = CallHooks("calls", "", point, raise_deadlock, ())

    def room(self) -> int:
        return 0 if self._closed else self._limit - len(self._ended)

    @port_call
    def submit(self, token: Token, call: Callable[[], object]) -> None:
        """Make the call now, and keep its result or its error."""
        if self.room() <= 0:
            raise Permanent("no room for another call: ask for room() first")
        began = self._clock.steady() if self._clock else None
        try:
            ended = Ended(token, call())
        except Exception as error:  # noqa: BLE001 - every error of a gateway is a result of the call
            ended = Ended(token, error=error)
        if self._clock and began and self._clock.steady() - began > timedelta(seconds=min(self._limit_s, 1e9)):
            ended = Ended(token, error=CallAbandoned(f"no answer within {self._limit_s:g} s"))
        self._ended.append(ended)

    @port_call
    def collect(self) -> Sequence[Ended[Token]]:
        ended, self._ended = self._ended, []
        return ended

    def uncollected(self) -> int:
        """How many ended calls `collect` would return."""
        return len(self._ended)

    def close(self) -> None:
        self._closed = True
