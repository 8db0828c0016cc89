"""How the suites of extensions call an object of a shop's own: with a time limit, from several threads, unchanged input."""

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
    """The answer of a call that ends within `limit_s` seconds; raises what the call raises.

    Fails if the call takes longer. The thread that runs it is a daemon, so a call that hangs doesn't hold up pytest.
    """
    (answer,) = at_once(limit_s, [call])
    return answer


def at_once(limit_s: float, calls: Sequence[Callable[[], T]]) -> list[T]:
    """The answers of calls made at the same time, each on a thread of its own; raises the first error.

    Fails if one of the calls hasn't ended after `limit_s` seconds.
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
    """Fail if a method is missing, or is a coroutine or generator function: `oms` calls methods from its threads."""
    for name in methods:
        found = getattr(extension, name, None)
        where = f"{type(extension).__name__}.{name}"
        assert callable(found), f"{where} is missing: the port has this method"
        kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
        assert not any(kind(found) for kind in kinds), f"{where} must be a plain function, not async or a generator"


@contextmanager
def unchanged(what: str, *given: Any) -> Iterator[None]:
    """Fail if the block changes one of the given values; `what` names them in the message."""
    before = copy.deepcopy(given)
    yield
    assert given == before, f"the call changed the {what} that it got"
