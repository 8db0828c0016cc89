"""One system of each profile behind its HTTP API, as an operator's program sees it."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from starlette.testclient import TestClient

import oms
from oms.operations import promises
from oms.operations.promises import Report
from oms.settings import Settings, load_settings
from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import Cluster, request
from tests.support.serving import Serving

ENDS_S = 60.0
"""Time limit of whatever a test waits for, in seconds: other work may keep the machine busy."""

REFUND_SCRIPT = (
    {"metadata": {"case": "refused once"}, "behaviour": "refuse_refund", "reason": "the account is closed", "times": 1},
    {"metadata": {"case": "whole refused"}, "behaviour": "refuse_refund", "times": 1},
    {"metadata": {"case": "refused"}, "behaviour": "refuse_refund"},
    {"metadata": {"case": "answer lost"}, "behaviour": "no_answer_after_refund", "times": 1},
    {"metadata": {"case": "call lost"}, "behaviour": "no_answer_before_refund", "times": 1},
)
"""Failures of the gateway, by the metadata of the order."""

SETTINGS = {"OMS_DEFAULT_STOCK": "100", "OMS_PAYMENT_SUCCESS_RATE": "1", "OMS_LOG_LEVEL": "warning"}


class HttpSystem(ABC):
    """Sends requests, and checks the promises."""

    @abstractmethod
    def send(self, method: str, path: str, body: object = None, *, key: str = "", process: int = 0) -> tuple[int, Any]:
        """Return status and body. `process` chooses one of the processes of the order service."""

    @abstractmethod
    def verify(self) -> Report:
        """Check the promises."""

    def check(self) -> None:
        """Every promise holds, and nothing is parked, once no work is under way."""
        report = self.verify()
        until = time.monotonic() + ENDS_S
        while report.whole and not report.quiet:
            assert time.monotonic() < until, report
            time.sleep(0.2)
            report = self.verify()
        assert report.whole, report
        assert report.parked == 0, report


@attrs.frozen
class InMemory(HttpSystem):
    """The API of a system in this process."""

    app: oms.App
    client: TestClient

    def send(self, method: str, path: str, body: object = None, *, key: str = "", process: int = 0) -> tuple[int, Any]:
        response = self.client.request(method, path, json=body, headers=_headers(key))
        return response.status_code, response.json()

    def verify(self) -> Report:
        system, settings = self.app.system, self.app.settings
        now = system.container.clock().now()
        limits = {"deadline_s": settings.order_deadline_s, "settle_s": settings.settle_s}
        return promises.check(self.app.evidence, system.container.codec(), now=now, **limits)


@attrs.frozen
class OverNetwork(HttpSystem):
    """Processes of their own, whose records this process reads."""

    settings: Settings
    order_ports: Callable[[], list[int]]
    stock_port: Callable[[], int]

    def send(self, method: str, path: str, body: object = None, *, key: str = "", process: int = 0) -> tuple[int, Any]:
        ports = self.order_ports()
        port = self.stock_port() if path.startswith("/stock") else ports[process % len(ports)]
        return request(port, method, path, body, headers=_headers(key), timeout_s=30)

    def verify(self) -> Report:
        return oms.verify(self.settings)


@attrs.frozen
class FourProcesses(OverNetwork):
    """Four services, the order service in two processes."""

    cluster: Cluster


def _headers(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key} if key else {}


def _scripted(directory: Path) -> dict[str, str]:
    script = directory / "script.json"
    script.write_text(json.dumps(REFUND_SCRIPT))
    return {**SETTINGS, "OMS_PAYMENT_SCRIPT": str(script)}


@contextmanager
def in_memory(directory: Path) -> Iterator[InMemory]:
    """Run a system in this process."""
    with (
        oms.create(profile="memory", environ=_scripted(directory)) as app,
        TestClient(oms.asgi(app), "http://localhost") as client,
    ):
        yield InMemory(app, client)


@contextmanager
def embedded(directory: Path) -> Iterator[OverNetwork]:
    """Run `oms serve`."""
    environ = _scripted(directory)
    serving = Serving(directory / "data", environ)
    serving.start(ENDS_S)
    try:
        settings = load_settings({**environ, "OMS_PROFILE": "embedded", "OMS_DATA": str(serving.data)})
        yield OverNetwork(settings, lambda: [serving.port], lambda: serving.port)
        assert serving.stop() == 0
    finally:
        if serving.process is not None and serving.process.poll() is None:
            serving.kill()


@contextmanager
def four_processes(directory: Path) -> Iterator[FourProcesses]:
    """Run the four services on servers of their own."""
    with NativePostgres() as postgres, NativeRedis() as gate, NativeKafka() as kafka:
        cluster = Cluster(directory, postgres.url, gate.url, kafka.url, _scripted(directory))
        try:
            cluster.set_up()
            cluster.start()
            cluster.add("order").await_ready()
            environ = {name: text for name, text in cluster.settings().items() if name.startswith("OMS_")}

            def ports(service: str) -> list[int]:
                return [worker.port for worker in cluster.of(service)]

            yield FourProcesses(load_settings(environ), lambda: ports("order"), lambda: ports("inventory")[0], cluster)
            cluster.stop()
        finally:
            cluster.end()
