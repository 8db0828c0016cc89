"""The measured system: starts and stops the servers, and each service in its own processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

import oms
from oms.testing.bench.usage import Usage, resident_mb, usage_of
from oms.testing.servers import Servers, running_servers

SERVICES = ("order", "inventory", "payment", "notification")
SERVERS = ("postgres", "redis", "kafka")
READY_S = 60.0
STOP_S = 20.0

STOCKED: Mapping[str, str] = {"OMS_DEFAULT_STOCK": "1000000000", "OMS_PAYMENT_SUCCESS_RATE": "1"}
"""Settings with which every order can be confirmed; all others have their defaults."""


class BenchFailed(Exception):
    """The run can't be measured. The text is the reason."""


@attrs.define(eq=False)
class Process:
    """One process of the system."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    log: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; its output goes to its log file."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - the program is `oms`
                [*self.command, "--port", str(self.port)], env=dict(self.environ), stdout=log, stderr=log
            )

    def await_ready(self) -> None:
        """Wait until `/readyz` reports ready; raises `BenchFailed` if the process ends or takes too long."""
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            if self.process is None or self.process.poll() is not None:
                break
            if _is_ready(self.port):
                return
            time.sleep(0.05)
        raise BenchFailed(f"{self.name} isn't ready: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Stop the process, and kill it if it doesn't end in time."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def usage(self) -> Usage:
        """Return the CPU time and memory that the process has used up to now."""
        if self.process is None:
            return Usage()
        return usage_of(self.process.pid)


@attrs.define(eq=False)
class Deployment:
    """A system that accepts orders at `addresses`. `environ` has the settings of all of its processes."""

    directory: Path
    environ: Mapping[str, str]
    processes: list[Process] = attrs.field(factory=list)
    servers: Mapping[str, int] = attrs.field(factory=dict)
    """The process id of the root of each server's process tree, by the server's name."""

    given: tuple[str, int] | None = None
    """Host and port of a system that the benchmark didn't start."""

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """Hosts and ports where orders are placed."""
        own = [("127.0.0.1", one.port) for one in self.processes if one.name in ("order", "serve")]
        return [self.given] if self.given else own

    def add(self, name: str, command: Sequence[str], settings: Mapping[str, str]) -> None:
        """Start a process without waiting until it is ready."""
        log = self.directory / f"{name}-{len(self.processes)}.log"
        made = Process(name, [sys.executable, "-m", "oms", *command], {**self.environ, **settings}, log, _free_port())
        self.processes.append(made)
        made.start()

    def await_ready(self) -> None:
        """Wait until all processes are ready."""
        for process in self.processes:
            process.await_ready()

    def stop(self) -> None:
        """Stop all processes."""
        for process in self.processes:
            process.stop()
        self.processes.clear()

    def start(
        self, names: Sequence[str] = SERVICES, *, each: int = 1, settings: Mapping[str, str] | None = None
    ) -> None:
        """Start services, with `each` processes of each, and wait until they are ready."""
        for name in names:
            for _ in range(each):
                self.add(name, ["run", name], settings or {})
        self.await_ready()

    def oms(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an `oms` command with the same settings to its end."""
        command = [sys.executable, "-m", "oms", *arguments]
        return subprocess.run(command, env=dict(self.environ), capture_output=True, text=True, check=False)  # noqa: S603

    def set_up(self) -> None:
        """Create tables, roles and topics."""
        done = self.oms("setup")
        if done.returncode != 0:
            raise BenchFailed(f"oms setup: {done.stderr or done.stdout}")

    def verify(self, within_s: float) -> Mapping[str, Any]:
        """Run `oms verify` when no work is left; raises `BenchFailed` for a broken promise or a time-out."""
        until = time.monotonic() + within_s
        while True:
            done = self.oms("verify", "--json")
            report: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
            if report.get("quiet") and done.returncode == 0:
                return report
            if report.get("violations") or time.monotonic() > until:
                raise BenchFailed(f"oms verify: {done.stdout[-3000:]}{done.stderr[-1000:]}")
            time.sleep(0.5)

    def usage(self) -> dict[str, Usage]:
        """Return the CPU time and memory that each service (all of its processes) and server has used up to now."""
        used: dict[str, Usage] = {}
        for process in self.processes:
            used[process.name] = used.get(process.name, Usage()) + process.usage()
        return used | {name: usage_of(pid, tree=True) for name, pid in self.servers.items()}

    def resident_mb(self) -> dict[str, float]:
        """Return the resident memory of each service in MiB, by name."""
        found: dict[str, float] = {}
        for one in self.processes:
            if one.process is not None:
                found[one.name] = found.get(one.name, 0.0) + resident_mb(one.process.pid)
        return found


@contextmanager
def servers() -> Iterator[Servers]:
    """Start PostgreSQL, Redis and Kafka with their default durability, for one block."""
    with running_servers(*SERVERS) as made:  # type: ignore[arg-type] # the names are server names
        yield made


def distributed(directory: Path, own: Servers, settings: Mapping[str, str], database: str = "oms") -> Deployment:
    """Return a deployment on these servers, set up; no service runs yet."""
    reached = addresses(own.postgres_url, own.redis_url, own.kafka_bootstrap, database=database)
    environ = {**_clean_environ(), **reached, "OMS_DATA": str(directory / "data"), **settings}
    (directory / "data").mkdir(exist_ok=True)
    made = Deployment(directory, environ, servers=own.daemons())
    made.set_up()
    return made


def embedded(directory: Path, settings: Mapping[str, str]) -> Deployment:
    """Return a running `oms serve` in its own directory."""
    environ = {**_clean_environ(), "OMS_PROFILE": "embedded", "OMS_DATA": str(directory / "data"), **settings}
    made = Deployment(directory, environ)
    made.add("serve", ["serve"], {})
    made.await_ready()
    return made


def addresses(postgres_url: str, redis_url: str, kafka_bootstrap: str, *, database: str) -> Mapping[str, str]:
    """Return the settings of a distributed system on these servers, whose URLs may have an administrator's login."""
    postgres, gate = urlsplit(postgres_url), urlsplit(redis_url)
    return {
        "OMS_PROFILE": "distributed",
        "OMS_POSTGRES_URL": f"postgresql://{postgres.netloc.rpartition('@')[2]}/{database}",
        "OMS_POSTGRES_ADMIN_USER": postgres.username or "postgres",
        "OMS_POSTGRES_ADMIN_PASSWORD": postgres.password or "",
        "OMS_POSTGRES_PASSWORD": "a-password-of-the-tests",
        "OMS_REDIS_URL": f"{gate.scheme}://{gate.netloc.rpartition('@')[2]}{gate.path}",
        "OMS_REDIS_PASSWORD": gate.password or "",
        "OMS_KAFKA_BOOTSTRAP": kafka_bootstrap,
    }


def _clean_environ() -> dict[str, str]:
    """Return this process's environment without `oms` settings; child processes import the same `oms`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OMS_")}
    paths = [str(Path(oms.__file__).parent.parent), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
