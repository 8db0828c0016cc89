"""A forked process that inherits clients of librdkafka ends in good order; no server is needed for that."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, sys
from oms.adapters.kafka.careful_reader import CarefulReader
from oms.adapters.kafka.probe import Probe
from oms.adapters.kafka.producer import Sender
from oms.adapters.kafka.subscription import KafkaSubscription
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.ports.broker import TopicPartition

nobody = {"bootstrap.servers": "127.0.0.1:1", "log_level": "0"}
member = {**nobody, "group.id": "g"}
sender = Sender({**nobody, "message.timeout.ms": "1000"}, RecordingTelemetry())
producer = sender._current()
subscription = KafkaSubscription(member, ["t"], RecordingTelemetry())
subscription.wait(0.1)
reader = CarefulReader(member, TopicPartition("t", 0), 0)
reader.next()
probe = Probe(nobody)
probe._consumer("group")
del producer
if (child := os.fork()) == 0:
    sys.exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, flush=True)
os._exit(0)
"""


def test_a_forked_process_that_inherits_clients_ends_in_good_order() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], timeout=60, check=False, capture_output=True, text=True)
    assert done.stdout == "0\n", done.stdout + done.stderr
