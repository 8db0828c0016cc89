"""The three rungs in order, and what is said when none holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import get_args

from oms.testing.servers import docker, native, urls
from oms.testing.servers.kinds import TITLES, NotHere, Rung, Server, ServerName, ServersMissing

BACKENDS = "OMS_TEST_BACKENDS"
RUNGS: dict[Rung, Callable[[ServerName], AbstractContextManager[str]]] = {
    "urls": urls.running,
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


def allowed() -> tuple[Rung, ...]:
    """The rungs that `OMS_TEST_BACKENDS` allows, in order.

    Raises:
        ServersMissing: it names no rung.
    """
    chosen = os.environ.get(BACKENDS) or "auto"
    if chosen == "auto":
        return get_args(Rung)
    rungs = tuple(rung for rung in RUNGS if rung == chosen)
    if not rungs:
        raise ServersMissing(f"{BACKENDS} is {chosen!r}: it may be auto, urls, docker or native")
    return rungs


@contextmanager
def running(name: ServerName) -> Iterator[Server]:
    """A server by the first rung that can give it, until the block ends.

    Raises:
        ServersMissing: no rung can; the text says what to install.
        ServerFailed: a rung should have, but the server doesn't start or doesn't answer.
    """
    tried: dict[Rung, NotHere] = {}
    with ExitStack() as held:
        for rung in allowed():
            try:
                address = held.enter_context(RUNGS[rung](name))
            except NotHere as reason:
                tried[rung] = reason
                continue
            passed_over = tuple(str(reason) for reason in tried.values() if reason.surprising)
            yield Server(name, address, rung, passed_over)
            return
    raise ServersMissing(_nothing(name, tried))


def _nothing(name: ServerName, reasons: dict[Rung, NotHere]) -> str:
    tried = "\n".join(f"  {rung}: {reason}" for rung, reason in reasons.items())
    return (
        f"There is no {TITLES[name]} for the tests, and they aren't skipped. Tried ({BACKENDS}):\n{tried}\n"
        "Do one of these:\n"
        f"  give one:      {urls.VARIABLES[name]}={EXAMPLES[name]}\n"
        "  use Docker:    start its engine, and pip install testcontainers\n"
        f"  install it:    {PACKAGES[name]}; in a clone of oms, `make servers` does it\n"
    )
