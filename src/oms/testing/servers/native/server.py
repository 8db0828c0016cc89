"""The common part of the three native servers: choosing a port, starting, stopping and cleaning up."""

from __future__ import annotations

import os
import pwd
import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGTERM, Signals
from types import TracebackType
from typing import ClassVar, Self

from oms.testing.servers.native.supervised import Supervised
from oms.testing.servers.probes import probe
from oms.testing.servers.server_types import TITLES, ServerFailed, ServerName

PORTS = range(20_000, 30_000)
"""Below the ports that Linux gives to outgoing connections (32768 and up): a client that tries again and again to
reach a killed server may otherwise be given that server's own port, connect to itself, and keep the server from
coming back."""
LOG_END = 3_000
POLL_S = 0.02


class NativeServer(ABC):
    """A real server that a test may kill, pause and restart; it listens on 127.0.0.1 alone and dies with this process.

    `settings` are lines of the server's configuration; they extend or replace the defaults of this class. Durability is
    as in production, and memory is small. Use it as a context manager, or call `start()` and `close()`.

    Raises:
        ProviderUnavailable: its programs aren't installed; the text says which.
        ServerFailed: it doesn't start; the text has the end of its log.
    """

    name: ClassVar[ServerName]
    start_s: ClassVar[float] = 60.0
    stop_s: ClassVar[float] = 20.0
    stop_signal: ClassVar[Signals] = SIGTERM

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self.settings = dict(settings or {})
        self._find()
        self.user = self._account()
        self._held = Supervised(f"oms-{self.name}-", self.user)
        self.directory = self._held.directory
        self.port = free_port()
        self.pid = 0
        self._prepared = False

    @property
    @abstractmethod
    def url(self) -> str:
        """The address for clients; it stays the same after a restart."""

    @abstractmethod
    def _find(self) -> None:
        """Find the programs that the server needs; raises `ProviderUnavailable`."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data directory; called before the first start."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return the server's command line; may write configuration files."""

    def _account(self) -> str | None:
        return None

    def _env(self) -> dict[str, str]:
        return dict(os.environ)

    @property
    def log(self) -> str:
        """The output of the server, of all of its starts."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        """Whether the server's process exists; it may be paused."""
        return bool(self.pid) and self._held.poll() is None

    def start(self) -> Self:
        """Start the server on its data and wait until it accepts connections."""
        if self.running:
            raise ServerFailed(f"{TITLES[self.name]} runs already")
        if not self._prepared:
            self._prepare()
            self._prepared = True
        self.pid = self._held.start(self._command(), self._env())
        self._wait_until_it_answers()
        return self

    def stop(self) -> None:
        """Stop the server as an operator would; kill it if that takes longer than `stop_s` seconds."""
        if self.running:
            self._held.resume()
            self._held.signal(self.stop_signal)
            self._ended(self.stop_s)
        self._held.kill()

    def kill(self) -> None:
        """Kill all of its processes at one moment (SIGKILL), as in a crash; `start()` starts it on its data again."""
        self._held.kill()

    def pause(self) -> None:
        """Stop all of its processes (SIGSTOP): connections stay open, and the server doesn't respond."""
        self._held.pause()

    def resume(self) -> None:
        """Continue a paused server."""
        self._held.resume()

    def restart(self) -> Self:
        """Stop the server and start it again, on the same port and data."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Kill the server and remove its directory; it can't be started again. Further calls do nothing."""
        self._held.close()

    def __enter__(self) -> Self:
        """Start the server."""
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the server."""
        self.close()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self.start_s
        while (silent := probe(self.name, self.url)) is not None:
            code = self._held.poll()
            if code is not None:
                raise ServerFailed(f"{TITLES[self.name]} ended with {code} when it started.\n{self._log_end()}")
            if time.monotonic() > deadline:
                self._held.kill()
                raise ServerFailed(
                    f"{TITLES[self.name]} was silent for {self.start_s:g} s: {silent}\n{self._log_end()}"
                )
            time.sleep(POLL_S)

    def _run(self, argv: Sequence[str]) -> None:
        """Run a program to its end, such as the program that makes a data directory."""
        self._held.start(argv, self._env())
        code = self._ended(self.start_s)
        if code != 0:
            self._held.kill()
            raise ServerFailed(f"{Path(argv[0]).name} ended with {code}.\n{self._log_end()}")

    def _ended(self, within_s: float) -> int | None:
        deadline = time.monotonic() + within_s
        while (code := self._held.poll()) is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return code

    def _log_end(self) -> str:
        return f"The end of its log:\n{self.log[-LOG_END:]}"

    def _write(self, name: str, text: str) -> Path:
        """Write a file into the server's directory that only its account may read; returns the path."""
        path = self.directory / name
        path.touch(mode=0o600)
        if self.user:
            account = pwd.getpwnam(self.user)
            os.chown(path, account.pw_uid, account.pw_gid)
        path.write_text(text)
        return path


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no process listens.

    Raises:
        ServerFailed: fifty attempts found none.
    """
    for port in random.sample(PORTS, 50):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"no free port was found from {PORTS.start} to {PORTS.stop}")
