"""Redis servers that a test may kill, stop, fill and cut: processes of our own, on free ports of this machine."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from oms.adapters.memory import ManualClock
from oms.adapters.redis import RedisGate
from oms.adapters.redis.connection import connect
from oms.settings import Settings, load_settings

T = TypeVar("T")
START_S = 20.0


class Server:
    """One redis-server with its directory, which outlives its process."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.port = _free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> Server:
        """Run it; it listens when this returns, and may still be loading."""
        self.directory.mkdir(parents=True, exist_ok=True)
        fixed = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(["redis-server", *fixed, *self._options, *options], stdout=log, stderr=log)
        eventually(self._listens, START_S)
        return self

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Leave no process, however the test ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def append_only_file(self) -> Path:
        """The part of the append-only file that grows."""
        (path,) = (self.directory / "appendonlydir").glob("*.incr.aof")
        return path

    def wait_for_log(self, text: str) -> None:
        """Until this is in the file: with `everysec`, Redis keeps writes to itself while an older fsync is under way."""
        eventually(lambda: text.encode() in self.append_only_file().read_bytes())

    @property
    def url(self) -> str:
        """For OMS_REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def admin(self) -> Any:
        """A client with every right (and the driver's defaults)."""
        return Redis(port=self.port, decode_responses=True, protocol=2)

    def settings(self, **more: Any) -> Settings:
        """Settings that name this server."""
        return load_settings({}, **{"redis_url": self.url, **more})

    def gate(self, *, timeout_s: float = 2.0, **more: Any) -> RedisGate:
        """One worker's gate, with connections of its own."""
        return RedisGate(connect(self.settings(**more).redis, timeout_s=timeout_s), ManualClock())

    @property
    def _log(self) -> Path:
        return self.directory / "log.txt"

    def _listens(self) -> bool:
        """Its own word: another process could have been faster to take the port."""
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        return "Server initialized" in self._log.read_text()


@contextmanager
def running(directory: Path, *options: str) -> Iterator[Server]:
    """A server for the time of a test."""
    server = Server(directory, *options)
    try:
        yield server.start()
    finally:
        server.end()


def eventually(probe: Callable[[], T], within_s: float = 10.0) -> T:
    """The first true answer; an error of the driver's counts as not yet."""
    until = time.monotonic() + within_s
    while True:
        try:
            answer = probe()
        except RedisError:
            answer = None  # type: ignore[assignment]
        if answer:
            return answer
        assert time.monotonic() < until, f"{probe} is still not true"
        time.sleep(0.02)


def _free_port() -> int:
    """Below the ports that the system gives to clients; a cluster's second port is 10,000 higher."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
