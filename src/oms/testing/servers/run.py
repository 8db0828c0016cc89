"""The servers of one test run, each started at its first use, and shared by all processes of the run.

The run's directory names the started servers, so that pytest-xdist's workers find them there. A daemon (`daemon.py`)
runs each server until the run's first process, its owner, has ended or removed the directory.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import asdict, frozen

import oms
from oms.testing.servers.server_types import NAMES, TITLES, Provider, Server, ServerFailed, ServerName, ServersMissing

RUN = "OMS_TEST_SERVERS"
"""The environment variable that holds the run's directory."""
START_S = 900.0
"""Time limit of a server's start, in seconds. It includes fetching an image or Kafka's jars; a start takes seconds."""
END_S = 60.0
POLL_S = 0.02
_daemons: dict[Path, list[subprocess.Popen[bytes]]] = {}
_made: list[Servers] = []


@frozen
class Servers:
    """The servers of a run: PostgreSQL, Redis, Kafka.

    Reading an address starts the server unless it runs, and waits until it accepts connections. Every member that may
    start one raises `ServersMissing` (no provider is available; the text says what to install) or `ServerFailed`.
    """

    directory: Path

    @classmethod
    def make(cls) -> Servers:
        """Begin a run that this process owns, without any server."""
        directory = Path(tempfile.mkdtemp(prefix="oms-servers-"))
        (directory / "owner").write_text(str(os.getpid()))
        return cls(directory)

    @property
    def owner(self) -> int | None:
        """The id of the process with which the servers end; None once they have ended."""
        path = self.directory / "owner"
        return int(path.read_text()) if path.exists() else None

    @property
    def postgres_url(self) -> str:
        """The URL with a superuser, `postgresql://user:password@host:port/database`."""
        return self.server("postgres").address

    @property
    def redis_url(self) -> str:
        """The URL, `redis://:password@host:port/0`, or without a password if the server has none."""
        return self.server("redis").address

    @property
    def kafka_bootstrap(self) -> str:
        """`host:port`, for `bootstrap.servers`."""
        return self.server("kafka").address

    def provider(self, name: ServerName) -> Provider:
        """Return the provider that started a server."""
        return self.server(name).provider

    def server(self, name: ServerName) -> Server:
        """Return a server; start it unless it runs."""
        self._keep(name)
        return self._await(name)

    def start(self, *names: ServerName) -> Servers:
        """Start several servers at the same time, and wait for all."""
        for name in names:
            self._keep(name)
        for name in names:
            self._await(name)
        return self

    @property
    def started(self) -> tuple[Server, ...]:
        """The servers that have been started."""
        answers = [self._read(name) for name in NAMES]
        return tuple(answer for answer in answers if isinstance(answer, Server))

    def daemons(self) -> dict[str, int]:
        """Return the process id of the daemon of each server that was started here, by the server's name.

        A daemon is the root of its server's process tree. Servers whose address is given have none.
        """
        marks = {name: self._daemon_file(name) for name in NAMES}
        return {name: int(mark.read_text()) for name, mark in marks.items() if mark.exists()}

    def end(self) -> None:
        """Stop all servers, and wait for the daemons that this process started. Further calls do nothing."""
        shutil.rmtree(self.directory, ignore_errors=True)  # a daemon may be writing its result or its log there
        for daemon in _daemons.pop(self.directory, []):
            daemon.wait(END_S)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _keep(self, name: ServerName) -> None:
        """Start the daemon of a server, once in a run."""
        with _locked(self.directory / "lock"):
            mark = self._daemon_file(name)
            if not mark.exists():
                daemon = _spawn(name, self.directory)
                _daemons.setdefault(self.directory, []).append(daemon)
                mark.write_text(str(daemon.pid))

    def _await(self, name: ServerName) -> Server:
        deadline = time.monotonic() + START_S
        while (answer := self._read(name)) is None:
            if not self._is_alive(name) and self._read(name) is None:
                raise ServerFailed(f"The daemon of {TITLES[name]} ended:\n{self._log(name)}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{TITLES[name]} didn't start within {START_S:g} s:\n{self._log(name)}")
            time.sleep(POLL_S)
        if isinstance(answer, Server):
            return answer
        raise answer

    def _read(self, name: ServerName) -> Server | ServersMissing | ServerFailed | None:
        path = self.directory / f"{name}.json"
        if not path.exists():
            return None
        answer = json.loads(path.read_text())
        if "missing" in answer:
            return ServersMissing(answer["missing"])
        if "failed" in answer:
            return ServerFailed(answer["failed"])
        return Server(**{**answer, "passed_over": tuple(answer["passed_over"])})

    def _is_alive(self, name: ServerName) -> bool:
        for daemon in _daemons.get(self.directory, []):
            daemon.poll()  # otherwise an ended child process would keep its id
        try:
            os.kill(int(self._daemon_file(name).read_text()), 0)
        except ProcessLookupError:
            return False
        return True

    def _daemon_file(self, name: ServerName) -> Path:
        return self.directory / f"{name}.daemon"

    def _log(self, name: ServerName) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")


def write_result(directory: Path, name: ServerName, answer: Server | ServersMissing | ServerFailed) -> None:
    """Write a daemon's result for all processes of the run, atomically."""
    fields = asdict(answer) if isinstance(answer, Server) else {_KEYS[type(answer)]: str(answer)}
    draft = directory / f"{name}.draft"
    draft.write_text(json.dumps(fields))
    draft.rename(directory / f"{name}.json")


_KEYS: dict[type, str] = {ServersMissing: "missing", ServerFailed: "failed"}


def servers() -> Servers:
    """Return the servers of this test run, which all of its processes share.

    They end with the process that began the run, or with its pytest session.
    """
    shared = os.environ.get(RUN)
    if shared and Path(shared).is_dir():
        return Servers(Path(shared))
    made = Servers.make()
    _made.append(made)
    atexit.register(end_of_run)
    os.environ[RUN] = str(made.directory)
    return made


def end_of_run() -> None:
    """End the servers that `servers()` made in this process; a forked process doesn't end them."""
    while _made:
        made = _made.pop()
        if made.owner != os.getpid():
            continue
        if os.environ.get(RUN) == str(made.directory):
            del os.environ[RUN]
        made.end()


@contextmanager
def running_servers(*needs: ServerName) -> Iterator[Servers]:
    """Yield separate servers for one block. It starts `needs` at once, and others when their address is read.

    Raises:
        ServersMissing: no provider can start one of them; the text says what to install.
        ServerFailed: one doesn't start or doesn't accept connections.
    """
    made = Servers.make()
    try:
        yield made.start(*needs)
    finally:
        made.end()


def _spawn(name: ServerName, directory: Path) -> subprocess.Popen[bytes]:
    """Start a daemon in its own session, so that neither Ctrl-C nor the end of an xdist worker ends a shared server."""
    ours = str(Path(oms.__file__).parent.parent)
    paths = [ours, *filter(None, [os.environ.get("PYTHONPATH")])]
    with (directory / f"{name}.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "oms.testing.servers.daemon", name, str(directory)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
