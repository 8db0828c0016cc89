"""The distributed profile as it runs: four services, each in processes of its own, on real servers that can be hurt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import attrs
import psycopg

from oms.testing.bench.deployment import addresses
from tests.support.files import ROOT
from tests.support.serving import free_port

SERVICES = ("order", "inventory", "payment", "notification")
OPEN = ("CREATED", "RESERVED", "CANCELLING")


def clean_environ() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("OMS_")}


def with_tests_importable(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, with the repository at the end of PYTHONPATH: processes import `tests.support` from it."""
    return {**environ, "PYTHONPATH": os.pathsep.join(filter(None, (environ.get("PYTHONPATH"), str(ROOT))))}


@attrs.define(eq=False)
class Worker:
    """One process of one service."""

    service: str
    environ: Mapping[str, str]
    log: Path
    port: int = attrs.field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self, **more: str) -> Worker:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.crashing", "run", self.service, "--port", str(self.port)],
                env=with_tests_importable({**self.environ, **more}),
                stdout=log,
                stderr=log,
            )
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self, timeout_s: float = 20) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(timeout_s)

    def died(self, within_s: float) -> int:
        """The exit code of a process that ends by itself."""
        assert self.process is not None
        return self.process.wait(within_s)

    def get(self, path: str, timeout_s: float = 10) -> tuple[int, Any]:
        return request(self.port, "GET", path, timeout_s=timeout_s)

    def await_ready(self, timeout_s: float = 60) -> float:
        """Seconds until it was ready."""
        began = time.monotonic()
        answer: Any = None
        while time.monotonic() - began < timeout_s:
            assert self.process is not None
            assert self.process.poll() is None, f"{self.service} ended: {self.tail()}"
            try:
                status, answer = self.get("/readyz", timeout_s=5)
                if status == 200:
                    return time.monotonic() - began
            except (OSError, HTTPException):
                pass
            time.sleep(0.05)
        raise AssertionError(f"{self.service} wasn't ready in {timeout_s} s: {answer} {self.tail()}")

    def memory_mb(self) -> float:
        """What it keeps in use: its own pages, and its share of those of libraries that others use as well."""
        assert self.process is not None
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


def request(
    port: int,
    method: str,
    path: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 10,
) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        kind = {"Content-Type": "application/json"} if body is not None else {}
        sent = json.dumps(body) if body is not None else None
        connection.request(method, path, sent, {**kind, **(headers or {})})
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text[:1] in (b"{", b"[") else text
    finally:
        connection.close()


@attrs.define(eq=False)
class Cluster:
    """Services over servers whose addresses are given; `environ` are further settings of every process."""

    directory: Path
    postgres_url: str
    redis_url: str
    kafka_bootstrap: str
    environ: dict[str, str] = attrs.field(factory=dict)
    workers: list[Worker] = attrs.field(factory=list)

    def settings(self) -> dict[str, str]:
        given = {
            **addresses(self.postgres_url, self.redis_url, self.kafka_bootstrap, database="oms"),
            "OMS_DATA": str(self.directory / "data"),
            "OMS_DEFAULT_STOCK": "100",
            "OMS_KAFKA_CONF_SESSION_TIMEOUT_MS": "6000",
            "OMS_KAFKA_CONF_MAX_POLL_INTERVAL_MS": "6000",
        }
        return {**clean_environ(), **given, **self.environ}

    def oms(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command of its own."""
        return subprocess.run(
            [sys.executable, "-m", "oms", *arguments],
            env={**self.settings(), **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def set_up(self) -> None:
        done = self.oms("setup")
        assert done.returncode == 0, done.stdout + done.stderr

    def add(self, service: str) -> Worker:
        log = self.directory / f"{service}-{len(self.workers)}.log"
        worker = Worker(service, self.settings(), log).start()
        self.workers.append(worker)
        return worker

    def start(self, each: int = 1) -> Cluster:
        (self.directory / "data").mkdir(exist_ok=True)
        for service in SERVICES:
            for _ in range(each):
                self.add(service)
        self.await_ready()
        return self

    def await_ready(self) -> None:
        for worker in self.workers:
            worker.await_ready()

    def of(self, service: str) -> list[Worker]:
        return [worker for worker in self.workers if worker.service == service]

    def stop(self) -> None:
        codes = [(worker.service, worker.stop()) for worker in self.workers]
        assert all(code == 0 for _, code in codes), codes

    def end(self) -> None:
        """Whatever happened: nothing is left running."""
        for worker in self.workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.kill()

    def states(self) -> Counter[str]:
        """How many orders are in each state; an order that the order service doesn't know yet isn't counted."""
        with psycopg.connect(self._record(), autocommit=True) as connection:
            rows = connection.execute("SELECT state, count(*) FROM oms_order.orders GROUP BY state").fetchall()
        return Counter(dict(rows))

    def in_flight(self) -> int:
        counted = self.states()
        return sum(counted[state] for state in OPEN)

    def settle(self, timeout_s: float = 120) -> Counter[str]:
        until = time.monotonic() + timeout_s
        while True:
            counted = self.states()
            if sum(counted[state] for state in OPEN) == 0:
                return counted
            assert time.monotonic() < until, (counted, [worker.tail()[-500:] for worker in self.workers])
            time.sleep(0.3)

    def check(self, timeout_s: float = 60) -> dict[str, Any]:
        """`oms verify` until nothing is under way any more; every promise must hold at each look."""
        until = time.monotonic() + timeout_s
        while True:
            done = self.oms("verify", "--json")
            assert done.stdout, done.stderr
            report: dict[str, Any] = json.loads(done.stdout)
            quiet = report["quiet"]
            if quiet or time.monotonic() > until:
                assert quiet, (report, "not quiet in time")
                assert done.returncode == 0, report
                return report
            time.sleep(1)

    def _record(self) -> str:
        base, _, _ = self.postgres_url.rpartition("/")
        return f"{base}/oms"
