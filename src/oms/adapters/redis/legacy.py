"""Reads the stock of the system replaced from its Redis: a key `inventory:<product>` for each count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

import attrs
from redis import Redis
from redis.exceptions import ResponseError

from oms.adapters.redis.scripts import CALLS_AT_ONCE
from oms.adapters.redis.connection import Address, chunks, connect
from oms.adapters.redis.driver_errors import BORDER
from oms.ports.errors import PortError
from oms.ports.legacy import LegacyStock
from oms.settings import Settings

PREFIX = "inventory:"


class RedisLegacyStock(LegacyStock):
    """The Redis that `OMS_SPRING_REDIS_URL` names; asked by SCAN and GET alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = attrs.evolve(
            settings,
            redis_url=settings.spring_redis_url or "",
            redis_user=settings.spring_redis_user,
            redis_password=settings.spring_redis_password,
        )

    def counts(self) -> Iterable[tuple[str, str]]:
        at = Address.of(self._settings.redis_url)
        with closing(connect(self._settings)) as client:
            try:
                with BORDER:
                    return list(_counts(client))
            except PortError as error:
                said = str(error).replace("OMS_REDIS_", "OMS_SPRING_REDIS_")
                raise type(error)(f"OMS_SPRING_REDIS_URL ({at}): {said}") from None


def _counts(client: Redis) -> Iterator[tuple[str, str]]:
    keys = sorted(set(client.scan_iter(f"{PREFIX}*", count=CALLS_AT_ONCE)))
    for some in chunks(keys, CALLS_AT_ONCE):
        yield from _of(client, some)


def _of(client: Redis, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.get(key)
        answers = pipeline.execute(raise_on_error=False)
    for key, answer in zip(keys, answers, strict=True):
        if isinstance(answer, ResponseError) and not str(answer).startswith("WRONGTYPE"):
            raise answer
        if answer is not None:  # one that went meanwhile
            text = "something else than a text" if isinstance(answer, ResponseError) else answer
            yield key.removeprefix(PREFIX), text
