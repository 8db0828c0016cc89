"""The third provider: programs of this machine, on loopback, each in a directory of its own for one test run."""

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
    """The address of a new native server, until the block ends.

    Raises:
        NotHere: its programs aren't on this machine.
        ServerFailed: they are, and it doesn't start.
    """
    with KINDS[name]() as server:
        yield server.url
