from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "adapters"))  # the servers of the adapters' tests

from own_postgres import OwnPostgres
from redis_servers import Server, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[OwnPostgres]:
    made = OwnPostgres()
    yield made
    made.remove()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server
