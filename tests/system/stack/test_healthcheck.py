"""The container's health check against real sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from oms.entrypoints.healthcheck import problem


class Ready(BaseHTTPRequestHandler):
    status: ClassVar[int] = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Ready)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield str(server.server_port)
    server.shutdown()
    server.server_close()
    thread.join()


def test_ready(port: str) -> None:
    assert problem({"OMS_HTTP_PORT": port}) is None


def test_not_ready(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ready, "status", 503)
    assert problem({"OMS_HTTP_PORT": port}) == "not ready: /readyz answers 503"


@pytest.mark.parametrize("port", ["1", "", "no-number"])
def test_nobody_there(port: str) -> None:
    assert str(problem({"OMS_HTTP_PORT": port})).startswith(f"no answer from port {port}: ")


@pytest.mark.parametrize(("wanted", "exit_code"), [(200, 0), (503, 1)])
def test_as_the_engine_runs_it(port: str, monkeypatch: pytest.MonkeyPatch, wanted: int, exit_code: int) -> None:
    monkeypatch.setattr(Ready, "status", wanted)
    command = [sys.executable, "-m", "oms.entrypoints.healthcheck"]
    done = subprocess.run(
        command, env=os.environ | {"OMS_HTTP_PORT": port}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, bool(done.stderr)) == (exit_code, bool(exit_code))
