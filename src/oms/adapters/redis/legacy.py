"""Reads the stock of the Spring system from its Redis: one key `inventory:<product>` for each product."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from redis import Redis
from redis.exceptions import ResponseError

from oms.adapters.redis.connection import Address, chunks, connect
from oms.adapters.redis.driver_errors import translated_errors
from oms.adapters.redis.scripts import CALLS_AT_ONCE
from oms.ports.errors import PortError
from oms.ports.legacy import LegacyStock
from oms.settings.records import RedisConfig

PREFIX = "inventory:"


class RedisLegacyStock(LegacyStock):
    """The Redis that `OMS_SPRING_REDIS_URL` names; read with SCAN and GET alone."""

    def __init__(self, config: RedisConfig) -> None:
        self._config = config

    def counts(self) -> Iterable[tuple[str, str]]:
        at = Address.of(self._config.url)
        with closing(connect(self._config)) as client:
            try:
                with translated_errors:
                    return list(_counts(client))
            except PortError as error:
                message = str(error).replace("OMS_REDIS_", "OMS_SPRING_REDIS_")
                raise type(error)(f"OMS_SPRING_REDIS_URL ({at}): {message}") from None


def _counts(client: Redis) -> Iterator[tuple[str, str]]:
    keys = sorted(set(client.scan_iter(f"{PREFIX}*", count=CALLS_AT_ONCE)))
    for some in chunks(keys, CALLS_AT_ONCE):
        yield from _of(client, some)


def _of(client: Redis, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.get(key)
        replies = pipeline.execute(raise_on_error=False)
    for key, reply in zip(keys, replies, strict=True):
        if isinstance(reply, ResponseError) and not str(reply).startswith("WRONGTYPE"):
            raise reply
        if reply is not None:  # None for a key that was deleted meanwhile
            text = "something else than a text" if isinstance(reply, ResponseError) else reply
            yield key.removeprefix(PREFIX), text
