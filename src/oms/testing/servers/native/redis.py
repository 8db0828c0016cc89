"""Redis, run from the system's packages."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from secrets import token_urlsafe

from oms.testing.servers.native.server import NativeServer
from oms.testing.servers.server_types import ProviderUnavailable

SETTINGS = {
    "bind": "127.0.0.1",
    "daemonize": "no",
    "databases": "64",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    "maxmemory-policy": "noeviction",
}


class NativeRedis(NativeServer):
    """Redis with its append-only file switched on; `settings` are those of `redis.conf`."""

    name = "redis"

    @property
    def url(self) -> str:
        """The URL `redis://:PASSWORD@127.0.0.1:PORT/0`; the server has 64 databases."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def _find(self) -> None:
        self._program = find_program()
        self._password = token_urlsafe(16)

    def _prepare(self) -> None:
        (self.directory / "data").mkdir()

    def _command(self) -> Sequence[str]:
        ours = {**SETTINGS, "dir": str(self.directory / "data"), "port": str(self.port), "requirepass": self._password}
        lines = [f"{key} {value}" for key, value in {**ours, **self.settings}.items()]
        return [self._program, str(self._write("redis.conf", "\n".join(lines) + "\n"))]


def find_program() -> str:
    """Return the path of `redis-server`.

    Raises:
        ProviderUnavailable: there is none.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise ProviderUnavailable("redis-server isn't on PATH")
    return program
