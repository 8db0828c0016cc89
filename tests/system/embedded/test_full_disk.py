"""The embedded profile under load on a file system that gets full, and has room again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3

from tests.support.processes import oms
from tests.support.serving import Load, an_order
from tests.system.embedded.on_disk import Running, eventually, served

pytestmark = [pytest.mark.slow]
SIZE_MIB = 24
ROOM_BYTES = 2**20
"""What is left when the load begins: it is used up within seconds."""

AFTERWARDS = 50
OF_THE_DISK = {"log_unavailable", "store_not_writable"}
SHOWS_WITHIN_S = 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of `SIZE_MIB`, of this test alone."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=700", "oms-test", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        "this test mounts a tmpfs: run it as root, in a container with the capability SYS_ADMIN"
        f" (docker run --cap-add SYS_ADMIN); mount said: {done.stderr}"
    )
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path, left_bytes: int) -> Path:
    """A file that leaves so much room."""
    found = os.statvfs(disk)
    ballast = disk / "ballast"
    with ballast.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, found.f_bavail * found.f_frsize - left_bytes)
    return ballast


def states(running: Running, ids: list[str]) -> set[str]:
    """The states of orders; each of them must be there."""
    found = set()
    for order_id in ids:
        answer = urllib3.request("GET", f"{running.url}/orders/{order_id}", retries=False)
        assert answer.status == 200, f"{order_id} was accepted and is lost"
        found.add(answer.json()["status"])
    return found


def test_no_accepted_order_is_lost_when_the_disk_is_full_under_load(disk: Path) -> None:
    data = disk / "data"
    with served(data, OMS_DEFAULT_STOCK="1000000", OMS_PAYMENT_SUCCESS_RATE="0.9") as running:
        port = urlsplit(running.url).port or 0
        load, later = (Load(port, an_order, connections=8) for _ in range(2))
        ballast = fill(disk, ROOM_BYTES)
        load.start(1_000_000)
        eventually(lambda: any(status != 201 for status in load.statuses), 60, lambda: os.statvfs(disk))
        eventually(lambda: bool(is_shown(running)), SHOWS_WITHIN_S, running.codes)
        shown = is_shown(running)

        load.stop()  # or it fills the disk again
        assert set(load.statuses) == {201, 503}

        ballast.unlink()
        eventually(lambda: running.codes() == (200, set()), 30, running.codes)
        eventually(lambda: shown <= running.logged("recovered") and not running.gauges(), 5, running.gauges)
        later.start(AFTERWARDS)
        later.join()
        assert later.statuses == [201] * AFTERWARDS
        accepted = load.accepted + later.accepted
        eventually(lambda: states(running, accepted) <= {"CONFIRMED", "REJECTED", "CANCELLED"}, 60, running.codes)
    done = oms("verify", "--data", str(data))
    assert done.returncode == 0, done.stdout + done.stderr


def is_shown(running: Running) -> set[str]:
    """The conditions of the disk that `/readyz`, the log and the metrics show."""
    status, codes = running.codes()
    return codes & OF_THE_DISK & running.logged("not ready") & running.gauges() if status == 503 else set()
