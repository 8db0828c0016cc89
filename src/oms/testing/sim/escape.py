"""Forbids the real clock, randomness, sockets and threads inside a simulation: their use raises `Escaped`.

With a clock or a random number from outside the system, two runs of a seed would differ.
"""

from __future__ import annotations

import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NoReturn


class Escaped(AssertionError):
    """Code in a simulation used the real clock, randomness, ids, sockets or threads."""


_FORBIDDEN: tuple[tuple[Any, str], ...] = (
    (time, "time"),
    (time, "time_ns"),
    (time, "monotonic"),
    (time, "sleep"),
    (random, "random"),
    (random, "randint"),
    (random, "choice"),
    (random, "shuffle"),
    (uuid, "uuid1"),
    (uuid, "uuid4"),
    (socket, "socket"),
    (threading.Thread, "start"),
)


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise Escaped(f"{name} was called in a simulation: take it from a port")

    return refuse


_REFUSED = tuple(
    (owner, name, getattr(owner, name), _refusal(f"{getattr(owner, '__name__', owner)}.{name}"))
    for owner, name in _FORBIDDEN
)


@contextmanager
def sealed() -> Generator[None]:
    """Forbid all of these during the block. Only module attributes are replaced, not names imported from modules."""
    for owner, name, _, refusal in _REFUSED:
        setattr(owner, name, refusal)
    try:
        yield
    finally:
        for owner, name, original, _ in _REFUSED:
            setattr(owner, name, original)


@contextmanager
def unsealed() -> Generator[None]:
    """Allow the harness itself the real clock and randomness inside `sealed`, if no schedule depends on them."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _, _ in _REFUSED]
    for owner, name, original, _ in _REFUSED:
        setattr(owner, name, original)
    try:
        yield
    finally:
        for owner, name, found in before:
            setattr(owner, name, found)
