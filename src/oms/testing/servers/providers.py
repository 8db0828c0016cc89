"""The three providers of servers in their order, and the error if none of them is available."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import get_args

from oms.testing.servers import docker, environment, native
from oms.testing.servers.server_types import TITLES, Provider, ProviderUnavailable, Server, ServerName, ServersMissing

BACKENDS = "OMS_TEST_BACKENDS"
PROVIDERS: dict[Provider, Callable[[ServerName], AbstractContextManager[str]]] = {
    "urls": environment.running,
    "docker": docker.running,
    "native": native.running,
}
PACKAGES: dict[ServerName, str] = {
    "postgres": "apt-get install postgresql",
    "redis": "apt-get install redis-server",
    "kafka": "apt-get install default-jre-headless maven (Java 17 or newer; Maven fetches Apache Kafka once)",
}
EXAMPLES: dict[ServerName, str] = {
    "postgres": "postgresql://user:password@host:5432/postgres (a superuser)",
    "redis": "redis://host:6379/0",
    "kafka": "host:9092",
}


def allowed() -> tuple[Provider, ...]:
    """Return the providers that `OMS_TEST_BACKENDS` allows, in order.

    Raises:
        ServersMissing: it names no provider.
    """
    chosen = os.environ.get(BACKENDS) or "auto"
    if chosen == "auto":
        return get_args(Provider)
    providers = tuple(provider for provider in PROVIDERS if provider == chosen)
    if not providers:
        raise ServersMissing(f"{BACKENDS} is {chosen!r}: it may be auto, urls, docker or native")
    return providers


@contextmanager
def running(name: ServerName) -> Iterator[Server]:
    """Run a server by the first provider that is available, until the block ends.

    Raises:
        ServersMissing: no provider is available; the text says what to install.
        ServerFailed: the server doesn't start or doesn't accept connections.
    """
    tried: dict[Provider, ProviderUnavailable] = {}
    with ExitStack() as held:
        for provider in allowed():
            try:
                address = held.enter_context(PROVIDERS[provider](name))
            except ProviderUnavailable as reason:
                tried[provider] = reason
                continue
            passed_over = tuple(str(reason) for reason in tried.values() if reason.surprising)
            yield Server(name, address, provider, passed_over)
            return
    raise ServersMissing(_all_failed(name, tried))


def _all_failed(name: ServerName, reasons: dict[Provider, ProviderUnavailable]) -> str:
    tried = "\n".join(f"  {provider}: {reason}" for provider, reason in reasons.items())
    return (
        f"There is no {TITLES[name]} for the tests, and they aren't skipped. Tried ({BACKENDS}):\n{tried}\n"
        "Do one of these:\n"
        f"  give one:      {environment.VARIABLES[name]}={EXAMPLES[name]}\n"
        "  use Docker:    start its engine, and pip install testcontainers\n"
        f"  install it:    {PACKAGES[name]}; in a clone of oms, `make servers` does it\n"
    )
