"""A new event needs five edits: its record, the state tables, the saga, a route and a shape. This makes them in a copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import oms

RECORD = '''
@attrs.frozen
class PaymentReviewed(PaymentEvent):
    """The gateway didn't answer, so the payment is looked up."""

    topic = "payment.reviewed"


'''
ROW = (
    "    T.REVIEWED: by_state(ABSENT=_early, LEGACY=_noted, CREATED=_noted, RESERVED=_noted, CANCELLING=_noted, "
    "CONFIRMED=_noted, REJECTED=_never, CANCELLED=_noted, FULFILLING=_noted, COMPLETED=_noted),\n"
)
EDITS = {
    "domain/events.py": [(r"(?=@attrs.frozen\nclass PaymentFailed)", RECORD.lstrip())],
    "domain/payment.py": [
        (r"(?=PaymentRefunded,)", "PaymentReviewed, "),
        (r"move\(S.UNKNOWN\)", "move(S.UNKNOWN, PaymentReviewed)"),
    ],
    "domain/order_table.py": [
        (r"(?=    CUSTOMER_CANCEL = )", '    REVIEWED = "payment.reviewed"\n'),
        (r"(?=    T.CUSTOMER_CANCEL:)", ROW),
    ],
    "domain/saga.py": [
        (r"(?=PaymentSucceeded,\n)", "PaymentReviewed, "),
        (r"\(PaymentSucceeded, PaymentFailed\)", "(PaymentSucceeded, PaymentFailed, PaymentReviewed)"),
        (r'(?=    SagaStep\("cancel")', '    SagaStep("note", "order", (PaymentReviewed,), (), "", _once),\n'),
    ],
    "application/orders.py": [
        (r"(?=PaymentSucceeded,)", "PaymentReviewed, "),
        (r"(?=    PaymentFailed.topic:)", "    PaymentReviewed.topic: applies(OrderTrigger.REVIEWED),\n"),
    ],
    "adapters/wire/shapes.py": [(r"(?=    events.PaymentFailed:)", "    events.PaymentReviewed: _PAID,\n")],
}
"""By file: where to insert or replace. The state tables of an event are two files, its publisher's and its reader's."""

TRY = """
import oms
from oms.application.routing import ROUTING
from oms.domain.events import EVENTS, PaymentReviewed
from oms.domain.order import Order
from oms.domain.saga import routes
from oms.ports.errors import OutcomeUnknown
from oms.testing import Shop, given

assert PaymentReviewed in EVENTS
consumers = {}
for name, one in ROUTING.items():
    for topic in one.topics:
        consumers.setdefault(topic, []).append(name)
assert routes() == {topic: tuple(sorted(names)) for topic, names in consumers.items()}
given(Order, "place").when("payment.reviewed").expect().state("CREATED")
given(Order).when("payment.reviewed").state("ABSENT")

shop = Shop()
shop.gateway.lose_next_answer()
order = shop.place()
shop.advance(minutes=5)
shop.expect(order).confirmed()
assert [one.trigger for one in shop.app.orders.timeline(order.id)].count("payment.reviewed") == 1
assert shop.report().whole
"""


def copy_of_the_package(directory: Path, without: str = "") -> Path:
    source = Path(oms.__file__).parent
    shutil.copytree(source, directory / "oms", ignore=shutil.ignore_patterns("__pycache__"))
    for name, edits in EDITS.items():
        if name != without:
            file = directory / "oms" / name
            text = file.read_text()
            for where, new in edits:
                text, count = re.subn(where, lambda _, new=new: new, text, count=1)
                assert count == 1, (name, where)
            file.write_text(text)
    return directory


def run(directory: Path) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(directory)}
    return subprocess.run([sys.executable, "-c", TRY], env=environ, capture_output=True, text=True, timeout=60)


def test_an_event_works_after_these_edits(tmp_path: Path) -> None:
    ended = run(copy_of_the_package(tmp_path))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EDITS if name != "domain/events.py"])
def test_a_missing_edit_is_noticed(tmp_path: Path, name: str) -> None:
    assert run(copy_of_the_package(tmp_path, without=name)).returncode != 0
