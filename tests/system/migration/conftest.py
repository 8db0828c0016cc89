from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.own_postgres import OwnPostgres
from tests.support.redis_servers import Server, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[OwnPostgres]:
    with OwnPostgres() as made:
        yield made


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server
