"""The third provider: installed programs, on loopback, each with its own directory, for one test run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from oms.testing.servers.native.kafka import NativeKafka
from oms.testing.servers.native.postgres import NativePostgres
from oms.testing.servers.native.redis import NativeRedis
from oms.testing.servers.native.server import NativeServer
from oms.testing.servers.server_types import ServerName

__all__ = ["NativeKafka", "NativePostgres", "NativeRedis", "NativeServer", "running"]

KINDS: dict[ServerName, type[NativeServer]] = {"postgres": NativePostgres, "redis": NativeRedis, "kafka": NativeKafka}


@contextmanager
def running(name: ServerName) -> Iterator[str]:
    """Start a native server and yield its address; the server ends with the block.

    Raises:
        ProviderUnavailable: its programs aren't installed.
        ServerFailed: its programs are installed, but it doesn't start.
    """
    with KINDS[name]() as server:
        yield server.url
