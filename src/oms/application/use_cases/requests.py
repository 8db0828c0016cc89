"""The caller's context that every use case takes, and the reply that returns a command's result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import attrs

from oms.domain.errors import InvalidValue
from oms.engine.assembly import ServiceAssembly
from oms.engine.command_groups import Reply
from oms.ports.extensions import Principal, Role

TRUSTED = Principal(Role.TRUSTED)
MAX_PAGE = 100
MAX_PAGE_NUMBER = 10**6

Submit = Callable[[Reply], None]
"""Adds one command to its service's next group without blocking. The thread that runs the group calls the reply, once,
after the commit. Raises `DomainError` for a wrong command, `Retryable` if the service takes no commands now."""

Drive = Callable[[ServiceAssembly[Any], "Future[Any]"], None]
"""Runs a service's command groups until the future is done, unless a thread runs them already."""


@attrs.frozen
class RequestContext:
    """The caller of a request, its idempotency key (`key`), and its W3C `traceparent` (`trace`)."""

    caller: Principal = TRUSTED
    key: str | None = None
    trace: str | None = None


def checked_page(number: int, size: int) -> None:
    """Raise `InvalidValue` unless the page number is 0 to `MAX_PAGE_NUMBER` and its size 1 to `MAX_PAGE`."""
    if not 0 <= number <= MAX_PAGE_NUMBER:
        raise InvalidValue("invalid_page", f"page is 0 to {MAX_PAGE_NUMBER}")
    if not 1 <= size <= MAX_PAGE:
        raise InvalidValue("invalid_size", f"size is 1 to {MAX_PAGE}")


def future_of(submit: Submit) -> Future[Any]:
    """Submit a command; the future has its result, or its error, after the commit."""
    future: Future[Any] = Future()

    def reply(value: object, error: Exception | None) -> None:
        if not future.set_running_or_notify_cancel():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    submit(reply)
    return future


def result_of(submit: Submit, assembly: ServiceAssembly[Any], drive: Drive) -> Any:
    """Submit a command and wait for its result; raises its error."""
    future = future_of(submit)
    drive(assembly, future)
    return future.result()
