"""`oms` as processes of their own, as a person or a supervisor starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import urllib3

OMS = (sys.executable, "-m", "oms")
START_S = 40.0


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMS_", "OMSCTL_"))}
    return kept | {"OMS_DEFAULT_STOCK": "100"} | more


def oms(*arguments: str, timeout_s: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OMS, *arguments], capture_output=True, text=True, timeout=timeout_s, env=environment(**more), check=False
    )


@attrs.define
class Served:
    """One `oms serve` on a free port."""

    directory: Path
    data: Path
    process: subprocess.Popen[bytes]
    url: str = ""

    @property
    def out(self) -> str:
        return (self.directory / "out").read_text()

    @property
    def err(self) -> str:
        return (self.directory / "err").read_text()

    def wait_for_start(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            assert self.process.poll() is None, self.err
            for line in self.out.splitlines():
                if '"listening"' in line:
                    self.url = json.loads(line)["url"]
                    return
            time.sleep(0.05)
        raise AssertionError("not listening in time")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return oms(*arguments, OMSCTL_URL=self.url)

    def ready(self) -> bool:
        return urllib3.request("GET", f"{self.url}/readyz", retries=False).status == 200

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        begun = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(30)
        return code, time.monotonic() - begun


def serve(directory: Path, data: Path, **more: str) -> Served:
    directory.mkdir()
    with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
        process = subprocess.Popen(
            [*OMS, "serve", "--port", "0", "--data", str(data)], stdout=out, stderr=err, env=environment(**more)
        )
    return Served(directory, data, process)
