"""What a simulation must not touch: the real time, chance, sockets and threads. There they raise `Escaped`.

A clock or a random number that isn't the system's would make two runs of a seed differ.
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
    """Something in a simulation reached for the real clock, randomness or ids."""


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
    """No way out while the block runs. Only in this process's own names: what was imported by name before stays."""
    for owner, name, _, refusal in _REFUSED:
        setattr(owner, name, refusal)
    try:
        yield
    finally:
        for owner, name, original, _ in _REFUSED:
            setattr(owner, name, original)


@contextmanager
def unsealed() -> Generator[None]:
    """Let the harness itself use the real clock and randomness inside `sealed`, where no schedule depends on it."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _, _ in _REFUSED]
    for owner, name, original, _ in _REFUSED:
        setattr(owner, name, original)
    try:
        yield
    finally:
        for owner, name, found in before:
            setattr(owner, name, found)
