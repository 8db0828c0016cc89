"""Connections to Redis: without retries by the driver, and with a time limit on everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from oms.ports.errors import SettingsError
from oms.settings.records import RedisConfig

TIMEOUT_S = 2.0
"""Time limit of connecting and of each reply, in seconds; the caller repeats a call that timed out."""

CONNECTIONS = 32

T = TypeVar("T")


@attrs.frozen
class Address:
    """The address of a Redis server."""

    host: str
    port: int
    database: int
    tls: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """The address in `OMS_REDIS_URL`; `SettingsError` if it holds more than server and database.

        The driver would accept options in the URL's query, even one that turns certificate checks off.
        """
        parts = urlsplit(url)
        database = parts.path.strip("/") or "0"
        if parts.query or parts.fragment or not (database.isascii() and database.isdecimal()):
            raise SettingsError("OMS_REDIS_URL: only server and database fit here, as in redis://host:6379/0")
        return cls(parts.hostname or "", parts.port or 6379, int(database), parts.scheme == "rediss")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def connect(config: RedisConfig, *, timeout_s: float = TIMEOUT_S) -> Redis:
    """A client that connects when it is first used and never repeats a command by itself."""
    at = Address.of(config.url)
    tls: dict[str, Any] = {}
    if at.tls:
        tls = {"ssl": True, "ssl_ca_certs": str(config.ca_file) if config.ca_file else None}
    return Redis(
        host=at.host,
        port=at.port,
        db=at.database,
        username=config.user,
        password=config.password,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        max_connections=CONNECTIONS,
        decode_responses=True,
        protocol=2,
        driver_info=None,  # the driver would send it with a command that the gate's user may not run
        **tls,
    )


def chunks(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """The items in pieces of at most `size`."""
    rest = iter(items)
    while some := tuple(islice(rest, size)):
        yield some
