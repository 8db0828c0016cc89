from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import Cluster

SCRIPT = [
    {"user": "declined", "behaviour": "decline"},
    {"user": "lost-answer", "behaviour": "no_answer_after_charge", "times": 1},
    {"user": "slow", "behaviour": "delay", "seconds": 2.5},
    {"user": "silent", "behaviour": "no_answer_before_charge", "times": 1000},
]


@pytest.fixture(scope="module")
def oms_postgres_url() -> Iterator[str]:
    """Each module has servers of its own: modules run side by side, and the services' names are the same in all."""
    with NativePostgres() as server:
        yield server.url


@pytest.fixture(scope="module")
def oms_redis_url() -> Iterator[str]:
    with NativeRedis() as server:
        yield server.url


@pytest.fixture(scope="module")
def oms_kafka_bootstrap() -> Iterator[str]:
    with NativeKafka() as server:
        yield server.url


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, oms_postgres_url: str, oms_redis_url: str, oms_kafka_bootstrap: str
) -> Iterator[Cluster]:
    """Four processes, one of each service; every promise is checked at the end."""
    directory: Path = tmp_path_factory.mktemp("cluster")
    script = directory / "script.json"
    script.write_text(json.dumps(SCRIPT))
    environ = {
        "OMS_PAYMENT_SUCCESS_RATE": "1",
        "OMS_PAYMENT_SCRIPT": str(script),
        "OMS_PAYMENT_SETTLE_WINDOW_S": "1",
        "OMS_ORDER_DEADLINE_S": "60",
    }
    made = Cluster(directory, oms_postgres_url, oms_redis_url, oms_kafka_bootstrap, environ)
    try:
        made.set_up()
        made.start()
        yield made
        made.settle()
        made.check()
        made.stop()
        made.check()
    finally:
        made.end()
