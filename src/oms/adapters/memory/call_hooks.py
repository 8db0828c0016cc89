"""Where a simulator gets in: before and after each port call, while a call waits, and when a worker dies.

Nothing else yields. A simulator that runs each worker in a greenlet switches to another one inside of `point`
and `blocked`; a fault is an exception raised there. Raised before a call, nothing happened; raised after it, the
call took effect and only its answer is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import wraps
from typing import ClassVar, Concatenate, ParamSpec, Protocol, TypeVar

import attrs

Point = Callable[[str], None]
Blocked = Callable[[str], None]


class WorkerKilled(BaseException):
    """The worker is dead: nothing that it still does reaches a store, a log or a gate.

    Not an `Exception`, because no handler may take the death of its own process for a failure to be handled.
    """


def no_point(_place: str) -> None:
    """Yield to nobody."""


def raise_deadlock(what: str) -> None:
    """Waiting where nobody else can run would last for ever."""
    raise RuntimeError(f"deadlock: no other worker can run while {what} is awaited")


class PointNames(dict[str, tuple[str, str]]):
    """Both names of each call of an adapter, made once: a search has millions of calls."""

    _known: ClassVar[dict[str, PointNames]] = {}

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    @classmethod
    def of(cls, prefix: str) -> PointNames:
        """Those of an adapter, shared by all workers."""
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
        """Raise where the worker is dead."""
        if self.owner in self.dead:
            raise WorkerKilled(self.owner)

    def before(self, call: str) -> None:
        """A call is about to be made."""
        self.check()
        self.point(self._names[call][0])
        self.check()

    def after(self, call: str) -> None:
        """A call took effect, and its answer is on the way."""
        self.point(self._names[call][1])
        self.check()


class _Hooked(Protocol):
    _hooks: CallHooks


Self_ = TypeVar("Self_", bound=_Hooked)
P = ParamSpec("P")
R = TypeVar("R")


def port_call(method: Callable[Concatenate[Self_, P], R]) -> Callable[Concatenate[Self_, P], R]:
    """A method of a port: a point before it and one after it."""
    name = method.__name__

    @wraps(method)
    def call(self: Self_, /, *args: P.args, **kwargs: P.kwargs) -> R:
        hooks = self._hooks
        if hooks.point is no_point:  # nobody gets in, so who is alive before it is alive after it
            hooks.check()
            return method(self, *args, **kwargs)
        hooks.before(name)
        answer = method(self, *args, **kwargs)
        hooks.after(name)
        return answer

    return call
