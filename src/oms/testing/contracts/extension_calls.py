"""How the suites call a shop's extension: with a time limit, from several threads, with unchanged arguments."""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

THREADS = 8


def within(limit_s: float, call: Callable[[], T]) -> T:
    """Return the result of a call, or raise its exception; fail if the call takes longer than `limit_s` seconds.

    A daemon thread runs the call, so a call that hangs doesn't keep pytest from ending.
    """
    (answer,) = at_once(limit_s, [call])
    return answer


def at_once(limit_s: float, calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make calls at the same time, each on its own thread, and return their results; raise the first error.

    Fail if a call hasn't ended after `limit_s` seconds.
    """
    answers: dict[int, T] = {}
    errors: dict[int, BaseException] = {}
    barrier = threading.Barrier(len(calls))

    def run(number: int) -> None:
        barrier.wait()
        try:
            answers[number] = calls[number]()
        except BaseException as error:  # noqa: BLE001 - raised again on the thread of the test
            errors[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit_s)
        assert not thread.is_alive(), f"the call hasn't ended after {limit_s:g} s; give it a time limit of its own"
    for number in sorted(errors):
        raise errors[number]
    return [answers[number] for number in range(len(calls))]


def assert_plain(extension: object, *methods: str) -> None:
    """Fail if a method is missing or is a coroutine or generator function: `oms` calls extensions synchronously."""
    for name in methods:
        found = getattr(extension, name, None)
        where = f"{type(extension).__name__}.{name}"
        assert callable(found), f"{where} is missing: the port has this method"
        kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
        assert not any(kind(found) for kind in kinds), f"{where} must be a plain function, not async or a generator"


@contextmanager
def unchanged(what: str, *given: Any) -> Iterator[None]:
    """Fail if the `with` block changes one of the given values; `what` names them in the message."""
    before = copy.deepcopy(given)
    yield
    assert given == before, f"the call changed the {what} that it got"
