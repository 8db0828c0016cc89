"""The clients of the JDK with their defaults. Spring's RestClient and RestTemplate use one of them by default.

Java comes with the servers of `make servers`, where Kafka needs it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import oms
from tests.entrypoints.http.raw_http import serving

SOURCE = Path(__file__).with_name("JdkClient.java")


@pytest.mark.servers
def test_the_jdks_clients_place_orders() -> None:
    with oms.create(profile="memory", environ={}, log_level="error") as app, serving(app) as port:
        command = ["java", "-XX:TieredStopAtLevel=1", str(SOURCE), f"http://127.0.0.1:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines() == [
            "length 201 HTTP_1_1",
            "chunked 201 HTTP_1_1",
            "get 200 HTTP_1_1",
            "HttpURLConnection 201",
        ]
        assert app.orders.page().total == 3
