"""The second provider: containers, if a Docker engine responds.

The images are the official ones, and only their documented variables and commands are used. testcontainers' own reaper
(Ryuk) is switched off: it needs another image and the engine's socket, and the daemon already removes the container
when the test run has ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from oms.testing.servers.server_types import TITLES, ProviderUnavailable, ServerName, first_line

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

IMAGES: dict[ServerName, tuple[str, str]] = {
    "postgres": ("OMS_TEST_POSTGRES_IMAGE", "postgres:17"),
    "redis": ("OMS_TEST_REDIS_IMAGE", "redis:8"),
    "kafka": ("OMS_TEST_KAFKA_IMAGE", "apache/kafka:4.3.1"),
}
PROBE_S = 5


@contextmanager
def running(name: ServerName) -> Iterator[str]:
    """Start a container and yield its server's address; the container ends with the block.

    Raises:
        ProviderUnavailable: no engine responds, it can't get the image, or the container doesn't start.
    """
    engine_answers()
    image = image_of(name)
    container, address = _MAKERS[name](image)
    _start(name, image, container)
    try:
        yield address()
    finally:
        container.stop()


def image_of(name: ServerName) -> str:
    """Return the image of this server: from the environment, else the official one."""
    variable, official = IMAGES[name]
    return os.environ.get(variable) or official


def engine_answers() -> None:
    """Send one request to the engine, with a short time limit.

    Raises:
        ProviderUnavailable: no engine responds, or testcontainers isn't installed.
    """
    if not _is_set_up():
        raise ProviderUnavailable("no Docker engine: there is no /var/run/docker.sock, and DOCKER_HOST isn't set")
    try:
        from docker.errors import DockerException  # type: ignore[import-untyped]
        from requests import RequestException
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.docker_client import DockerClient
    except ImportError:
        raise ProviderUnavailable("testcontainers isn't installed") from None
    testcontainers_config.ryuk_disabled = True
    try:
        DockerClient(timeout=PROBE_S).client.ping()
    except (DockerException, RequestException) as silent:
        raise ProviderUnavailable(f"no Docker engine answers: {first_line(silent)}") from None


def _is_set_up() -> bool:
    """Whether there is any of the usual signs of an engine, because importing Docker's client takes a second."""
    signs = (
        Path("/var/run/docker.sock"),
        Path.home() / ".docker" / "config.json",
        Path.home() / ".testcontainers.properties",
    )
    return bool(os.environ.get("DOCKER_HOST") or os.environ.get("TC_HOST")) or any(sign.exists() for sign in signs)


def _start(name: ServerName, image: str, container: DockerContainer) -> None:
    from docker.errors import DockerException
    from requests import RequestException

    try:
        container.start()
    except (DockerException, RequestException, TimeoutError, RuntimeError, ConnectionError) as failed:
        container.stop()
        raise ProviderUnavailable(
            f"Docker answers, but gives no {TITLES[name]} from {image}: {first_line(failed)}", surprising=True
        ) from None


def _postgres(image: str) -> tuple[DockerContainer, Callable[[], str]]:
    from testcontainers.community.postgres import PostgresContainer

    made = PostgresContainer(image, username="postgres", password=token_urlsafe(16), dbname="postgres", driver=None)
    made.with_command("postgres -c max_connections=200")
    return made, made.get_connection_url


def _redis(image: str) -> tuple[DockerContainer, Callable[[], str]]:
    from testcontainers.community.redis import RedisContainer

    password = token_urlsafe(16)
    made = RedisContainer(image, password=password)
    return made, lambda: f"redis://:{password}@{made.get_container_host_ip()}:{made.get_exposed_port(made.port)}/0"


def _kafka(image: str) -> tuple[DockerContainer, Callable[[], str]]:
    from oms.testing.servers.docker_kafka import ApacheKafka

    made = ApacheKafka(image)
    return made, made.get_bootstrap_server


_MAKERS = {"postgres": _postgres, "redis": _redis, "kafka": _kafka}
