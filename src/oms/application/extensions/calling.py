"""Calls a function of an extension, and refuses coroutines, generators and the end of the calling thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from oms.domain.text import storable_text
from oms.ports.errors import WrongAnswer

_PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict)
_ENDS_THREAD = ("SystemExit", "GeneratorExit", "CancelledError")


def called(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return `function(*args)`; its exceptions pass.

    Raises `WrongAnswer` for a coroutine, another awaitable or a generator, whose code never ran, and if the function
    tried to end the thread that called it. `name` is the function's name in the error.
    """
    answer = guarded(name, function, *args)
    if not isinstance(answer, _PLAIN) and _is_deferred(answer):
        _close(answer)
        raise WrongAnswer(f"{name} returned {described(answer)}: async functions and generators are never run")
    return answer


def guarded(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return `function(*args)`; raises `WrongAnswer` if it tried to end the calling thread, as `sys.exit` does."""
    try:
        return function(*args)
    except BaseException as error:
        if not any(kind.__name__ in _ENDS_THREAD for kind in type(error).__mro__):
            raise
        raise WrongAnswer(f"{name} ended its thread: {type(error).__name__}") from error


def returns_none(name: str, function: Callable[..., Any], *args: Any) -> None:
    """Call a function that has to return None; raises `WrongAnswer` if it returns anything else."""
    answer = called(name, function, *args)
    if answer is not None:
        raise WrongAnswer(f"{name} returned {described(answer)}, expected None")


def described(value: object) -> str:
    """Return a value as text for an error message: its type, and the beginning of its representation."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a value that can't be shown is named by its type alone
        text = ""
    return storable_text(f"{type(value).__name__} {text}".strip(), 100)


def _is_deferred(answer: object) -> bool:
    return inspect.isawaitable(answer) or inspect.isgenerator(answer) or inspect.isasyncgen(answer)


def _close(answer: Any) -> None:
    """Close a coroutine, so that Python doesn't warn that it was never awaited."""
    if inspect.iscoroutine(answer) or inspect.isgenerator(answer):
        answer.close()
