from __future__ import annotations

from collections.abc import Iterator

import pytest
from own_postgres import OwnPostgres


@pytest.fixture(scope="session")
def server() -> Iterator[OwnPostgres]:
    """A PostgreSQL server that logs all it is told, and isn't to be stopped."""
    made = OwnPostgres(log_statement="all")
    yield made
    made.remove()
