"""The embedded profile on a disk that takes no writes any more: within five seconds it isn't ready, and then it is again."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import urllib3
from processes import OMS, environment, oms

pytestmark = [pytest.mark.slow]

OBEYS_MODES = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root without the right to write where the mode says no."""


@attrs.define
class Running:
    """One `oms serve`, whose log is read through a pipe: no limit of files reaches that."""

    data: Path
    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = attrs.field(factory=list)
    url: str = ""

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def codes(self) -> tuple[int, set[str]]:
        answer = urllib3.request("GET", f"{self.url}/readyz", retries=False)
        return answer.status, set(answer.json()["problems"])

    def gauges(self) -> set[str]:
        text = urllib3.request("GET", f"{self.url}/metrics", retries=False).data.decode()
        lines = [line for line in text.splitlines() if line.startswith("oms_health_problems{")]
        return {line.split('"')[1] for line in lines if not line.endswith(" 0.0")}

    def logged(self, event: str) -> set[str]:
        return {line["condition"] for line in self.lines if line["event"] == event and "condition" in line}

    def shows(self, condition: str) -> None:
        eventually(lambda: self.codes()[0] == 503 and condition in self.codes()[1], 5, self.codes)
        eventually(lambda: condition in self.logged("not ready") & self.gauges(), 1, self.codes)

    def recovers(self, condition: str) -> None:
        eventually(lambda: self.codes() == (200, set()), 30, self.codes)
        eventually(lambda: condition in self.logged("recovered") and self.gauges() == set(), 5, self.gauges)


def eventually(happened: Callable[[], bool], within_s: float, seen: Callable[[], object]) -> None:
    until = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < until, seen()
        time.sleep(0.05)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A served system whose process obeys the mode of its directory."""
    data = tmp_path / "data"
    data.mkdir()
    prefix = OBEYS_MODES if os.geteuid() == 0 else ()
    process = subprocess.Popen(
        [*prefix, *OMS, "serve", "--port", "0", "--data", str(data)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    made = Running(data, process)
    reader = threading.Thread(target=made.read)
    reader.start()
    try:
        eventually(lambda: any("url" in line for line in made.lines), 40, lambda: made.lines)
        made.url = next(line["url"] for line in made.lines if "url" in line)
        eventually(lambda: made.codes() == (200, set()), 10, made.codes)
        yield made
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        reader.join()


def test_a_directory_that_becomes_read_only(running: Running) -> None:
    running.data.chmod(0o555)
    running.shows("log_unavailable")
    done = oms("doctor", "--url", running.url)
    assert done.returncode == 1
    assert "log_unavailable (process): log:" in done.stderr
    running.data.chmod(0o755)
    running.recovers("log_unavailable")
    assert oms("doctor", "--url", running.url).returncode == 0


def test_files_that_can_grow_no_more_as_on_a_full_disk(running: Running) -> None:
    """A limit of the file's size fails each write as a full disk does, at run time and for this process alone."""
    before = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    running.shows("store_not_writable")
    running.shows("log_unavailable")
    body = json.dumps({"userId": "ann", "amount": 1, "items": {"x": 1}})
    headers = {"Content-Type": "application/json"}
    refused = urllib3.request("POST", f"{running.url}/orders", body=body, headers=headers, retries=False)
    assert refused.status == 503, "no order is accepted that isn't on disk"
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, before)
    running.recovers("store_not_writable")
    accepted = urllib3.request("POST", f"{running.url}/orders", body=body, headers=headers, retries=False)
    assert accepted.status == 201
