"""The connection: no retry of the driver's own, a time limit on everything, scripts in bounded pipelines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry

from oms.adapters.redis.driver_errors import BORDER
from oms.adapters.redis.scripts import Script
from oms.ports.errors import SettingsError
from oms.settings import Settings

TIMEOUT_S = 2.0
"""For a connection and for each answer; a call that took longer is repeated by the caller."""

CALLS_AT_ONCE = 500
"""Calls that are sent before their answers are read."""

CONNECTIONS = 32

T = TypeVar("T")


@attrs.frozen
class Address:
    """Where a Redis is."""

    host: str
    port: int
    database: int
    tls: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """The address in `OMS_REDIS_URL`; `SettingsError` where it holds more than server and database.

        The driver would take options from a URL's query, also its own retries and a switched-off certificate check.
        """
        parts = urlsplit(url)
        database = parts.path.strip("/") or "0"
        if parts.query or parts.fragment or not (database.isascii() and database.isdecimal()):
            raise SettingsError("OMS_REDIS_URL: only server and database fit here, as in redis://host:6379/0")
        return cls(parts.hostname or "", parts.port or 6379, int(database), parts.scheme == "rediss")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def connect(settings: Settings, *, timeout_s: float = TIMEOUT_S) -> Redis:
    """A client; it connects when it is first used, and sends nothing twice by itself."""
    at = Address.of(settings.redis_url)
    password = settings.redis_password.get_secret_value() if settings.redis_password else None
    tls: dict[str, Any] = {}
    if at.tls:
        tls = {"ssl": True, "ssl_ca_certs": str(settings.redis_ca_file) if settings.redis_ca_file else None}
    return Redis(
        host=at.host,
        port=at.port,
        db=at.database,
        username=settings.redis_user,
        password=password,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        max_connections=CONNECTIONS,
        decode_responses=True,
        protocol=2,
        driver_info=None,  # it would be announced by a command that the gate's user may not run
        **tls,
    )


Call = tuple[str | int, ...]
"""What a script gets as ARGV."""


@attrs.frozen
class Link:
    """Runs scripts of one gate; errors are the ports' own."""

    client: Redis = attrs.field(repr=False)
    head: str

    def run(self, name: str, calls: Iterable[Call]) -> list[Any]:
        """Run a script once for each call, in their order; where some of a pipeline fail, the first error is raised."""
        script = Script.named(name)
        with BORDER:
            return [answer for some in chunks(calls, CALLS_AT_ONCE) for answer in self._run(script, some)]

    def _run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        answers = self._send(script, calls)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            self.client.script_load(script.text)
            answers = self._send(script, calls)  # those that did run before give the same answer again
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        return answers

    def _send(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        with self.client.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(script.sha, 1, self.head, *call)
            return pipeline.execute(raise_on_error=False)


def chunks(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """The items in pieces of at most `size`."""
    rest = iter(items)
    while some := tuple(islice(rest, size)):
        yield some
