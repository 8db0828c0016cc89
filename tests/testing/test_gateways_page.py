"""Every block of code in docs/gateways.md is run, and its schedule is the real one."""

from __future__ import annotations

import re
from typing import Any

import pytest

import oms
from oms.application.gateway_tasks import ALERT_EVERY_ATTEMPTS
from oms.settings import Settings
from oms.testing import Shop
from tests.support.files import DOCS

pytest_plugins = ["pytester"]

PAGE = (DOCS / "gateways.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_code_of_the_page_keeps_the_contract(pytester: pytest.Pytester) -> None:
    with_a_book = (
        "class TestWithABook(TestWallets):\n"
        "    shows_a_book = True\n\n"
        "    @pytest.fixture\n"
        "    def gateway(self):\n"
        '        return WalletsWithABook({"customer-1": 1_000_000_00})\n'
    )
    pytester.makepyfile(test_page="\n\n".join([*BLOCKS, with_a_book]))
    ran = pytester.runpytest_inprocess(
        "-q", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function"
    )
    ran.assert_outcomes(passed=53, skipped=11)
    assert PAGE.count("```") == 2 * len(BLOCKS)


class Silent(oms.PaymentGateway):
    """Answers each call with a fixed result; records the time of each call."""

    def __init__(self, charge: object, lookup: object) -> None:
        self.answers: dict[str, object] = {"Charge": charge, "Lookup": lookup, "Void": oms.Unanswered()}
        self.shop: Shop | None = None
        self.requests: list[tuple[str, float]] = []

    def __getattribute__(self, name: str) -> Any:
        return (
            self._answer_request if name in ("charge", "lookup", "void", "refund") else super().__getattribute__(name)
        )

    def _answer_request(self, request: object) -> object:
        assert self.shop is not None
        since = (self.shop.now() - self.shop.begun_at).total_seconds()
        self.requests.append((type(request).__name__, since))
        return self.answers[type(request).__name__]

    charge = lookup = void = refund = _answer_request

    def times(self, *calls: str) -> list[float]:
        return [since for call, since in self.requests if call in calls]


def shop_of(gateway: Silent) -> Shop:
    gateway.shop = Shop(gateway=gateway)
    gateway.shop.place()
    gateway.shop.run()
    return gateway.shop


def numbers(text: str) -> list[float]:
    return [float(one) for one in re.findall(r"\d+(?:\.\d+)?", text)]


def test_the_calls_come_when_the_page_says() -> None:
    gateway = Silent(oms.Unanswered(), oms.Unanswered())
    shop = shop_of(gateway)
    shop.advance(minutes=5)
    found = re.search(r"start (0, .*?) s after the first", PAGE, re.DOTALL)
    assert found is not None
    expected = numbers(found[1])
    assert gateway.times("Charge", "Lookup")[: len(expected)] == expected
    assert len(expected) == ALERT_EVERY_ATTEMPTS
    following = gateway.times("Charge", "Lookup")[len(expected) :]
    assert following[0] - expected[-1] == 60.0
    assert [alert.event for alert in shop.telemetry.alerts] == ["payment without an answer"]


def test_an_unknown_charge_is_charged_again_when_the_page_says() -> None:
    gateway = Silent(oms.Unanswered(), oms.UnknownCharge())
    shop_of(gateway).advance(minutes=1)
    found = re.search(r"at the look-up ([\d.]+) s after the charge", PAGE)
    assert found is not None
    assert gateway.times("Charge")[:2] == [0.0, float(found[1])]


def test_a_charge_that_was_not_attempted_is_made_again_when_the_page_says() -> None:
    gateway = Silent(oms.NotAttempted(), oms.Unanswered())
    shop_of(gateway).advance(seconds=2)
    assert gateway.times("Charge") == [0.0, 0.25, 0.75, 1.75]
    assert not gateway.times("Lookup")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("payment_settle_window_s", "{:g} s"),
        ("order_deadline_s", "{:g} s"),
        ("task_lease_s", "{:g} s"),
        ("payment_calls", "{}"),
        ("payment_timeout_s", "{:g} s"),
    ],
)
def test_the_settings_have_the_defaults_that_the_page_says(setting: str, words: str) -> None:
    value = words.format(getattr(Settings(), setting))
    assert re.search(rf"`OMS_{setting.upper()}`(, | \(){value}\)", PAGE)
