"""The suites for what a shop writes, run on ours and on small right ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import oms
from oms.adapters.auth.authenticators import ApiKeys, TrustEveryone
from oms.adapters.auth.keys_file import new_key
from oms.adapters.memory import ManualClock, RecordingTelemetry
from oms.adapters.notifiers.webhook import WebhookNotifier
from oms.adapters.system.clock import SystemClock
from oms.testing.contracts.authenticator import AuthenticatorContract
from oms.testing.contracts.extension_samples import CALLERS
from oms.testing.contracts.notifier import NotifierContract
from oms.testing.contracts.policy import PolicyContract
from oms.testing.contracts.pricing import PricingContract
from oms.testing.sim.gateway import TapeNotifier
from tests.contracts.extension_doubles import (
    KNOWN,
    LimitPolicy,
    ListPricing,
    MailNotifier,
    ProxyAuthenticator,
    Receiver,
    TokenAuthenticator,
)


class TestWebhook(NotifierContract):
    @pytest.fixture
    def receiver(self) -> Iterator[Receiver]:
        self.server = Receiver()
        yield self.server
        self.server.close()

    @pytest.fixture
    def notifier(self, receiver: Receiver) -> WebhookNotifier:
        return WebhookNotifier(receiver.url, "secret", SystemClock(), timeout_s=5.0)

    def delivered(self) -> list[str]:
        return self.server.got

    def unreachable(self) -> AbstractContextManager[None]:
        return self.server.answering(503)

    def refusing(self) -> AbstractContextManager[None]:
        return self.server.answering(410)


class TestWebhookWhoseReceiverHangs(TestWebhook):
    @pytest.fixture
    def notifier(self, receiver: Receiver) -> WebhookNotifier:
        return WebhookNotifier(receiver.url, "secret", SystemClock(), timeout_s=1.5)

    def unreachable(self) -> AbstractContextManager[None]:
        return self.server.hanging()


class TestMail(NotifierContract):
    @pytest.fixture
    def notifier(self) -> MailNotifier:
        self.mail = MailNotifier()
        return self.mail

    def delivered(self) -> list[str]:
        return self.mail.got

    def unreachable(self) -> AbstractContextManager[None]:
        return self.raising(ConnectionError("timed out"))

    def refusing(self) -> AbstractContextManager[None]:
        return self.raising(oms.Permanent("no such mailbox"))

    @contextmanager
    def raising(self, error: Exception) -> Iterator[None]:
        self.mail.error = error
        yield
        self.mail.error = None


class TestSimulatedNotifier(NotifierContract):
    can_refuse = False

    @pytest.fixture
    def notifier(self) -> TapeNotifier:
        self.choice = 0
        self.tape = TapeNotifier(lambda _label, _options: self.choice)
        return self.tape

    def delivered(self) -> list[str]:
        return [one.id for one in self.tape.sent]

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        self.choice = 1
        yield
        self.choice = 0


class TestListPricing(PricingContract):
    @pytest.fixture
    def pricing(self) -> ListPricing:
        return ListPricing()


class TestPricingInYen(TestListPricing):
    currency = oms.Currency.of("JPY")


class TestLimitPolicy(PolicyContract):
    @pytest.fixture
    def policy(self) -> LimitPolicy:
        return LimitPolicy()

    def refused(self) -> tuple[oms.Terms, oms.Principal]:
        return self.terms({"sku-a": 101}), CALLERS[0]


class TestTokens(AuthenticatorContract):
    @pytest.fixture
    def authenticator(self) -> TokenAuthenticator:
        return TokenAuthenticator()

    def known(self) -> Any:
        return KNOWN


class TestTrust(AuthenticatorContract):
    trusts_everyone = True

    @pytest.fixture
    def authenticator(self) -> TrustEveryone:
        return TrustEveryone()

    def known(self) -> Any:
        return [({}, oms.Principal(oms.Role.TRUSTED))]


class TestProxy(AuthenticatorContract):
    credentials_are_secret = False

    @pytest.fixture
    def authenticator(self) -> ProxyAuthenticator:
        return ProxyAuthenticator()

    def known(self) -> Any:
        return [({"x-user": name}, oms.Principal(oms.Role.CUSTOMER, oms.UserId(name))) for name in ("ann", "a:b")]


class TestApiKeys(AuthenticatorContract):
    @pytest.fixture
    def authenticator(self, tmp_path: Path) -> ApiKeys:
        clock, entries = ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), []
        self.keys: dict[str, str] = {}
        for name, role, user in (("ann", "customer", "ann"), ("ops", "operator", None), ("old", "customer", "bob")):
            key, entry = new_key(name, oms.Role(role), user)
            self.keys[name] = key
            expired = {"expires": (clock.now() - timedelta(seconds=1)).isoformat()} if name == "old" else {}
            entries.append({**entry, **expired})
        file = tmp_path / "keys.json"
        file.write_text(json.dumps(entries))
        return ApiKeys(file, clock, RecordingTelemetry())

    def known(self) -> Any:
        ann = oms.Principal(oms.Role.CUSTOMER, oms.UserId("ann"))
        return [
            ({"authorization": f"Bearer {self.keys['ann']}"}, ann),
            ({"x-api-key": self.keys["ann"]}, ann),
            ({"authorization": f"bearer  {self.keys['ops']}"}, oms.Principal(oms.Role.OPERATOR)),
        ]

    def expired(self) -> Any:
        return [{"authorization": f"Bearer {self.keys['old']}"}, {"x-api-key": self.keys["old"]}]
