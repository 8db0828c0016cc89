"""The adapters of the `memory` profile, which are deterministic and use nothing outside of the process.

The simulator runs on them too: transactions with row locks, a log with rebalances, and the stock gate's rules over
dicts, all with hooks at each port call (`oms.adapters.memory.call_hooks`).
"""

from oms.adapters.memory.call_executor import SequentialCallExecutor
from oms.adapters.memory.call_hooks import Blocked, Point, WorkerKilled
from oms.adapters.memory.clock import CountedIds, ManualClock
from oms.adapters.memory.gate import MemoryGate
from oms.adapters.memory.inventory import MemoryInventoryStore
from oms.adapters.memory.log import MemoryLog
from oms.adapters.memory.notifications import MemoryNotificationStore
from oms.adapters.memory.orders import MemoryOrderStore
from oms.adapters.memory.payments import MemoryPaymentStore
from oms.adapters.memory.steps import MemoryStepStore
from oms.adapters.memory.telemetry import RecordingTelemetry

__all__ = [
    "Blocked",
    "CountedIds",
    "ManualClock",
    "MemoryGate",
    "MemoryInventoryStore",
    "MemoryLog",
    "MemoryNotificationStore",
    "MemoryOrderStore",
    "MemoryPaymentStore",
    "MemoryStepStore",
    "Point",
    "RecordingTelemetry",
    "SequentialCallExecutor",
    "WorkerKilled",
]
