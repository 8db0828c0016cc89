"""Isolation of tests that share servers: a database for each test, and a prefix for all other names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from urllib.parse import urlsplit


def fresh_prefix() -> str:
    """Return a prefix that no other test has, such as `oms-test-1f0c9e2b7a64-`, for keys, topics and groups.

    A Redis database number isn't enough: a server has sixteen, and other users of the server may need them.
    """
    return f"oms-test-{token_hex(6)}-"


@contextmanager
def fresh_database(postgres_url: str) -> Iterator[str]:
    """Create an empty database and yield its URL; drop it after the block, even with open connections.

    Raises:
        psycopg.Error: the server refused.
    """
    import psycopg

    name = f"oms_test_{token_hex(6)}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"'.encode())
    try:
        yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as server:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
