"""An embedded system as a process of its own, watched while its disk is hurt: readiness, metrics and log."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import urllib3

from tests.support.processes import OMS, environment


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


@contextmanager
def served(data: Path, prefix: Sequence[str] = (), **more: str) -> Iterator[Running]:
    """A served system that is ready; it must end well by itself."""
    process = subprocess.Popen(
        [*prefix, *OMS, "serve", "--port", "0", "--data", str(data)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(**more),
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
