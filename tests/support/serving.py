"""`oms serve` as a process of its own, and load from many connections."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import attrs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def an_order(number: int) -> dict[str, object]:
    """One of several customers', for one unit of one of several products."""
    return {"userId": f"user-{number % 50}", "amount": 5, "items": {f"sku-{number % 7}": 1}}


def wait_for(true: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until, f"not in time: {what}"
        time.sleep(0.05)


@attrs.define
class Serving:
    """One `oms serve`, started, killed and started again on the same directory and port."""

    data: Path
    environ: dict[str, str]
    port: int = attrs.field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 60.0) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("OMS_")}
        with (self.data.parent / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oms", "serve", "--port", str(self.port), "--data", str(self.data)],
                env=environ | self.environ,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"oms serve ended with {self.process.returncode}: {self.log()[-2000:]}")
            try:
                if self.get("/readyz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("oms serve wasn't ready in time")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def log(self) -> str:
        return (self.data.parent / "serve.log").read_text(errors="replace")

    def get(self, path: str) -> tuple[int, dict]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            return response.status, json.loads(body) if body[:1] == b"{" else {}
        finally:
            connection.close()

    def verify(self) -> subprocess.CompletedProcess[str]:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("OMS_")}
        return subprocess.run(
            [sys.executable, "-m", "oms", "verify", "--data", str(self.data)],
            env=environ | self.environ,
            capture_output=True,
            text=True,
            check=False,
        )


NewServing = Callable[[Mapping[str, str]], Serving]
"""Makes an `oms serve` with these settings."""


@attrs.define
class Load:
    """Posts orders over several connections until it is stopped; records the accepted orders."""

    port: int
    make: Callable[[int], dict]
    connections: int = 16
    accepted: list[str] = attrs.field(factory=list)
    statuses: list[int] = attrs.field(factory=list)
    _stopped: threading.Event = attrs.field(factory=threading.Event)
    _threads: list[threading.Thread] = attrs.field(factory=list)

    def start(self, total: int) -> None:
        numbers = iter(range(total))
        lock = threading.Lock()

        def work() -> None:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
            while not self._stopped.is_set():
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                body = json.dumps(self.make(number))
                headers = {"Content-Type": "application/json", "Idempotency-Key": f"k-{random.random()}-{number}"}
                try:
                    connection.request("POST", "/orders", body, headers)
                    response = connection.getresponse()
                    text = response.read()
                except (OSError, HTTPException):
                    return
                self.statuses.append(response.status)
                if response.status == 201:
                    self.accepted.append(json.loads(text)["id"])

        self._threads = [threading.Thread(target=work, daemon=True) for _ in range(self.connections)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)

    def stop(self) -> None:
        self._stopped.set()
        self.join()
