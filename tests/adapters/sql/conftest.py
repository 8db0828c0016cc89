from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.own_postgres import OwnPostgres


@pytest.fixture(scope="session")
def server() -> Iterator[OwnPostgres]:
    """A PostgreSQL server that logs all statements. Tests don't stop it."""
    with OwnPostgres(log_statement="all") as made:
        yield made
