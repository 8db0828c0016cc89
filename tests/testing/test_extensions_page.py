"""docs/extensions.md: its code runs, keeps the contracts, and its figures are those of the code."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

import oms
from oms.adapters.auth.authenticators import ApiKeys
from oms.adapters.auth.keys_file import read_keys
from oms.adapters.memory import ManualClock, RecordingTelemetry
from oms.adapters.notifiers.webhook import shape, signature
from oms.application import notifications
from oms.engine import poison_guard, retries
from oms.ports.extensions import Notification
from oms.settings import Settings
from oms.testing import Shop
from tests.support.files import DOCS

pytest_plugins = ["pytester"]

PAGE = (DOCS / "extensions.md").read_text()
BLOCKS = re.findall(r"```(python|json)\n(.*?)```", PAGE, re.DOTALL)
CODE = "\n\n".join(code for language, code in BLOCKS if language == "python")
BODY, KEYS = (json.loads(code) for language, code in BLOCKS if language == "json")

CONTRACTS = """
import pytest
from oms.testing.contracts.authenticator import AuthenticatorContract
from oms.testing.contracts.notifier import NotifierContract
from oms.testing.contracts.policy import PolicyContract
from oms.testing.contracts.pricing import PricingContract


class TestPricing(PricingContract):
    skus = ("lamp", "bulb")

    @pytest.fixture
    def pricing(self):
        return ListPricing()


class TestLimits(PolicyContract):
    @pytest.fixture
    def policy(self):
        return Limits()

    def refused(self):
        return self.terms({"sku-a": 1}, minor=1000_01), oms.Principal(oms.Role.CUSTOMER, oms.UserId("ann"))


class TestMailbox(NotifierContract):
    can_be_unreachable = can_refuse = False

    @pytest.fixture
    def notifier(self):
        self.box = Mailbox()
        return self.box

    def delivered(self):
        return list(self.box.sent)


class TestTokens(AuthenticatorContract):
    @pytest.fixture
    def authenticator(self):
        return Tokens()

    def known(self):
        return [({"authorization": f"Bearer {token}"}, who) for token, who in Tokens.tokens.items()]
