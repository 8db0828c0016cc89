"""The durable log and other processes: one is killed, one reads at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from oms.adapters.memory.clock import ManualClock
from oms.adapters.sqlite_log.log import SqliteLog
from oms.ports.messages import Outgoing

pytestmark = pytest.mark.slow
TOPIC = "order.created"

PUBLISHER = """
import os, sys, threading
from pathlib import Path
from oms.adapters.sqlite_log.log import SqliteLog
from oms.adapters.system.clock import SystemClock
from oms.ports.messages import Outgoing

log = SqliteLog(Path(sys.argv[1]), clock=SystemClock())

def publish(thread):
    for number in range(1_000_000):
        keys = [f"{sys.argv[2]}-{thread}-{number}-{i}" for i in range(3)]
        reports = log.publish([Outgoing("order.created", key.encode(), key.encode() * 20) for key in keys])
        delivered = [key for key, report in zip(keys, reports) if report is None]
        os.write(1, "".join(key + "\\n" for key in delivered).encode())

for thread in range(4):
    threading.Thread(target=publish, args=(thread,)).start()
"""

READER = """
import sys
from pathlib import Path
from oms.adapters.sqlite_log.log import SqliteLog
seen = list(SqliteLog.read_only(Path(sys.argv[1])).all_records())
print(len(seen), len({(r.partition, r.offset) for r in seen}))
"""


def killed_after(path: Path, life: int, lines: int) -> set[str]:
    """The keys that a publisher called delivered before it was killed."""
    command = [sys.executable, "-c", PUBLISHER, str(path), str(life)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        reported = [child.stdout.readline().strip() for _ in range(lines)]
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read()
    whole = rest[: rest.rfind("\n") + 1].split()
    return {*reported, *whole} - {""}


def test_nothing_that_was_reported_is_lost_by_a_kill(tmp_path: Path):
    path = tmp_path / "broker.db"
    delivered: set[str] = set()
    for life in range(4):
        delivered |= killed_after(path, life, lines=60 + 97 * life)
    log = SqliteLog(path, clock=ManualClock())
    records = list(log.all_records())
    kept = {(record.key or b"").decode() for record in records}
    assert delivered <= kept
    assert len(delivered) > 500
    for partition in range(4):
        offsets = [record.offset for record in records if record.partition == partition]
        assert offsets == list(range(len(offsets)))
    assert list(log.publish([Outgoing(TOPIC, b"k", b"next")])) == [None]
    log.close()


def test_another_process_reads_while_this_one_writes(tmp_path: Path):
    path = tmp_path / "broker.db"
    log = SqliteLog(path, clock=ManualClock())
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            log.publish([Outgoing(TOPIC, b"%d" % number, b"v") for number in range(50)])

    writer = threading.Thread(target=publish)
    writer.start()
    try:
        counts = []
        for _ in range(3):
            ran = subprocess.run([sys.executable, "-c", READER, str(path)], capture_output=True, text=True, check=True)
            count, different = map(int, ran.stdout.split())
            assert count == different
            assert count > 0
            counts.append(count)
    finally:
        stop.set()
        writer.join()
        log.close()
    assert counts == sorted(counts)
