"""Isolation of tests that share servers: a database for each test, and a prefix for all other names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from urllib.parse import urlsplit


def fresh_prefix() -> str:
    """Return a prefix that no other test has, such as `oms-test-1f0c9e2b7a64-`, for keys, topics and groups.

    A Redis database number would not do: a server has sixteen, and a given server may use them all.
    """
    return f"oms-test-{token_hex(6)}-"


@contextmanager
def fresh_database(postgres_url: str) -> Iterator[str]:
    """The URL of a new, empty database on this server; it is dropped after the block, even with open connections.

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