"""


@pytest.fixture(scope="module")
def page() -> ModuleType:
    made = ModuleType("page")
    exec(compile(CODE, "docs/extensions.md", "exec"), made.__dict__)
    return made


def test_the_extensions_of_the_page_keep_their_contracts(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_page=CODE + CONTRACTS)
    ran = pytester.runpytest_inprocess(
        "-q", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function"
    )
    outcomes = ran.parseoutcomes()
    assert "failed" not in outcomes
    assert "errors" not in outcomes
    assert outcomes["passed"] > 40


def test_the_extensions_of_the_page_work_together(page: ModuleType) -> None:
    box = page.Mailbox()
    shop = Shop(pricing=page.ListPricing(), policy=page.Limits(), notifier=box)
    page.subscribe(shop.app)
    order = shop.place({"lamp": 2}, amount=1, metadata={"address": "1 Quay"})
    ann = oms.Principal(oms.Role.CUSTOMER, oms.UserId("ann"))
    with pytest.raises(oms.Refused) as refused:
        shop.place({"lamp": 100}, user="ann", caller=ann)
    shop.run()

    assert refused.value.code == "too_much"
    shop.expect(order).confirmed().paid("39.80").remembered("shipping", {"status": "booked"})
    assert set(box.sent) == {f"{order.id}:order.confirmed", f"{order.id}:payment.success"}
    (booked,) = shop.published("shipping.booked")
    assert booked.body["parcel"] == f"parcel of {order.id} to 1 Quay"


NOTIFICATION = Notification(
    id=BODY["id"],
    order_id=oms.OrderId(BODY["orderId"]),
    user_id=oms.UserId("ann"),
    kind="order.cancelled",
    amount=oms.Money(1980, oms.Currency.of("USD")),
    reason=oms.Reason.PAYMENT_DECLINED,
    metadata={"channel": "web"},
    at=datetime(2026, 1, 1, 12, 0, 0, 123456, UTC),
)


def test_the_body_of_the_webhook_is_the_one_shown() -> None:
    assert json.loads(json.dumps(shape(NOTIFICATION), default=float)) == BODY


def headers_of(body: bytes, secret: str, at: datetime) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    return {"Oms-Timestamp": timestamp, "Oms-Signature": signature(secret, timestamp, body)}


@pytest.mark.parametrize("name", ["is_ours", "is_authentic"])
def test_the_signature_is_verified_as_shown(page: ModuleType, name: str) -> None:
    verify, body, now = getattr(page, name), b'{"id": "1"}', datetime.now(UTC)
    good = headers_of(body, "secret", now)
    assert verify("secret", good, body)
    assert not verify("secret", good, body + b" ")
    assert not verify("other", good, body)
    assert not verify("secret", headers_of(body, "secret", now - timedelta(minutes=6)), body)
    assert not verify("secret", {**good, "Oms-Timestamp": "12e3"}, body)
    assert not verify("secret", {**good, "Oms-Signature": "v1=\xff\u20ac"}, body)
    assert not verify("secret", {}, body)


def test_the_keys_file_is_read_as_shown(tmp_path: Path) -> None:
    keys = {"web": "key-1", "warehouse": "key-2"}
    entries = [{**entry, "sha256": hashlib.sha256(keys[entry["name"]].encode()).hexdigest()} for entry in KEYS]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(entries))
    clock = ManualClock(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))
    known = ApiKeys(file, clock, RecordingTelemetry())

    ann = oms.Principal(oms.Role.CUSTOMER, oms.UserId("ann"))
    assert known.authenticate({"authorization": "Bearer key-1"}) == ann
    assert known.authenticate({"x-api-key": "key-2"}) == oms.Principal(oms.Role.OPERATOR)
    clock.advance(timedelta(seconds=1))
    assert known.authenticate({"x-api-key": "key-1"}) is None

    documented = set(re.findall(r"^\| `(\w+)` \|", PAGE[PAGE.index("### The keys file") :], re.MULTILINE))
    assert documented == set().union(*entries)
    for name in ("name", "role", "sha256", "user"):
        file.write_text(json.dumps([{key: value for key, value in entries[0].items() if key != name}]))
        with pytest.raises(oms.SettingsError, match="entry 1"):
            read_keys(file)


class Raising(oms.Pricing):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def price(self, terms: oms.Terms) -> oms.Money:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (oms.InvalidValue("c", "d"), 422),
        (oms.DomainError("c", "d"), 422),
        (oms.NotFound("c", "d"), 404),
        (oms.Conflict("c", "d"), 409),
        (oms.Refused("c", "d"), 403),
        (oms.Retryable("d"), 503),
        (ValueError("d"), 500),
    ],
)
def test_errors_of_pricing_are_answered_as_the_table_says(error: Exception, status: int) -> None:
    with (
        oms.create(profile="memory", environ={}, pricing=Raising(error), log_level="error") as app,
        TestClient(oms.asgi(app), "http://localhost", raise_server_exceptions=False) as client,
    ):
        answer = client.post("/orders", json={"userId": "u", "amount": 1, "items": {"a": 1}})
        assert answer.status_code == status
        assert client.get("/orders").json()["totalElements"] == 0


def test_the_figures_are_those_of_the_code() -> None:
    settings = Settings()
    assert (settings.notify_calls, settings.webhook_timeout_s) == (32, 5)
    assert (retries.FIRST_S, retries.LONGEST_S, poison_guard.MAX_ATTEMPTS) == (0.25, 60.0, 5)
    assert (timedelta(hours=24), 3600.0) == (notifications.GIVE_UP_AFTER, notifications.LONGEST_WAIT_S)
    assert set(re.findall(r"`((?:order|payment)\.\w+)`", PAGE[PAGE.index("## Notifier") :].split("```")[0])) == set(
        notifications.ROUTES
    )
    for name in re.findall(r"`(OMS_[A-Z_]+)`", PAGE):
        assert hasattr(settings, name.removeprefix("OMS_").lower()), name


PATHS = '''
import oms
made = []

class Mine(oms.Policy):
    def __init__(self):
        made.append(self)

    def check(self, terms, caller):
        """Accept."""

def mine():
    return Mine()

ready = Mine()
'''


@pytest.mark.parametrize(("name", "number"), [("Mine", 2), ("mine", 2), ("ready", 1)])
def test_a_path_names_a_class_a_function_or_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    (tmp_path / "page_rules.py").write_text(PATHS)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("page_rules", None)
    app = oms.create(profile="memory", environ={}, policy=None, **settings_of(f"page_rules:{name}"))
    for _ in range(2):
        app.orders.place(app.draft("ann", 1, {"lamp": 1}))
    assert len(sys.modules["page_rules"].made) == number


def settings_of(path: str) -> Mapping[str, Any]:
    return {"settings": Settings(profile="memory", policy=path)}
