"""The log of `oms serve`: every line of it is JSON, and a stdout that is gone or full ends no worker."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import urllib3

from tests.support.processes import OMS, environment

pytestmark = [pytest.mark.slow]

NOISY = """
import logging, sys, threading, warnings
import oms

class Gateway(oms.PaymentGateway):
    def __init__(self):
        warnings.warn("made\\nin two lines")
        logging.getLogger("uvicorn.error").error("a library\\nwith %s", "a newline")
        logging.getLogger("a.library").error("wrong use: %d", "text")
        try:
            raise ValueError("of a\\nlibrary")
        except ValueError:
            logging.getLogger("a.library").exception("it failed")
        threading.Thread(target=self._ends, name="theirs").start()

    def _ends(self):
        raise RuntimeError("in a thread\\nof its own")

    def charge(self, charge):
        raise OSError("no\\nroute")

    def lookup(self, lookup):
        return oms.UnknownCharge()

    def void(self, void):
        return oms.Voided()

    def refund(self, refund):
        return oms.Refunded()
"""


@attrs.define
class Serving:
    process: subprocess.Popen[bytes]
    port: int

    def request(self, method: str, path: str, body: object = None) -> Any:
        return urllib3.request(method, f"http://127.0.0.1:{self.port}{path}", json=body, retries=False)

    def place(self) -> str:
        answer = self.request("POST", "/orders", {"userId": "ann", "amount": 1, "items": {"x": 1}})
        assert answer.status == 201, answer.data
        return str(answer.json()["id"])

    def state(self, order_id: str) -> str:
        return str(self.request("GET", f"/orders/{order_id}").json()["status"])

    def is_up(self) -> bool:
        try:
            return bool(self.request("GET", "/readyz").status == 200)
        except urllib3.exceptions.HTTPError:
            return False


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(happened: Callable[[], bool], within_s: float = 40) -> None:
    until = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)


Start = Callable[..., Serving]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Serving] = []

    def make(stdout: Any, stderr: Any = subprocess.DEVNULL, *, prefix: tuple[str, ...] = (), **more: str) -> Serving:
        port = free_port()
        given = {"OMS_DEFAULT_STOCK": "10", "OMS_PAYMENT_SUCCESS_RATE": "1", **more}
        command = [*prefix, *OMS, "serve", "--port", str(port), "--data", str(tmp_path / "data")]
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment(**given), cwd=tmp_path)
        made = Serving(process, port)
        started.append(made)
        eventually(made.is_up)
        return made

    yield make
    for made in started:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait(10)


def works_and_stops(serving: Serving) -> None:
    """Orders are confirmed, no worker has ended, and the process ends as it should."""
    for _ in range(3):
        order_id = serving.place()
        eventually(lambda order_id=order_id: serving.state(order_id) == "CONFIRMED")  # type: ignore[misc]
    assert serving.is_up()
    assert "oms_log_lines_lost_total" in serving.request("GET", "/metrics").data.decode()
    serving.process.terminate()
    assert serving.process.wait(20) == 0


def test_nobody_reads_stdout_any_more(start: Start) -> None:
    reading, writing = os.pipe()
    serving = start(writing)
    os.close(writing)
    os.close(reading)
    works_and_stops(serving)


def test_stdout_is_full(start: Start) -> None:
    with open("/dev/full", "wb") as full:
        works_and_stops(start(full, full))


def test_stdout_is_closed(start: Start) -> None:
    serving = start(None, prefix=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"))
    for number in range(3):
        assert os.readlink(f"/proc/{serving.process.pid}/fd/{number}") == "/dev/null", (
            "no socket or file got its number"
        )
    order_id = serving.place()
    eventually(lambda: serving.state(order_id) == "CONFIRMED")
    serving.process.terminate()
    assert serving.process.wait(20) == 0


def test_a_disk_of_the_log_that_was_full_for_a_while_tears_no_line(start: Start, tmp_path: Path) -> None:
    """A limit of the file's size cuts a line as a full disk does; when there is room, the next one begins anew."""
    import resource

    log = tmp_path / "log"
    with log.open("ab") as out:
        serving = start(out)
    before = resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE)
    size = log.stat().st_size
    # The databases have more bytes than the log, so this stops them as well, and that's logged.
    resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE, (size + 50, before[1]))
    eventually(lambda: log.stat().st_size > size)
    time.sleep(0)
    resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE, before)
    eventually(serving.is_up)
    order_id = serving.place()
    eventually(lambda: serving.state(order_id) == "CONFIRMED")
    serving.process.terminate()
    assert serving.process.wait(20) == 0
    torn = []
    for line in log.read_text().splitlines():
        try:
            json.loads(line)
        except ValueError:
            torn.append(line)
    assert len(torn) <= 1, "only the line that met the limit"


def test_every_line_of_stdout_and_stderr_is_json(start: Start, tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    log = tmp_path / "log"
    with log.open("ab") as out:
        serving = start(out, out, OMS_PAYMENT_GATEWAY="noisy:Gateway", PYTHONPATH=str(tmp_path))
    serving.place()
    eventually(lambda: "call failed" in log.read_text())
    serving.process.terminate()
    assert serving.process.wait(20) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    said = "\n".join(str(value) for line in lines for value in line.values())
    for text in (
        "in two lines",
        "a library\\nwith a newline",
        "TypeError in a log line of a.library",
        "of a",
        "in a thread",
        "no",
    ):
        assert text in said, text
    assert {line["level"] for line in lines} >= {"info", "warning", "error"}
    assert all("event" in line and "timestamp" in line for line in lines)


def test_a_worker_that_fails_ends_it_with_json_too(start: Start, tmp_path: Path) -> None:
    import sqlite3

    log = tmp_path / "log"
    with log.open("ab") as out:
        serving = start(out, out)
    with sqlite3.connect(tmp_path / "data" / "payment.db", timeout=10) as connection:
        connection.execute("DROP TABLE tasks")
    serving.place()
    assert serving.process.wait(30) == 1
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert "worker failed" in [line["event"] for line in lines]
