"""The first provider: the environment names a server that already runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from oms.testing.servers.probes import probe
from oms.testing.servers.server_types import TITLES, ProviderUnavailable, ServerFailed, ServerName

VARIABLES: dict[ServerName, str] = {
    "postgres": "OMS_TEST_POSTGRES_URL",
    "redis": "OMS_TEST_REDIS_URL",
    "kafka": "OMS_TEST_KAFKA_BOOTSTRAP",
}


def given(name: ServerName) -> str | None:
    """Return the address in the environment, unchecked."""
    return os.environ.get(VARIABLES[name]) or None


@contextmanager
def running(name: ServerName) -> Iterator[str]:
    """Probe the given server and return its address.

    Raises:
        ProviderUnavailable: none is given.
        ServerFailed: an address is given, and the probe fails. The next provider isn't tried.
    """
    address = given(name)
    if address is None:
        raise ProviderUnavailable(f"{VARIABLES[name]} isn't set")
    if reason := probe(name, address):
        raise ServerFailed(f"{VARIABLES[name]} is set, but {TITLES[name]} doesn't answer there: {reason}")
    yield address
