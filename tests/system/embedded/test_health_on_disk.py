"""The embedded profile on a disk that takes no writes any more: within five seconds it isn't ready, and then it is again."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.support.processes import oms
from tests.system.embedded.on_disk import Running, served

pytestmark = [pytest.mark.slow]

OBEYS_MODES = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root without the right to write where the mode says no."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A served system whose process obeys the mode of its directory."""
    data = tmp_path / "data"
    data.mkdir()
    with served(data, OBEYS_MODES if os.geteuid() == 0 else ()) as made:
        yield made


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
