"""The first rung: a server whose address is given in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from oms.testing.servers.answers import why_silent
from oms.testing.servers.kinds import TITLES, NotHere, ServerFailed, ServerName

VARIABLES: dict[ServerName, str] = {
    "postgres": "OMS_TEST_POSTGRES_URL",
    "redis": "OMS_TEST_REDIS_URL",
    "kafka": "OMS_TEST_KAFKA_BOOTSTRAP",
}


def given(name: ServerName) -> str | None:
    """The address in the environment, unchecked."""
    return os.environ.get(VARIABLES[name]) or None


@contextmanager
def running(name: ServerName) -> Iterator[str]:
    """The given address.

    Raises:
        NotHere: none is given.
        ServerFailed: one is given and nothing answers there. Another server isn't taken instead: this one was asked
        for.
    """
    address = given(name)
    if address is None:
        raise NotHere(f"{VARIABLES[name]} isn't set")
    if reason := why_silent(name, address):
        raise ServerFailed(f"{VARIABLES[name]} is set, but {TITLES[name]} doesn't answer there: {reason}")
    yield address
