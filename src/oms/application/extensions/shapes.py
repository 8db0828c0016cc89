"""Checks that an extension can be called: it has the methods, their arity fits, and none is async."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from oms.application.extensions.calling import described
from oms.domain.errors import OmsError


class WrongShape(OmsError):
    """An object can't be used as an extension; the text names the argument, the expectation and the object."""


def check_port(argument: str, given: object, port: type[Any]) -> None:
    """Raise `WrongShape` unless `given` has every method of a port, callable with the port's arguments.

    A method that the port implements may be missing; the caller then does without it.
    """
    for name, declared in _methods_of(port).items():
        method = getattr(given, name, None)
        where = f"{argument}.{name}"
        if method is None and not getattr(declared, "__isabstractmethod__", False):
            continue
        if method is None:
            raise WrongShape(f"{argument}: expected {port.__name__} with a method {name}(), got {described(given)}")
        try:
            check_function(where, method, len(_required(declared)) - 1)
        except WrongShape as error:
            if isinstance(given, type):
                raise WrongShape(f"{argument}: expected an instance, got {described(given)}: {error}") from None
            raise


def check_function(argument: str, given: object, arguments: int) -> None:
    """Raise `WrongShape` unless `given` is a plain function of so many positional arguments.

    Coroutine functions, async generators and generator functions are refused, also as methods, partials and callable
    objects: calling one runs nothing. A plain function that wraps an async one is accepted, since it may run it.
    """
    expected = f"expected a plain function of {arguments} arguments"
    if not callable(given):
        raise WrongShape(f"{argument}: {expected}, got {described(given)}")
    if _is_async(given):
        raise WrongShape(f"{argument}: {expected}, got an async or generator function, which would never run")
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        raise WrongShape(f"{argument}: {expected}, got {described(given)}: {error}") from None


def check_calls(calls: object) -> None:
    """Raise `WrongShape` unless these are a step's outside calls by name."""
    if not isinstance(calls, Mapping):
        raise WrongShape(f"calls: expected a mapping of names to OutsideCall, got {described(calls)}")
    for name, call in calls.items():
        where = f"calls[{name!a:.60}]"
        for part in ("run", "then"):
            if not hasattr(call, part):
                raise WrongShape(f"{where}: expected an OutsideCall, got {described(call)}")
            check_function(f"{where}.{part}", getattr(call, part), 2)


def _methods_of(port: type[Any]) -> Mapping[str, Callable[..., Any]]:
    return {
        name: value
        for kind in reversed(port.__mro__)
        if kind is not object and not kind.__module__.startswith(("typing", "abc"))
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def _required(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]


def _is_async(given: Any) -> bool:
    while isinstance(given, partial):
        given = given.func
    candidates = [given]
    if not inspect.isroutine(given) and not isinstance(given, type):
        candidates.append(type(given).__call__)
    return any(
        check(one)
        for one in candidates
        for check in (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    )
