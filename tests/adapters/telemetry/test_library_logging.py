"""In a program of someone else's, oms logs through that program's `logging` and configures nothing of it."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import pytest

from oms.adapters.telemetry.logs_and_metrics import StructlogTelemetry
from oms.testing import Shop

CONFIGURED = """
import logging, sys
before = (logging.root.level, list(logging.root.handlers), logging.lastResort)
import oms
app = oms.create(profile="memory", environ={}, payment_success_rate=1.0, default_stock=5)
with app:
    order = app.orders.place(app.draft("ann", 1, {"x": 1}))
    import time
    until = time.monotonic() + 20
    while app.orders.get(order.id).state.name != "CONFIRMED" and time.monotonic() < until:
        time.sleep(0.01)
    assert app.orders.get(order.id).state.name == "CONFIRMED"
assert (logging.root.level, list(logging.root.handlers), logging.lastResort) == before, "the root is the host's"
ours = [name for name in logging.root.manager.loggerDict if name == "oms" or name.startswith("oms.")]
for name in ours:
    logger = logging.getLogger(name)
    assert not logger.handlers and logger.level == logging.NOTSET and logger.propagate, name
assert ours
"""


def test_neither_import_nor_create_nor_a_run_configures_logging_or_writes_to_stdout() -> None:
    done = subprocess.run([sys.executable, "-c", CONFIGURED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def telemetry() -> StructlogTelemetry:
    return StructlogTelemetry(secrets=["a-known-secret"])


def test_each_kind_of_line_has_a_logger_and_a_level(
    telemetry: StructlogTelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    telemetry.note("Order created", order_id="o-1")
    telemetry.note_all([("Inventory reserved", {"order_id": "o-2"})])
    telemetry.failure("call failed", OSError("away"), attempt=1)
    telemetry.alert("message parked", topic="t")
    assert [(one.name, one.levelname, one.getMessage()) for one in caplog.records] == [
        ("oms.events", "INFO", "Order created order_id=o-1"),
        ("oms.events", "INFO", "Inventory reserved order_id=o-2"),
        ("oms.errors", "WARNING", "call failed error=OSError attempt=1"),
        ("oms.alerts", "ERROR", "message parked topic=t"),
    ]
    assert [one.__dict__["oms_event"] for one in caplog.records][-1] == "message parked"
    assert caplog.records[-1].__dict__["oms_fields"] == {"topic": "t"}


def test_the_host_decides_which_lines_are_made(telemetry: StructlogTelemetry, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="oms")
    telemetry.note("Order created")
    telemetry.alert("message parked")
    assert [one.getMessage() for one in caplog.records] == ["message parked"]


def test_secrets_are_masked_for_the_host_too(telemetry: StructlogTelemetry, caplog: pytest.LogCaptureFixture) -> None:
    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    logging.getLogger("oms").addHandler(handler)
    try:
        telemetry.failure("call failed", OSError("postgresql://u:hunter2@db a-known-secret"), token="abc")
    finally:
        logging.getLogger("oms").removeHandler(handler)
    text = shown.getvalue()
    assert "OSError" in text
    assert "Traceback" in text or "OSError: postgresql" in text
    assert not any(secret in text + caplog.text for secret in ("hunter2", "a-known-secret", "abc"))
    (record,) = caplog.records
    assert record.exc_info is not None, "for handlers that want the error itself"


def test_a_handler_of_the_host_that_raises_changes_nothing() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit("no space")

    handler = Broken()
    logging.getLogger("oms").addHandler(handler)
    try:
        logging.getLogger("oms").setLevel(logging.INFO)
        shop = Shop(telemetry=StructlogTelemetry())
        order = shop.place()
        shop.run()
        assert shop.status(order) == "CONFIRMED"
        with pytest.raises(SystemExit):
            logging.getLogger("oms.events").error("the handler is in use")
    finally:
        logging.getLogger("oms").setLevel(logging.NOTSET)
        logging.getLogger("oms").removeHandler(handler)
