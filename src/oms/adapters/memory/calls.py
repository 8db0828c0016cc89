"""Calls to the outside, made one after the other by whoever submits them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oms.adapters.memory.hooks import Hooks, Point, no_point, nobody_else, port_call
from oms.ports.calls import Calls, Ended, Token
from oms.ports.errors import Permanent


class SequentialCalls(Calls[Token]):
    """Runs each call at once, in the caller; the ends are collected in the order of submission."""

    def __init__(self, limit: int = 32, *, point: Point = no_point) -> None:
        self._limit = limit
        self._ended: list[Ended[Token]] = []
        self._closed = False
        self._hooks = Hooks("calls", "", point, nobody_else, ())

    def room(self) -> int:
        """How many more calls can be submitted before their ends are collected."""
        return 0 if self._closed else self._limit - len(self._ended)

    @port_call
    def submit(self, token: Token, call: Callable[[], object]) -> None:
        """Make the call now and keep its answer, or what it raised."""
        if self.room() <= 0:
            raise Permanent("no room for another call: ask for room() first")
        try:
            self._ended.append(Ended(token, call()))
        except Exception as error:  # noqa: BLE001 - whatever a gateway raises is an end like any other
            self._ended.append(Ended(token, error=error))

    @port_call
    def collect(self) -> Sequence[Ended[Token]]:
        """The ends since the last time."""
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Take no more calls."""
        self._closed = True
