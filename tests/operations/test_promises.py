"""What the check of the promises takes for work under way, and what for a broken promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import pytest

from oms.operations import promises
from oms.ports.broker import TopicPartition
from oms.ports.evidence import LogEvidence
from oms.ports.messages import Record
from oms.settings import Settings
from oms.testing import Shop


@pytest.fixture(params=["memory", "embedded"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    made = Shop(settings=Settings(profile=request.param, data=tmp_path))
    made.place()
    made.run()
    return made


def test_a_message_that_nobody_has_read_yet_is_work_under_way(shop: Shop) -> None:
    assert shop.report().quiet
    shop.publish("inventory.released", b'{"orderId":"another","items":{}}')

    report = shop.report()
    assert (report.quiet, report.whole) == (False, True)
    assert "P9" in report.checked, "what was read before it is checked nevertheless"
    shop.run()
    assert (shop.report().quiet, shop.report().whole) == (True, True)


class Log(LogEvidence):
    """A log with one more message, which the order service passed over."""

    def __init__(self, shop: Shop, *, has_offsets: bool = True) -> None:
        self._records = [*shop.log.all_records(), Record("payment.success", 0, 10**6, None, b"{")]
        self._offsets = {**shop.log.offsets("order-group"), TopicPartition("payment.success", 0): 10**6 + 1}
        self._log, self._has_offsets = shop.log, has_offsets

    def all_records(self) -> Sequence[Record]:
        return sorted(self._records, key=lambda record: (record.topic, record.partition, record.offset))

    def offsets(self, group: str) -> Mapping[TopicPartition, int] | None:
        if not self._has_offsets:
            return None
        found = {"order-group": self._offsets}.get(group, self._log.offsets(group))
        return {**found, TopicPartition("payment.success", 0): 10**6 + 1}


@pytest.mark.parametrize("has_offsets", [True, False])
def test_a_message_that_was_read_and_left_no_trace_breaks_the_promise(shop: Shop, has_offsets: bool) -> None:
    report = promises.check(
        attrs.evolve(shop.app.evidence, log=Log(shop, has_offsets=has_offsets)),
        shop.app.system.container.codec(),
        now=shop.clock.now(),
        deadline_s=900,
        settle_s=60,
    )
    assert report.quiet
    assert {violation.promise for violation in report.violations} == {"P9"}
    assert any("order-group" in violation.detail for violation in report.violations)
