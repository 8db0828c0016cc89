"""Hooks for a simulator: before and after each port call, while a call waits for a lock, and when a worker dies.

The simulator runs each worker in a greenlet and switches to another one in the hooks `point` and `blocked`, and only
there. It injects a fault by raising in a hook: before a call, so that the call has no effect, or after it, so that the
call took effect and only its result is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import wraps
from typing import ClassVar, Concatenate, ParamSpec, Protocol, TypeVar

import attrs

Point = Callable[[str], None]
Blocked = Callable[[str], None]


class WorkerKilled(BaseException):
    """The worker is dead: none of its later calls reaches a store, a log or a gate.

    Not an `Exception`, so that no `except Exception` handles the death of its own process.
    """


def no_point(_place: str) -> None:
    """The hook of an adapter without a simulator."""


def raise_deadlock(what: str) -> None:
    """The hook of an adapter without other workers, where a wait would never end."""
    raise RuntimeError(f"deadlock: no other worker can run while {what} is awaited")


class PointNames(dict[str, tuple[str, str]]):
    """The names of the two points of each call of an adapter, built once: a search has millions of calls."""

    _known: ClassVar[dict[str, PointNames]] = {}

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    @classmethod
    def of(cls, prefix: str) -> PointNames:
        """The names of an adapter, which all workers share."""
        return cls._known.setdefault(prefix, cls(prefix))

    def __missing__(self, call: str) -> tuple[str, str]:
        names = self[call] = (f"{self._prefix}.{call}:before", f"{self._prefix}.{call}:after")
        return names


@attrs.frozen
class CallHooks:
    """The hooks of one worker at one adapter. `dead` is shared by all workers of that adapter."""

    prefix: str
    owner: str
    point: Point
    blocked: Blocked
    dead: Container[str]
    _names: PointNames = attrs.field(
        init=False, default=attrs.Factory(lambda self: PointNames.of(self.prefix), takes_self=True)
    )

    def check(self) -> None:
        """Raise `WorkerKilled` if the worker is dead."""
        if self.owner in self.dead:
            raise WorkerKilled(self.owner)

    def before(self, call: str) -> None:
        """The point before a call."""
        self.check()
        self.point(self._names[call][0])
        self.check()

    def after(self, call: str) -> None:
        """The point after a call took effect, before it returns."""
        self.point(self._names[call][1])
        self.check()


class _HasHooks(Protocol):
    _hooks: CallHooks


Self_ = TypeVar("Self_", bound=_HasHooks)
P = ParamSpec("P")
R = TypeVar("R")


def port_call(method: Callable[Concatenate[Self_, P], R]) -> Callable[Concatenate[Self_, P], R]:
    """Decorates a method of a port with a point before the call and one after it."""
    name = method.__name__

    @wraps(method)
    def call(self: Self_, /, *args: P.args, **kwargs: P.kwargs) -> R:
        hooks = self._hooks
        if hooks.point is no_point:  # no hook runs, so a worker that is alive before the call is alive after it
            hooks.check()
            return method(self, *args, **kwargs)
        hooks.before(name)
        answer = method(self, *args, **kwargs)
        hooks.after(name)
        return answer

    return call
