"""A gateway for tests: it makes each call and, while the file in OMS_TEST_GATEWAY contains `mute`, sends no response.

Its book is the simulated gateway's, in OMS_DATA. A customer `slow-2.5` is charged 2.5 s later; `declined` never.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import oms
from oms.adapters.gateways.simulated import SimulatedGateway
from oms.adapters.gateways.sqlite_book import SqliteBook
from oms.adapters.system.clock import SystemClock
from oms.settings import load_settings


class Gateway(oms.PaymentGateway, oms.GatewayBook):
    """Every call moves the money, and reads the file before it answers."""

    def __init__(self) -> None:
        self._mood = Path(os.environ["OMS_TEST_GATEWAY"])
        book = SqliteBook(load_settings().data / "gateway.db")
        self._gateway = SimulatedGateway(book, SystemClock(), success_rate=1.0)

    def _answer(self, answer: Any) -> Any:
        return oms.Unanswered("mute") if self._mood.read_text() == "mute" else answer

    def charge(self, charge: oms.Charge) -> Any:
        if charge.user_id == "declined":
            return oms.Declined("no credit")
        kind, _, seconds = charge.user_id.partition("-")
        if kind == "slow":
            time.sleep(float(seconds))
        return self._answer(self._gateway.charge(charge))

    def lookup(self, lookup: oms.Lookup) -> Any:
        return self._answer(self._gateway.lookup(lookup))

    def void(self, void: oms.Void) -> Any:
        if self._mood.read_text() == "mute":
            return oms.Unanswered("mute")
        return self._gateway.void(void)

    def refund(self, refund: oms.Refund) -> Any:
        return self._answer(self._gateway.refund(refund))

    def all_entries(self) -> Iterable[oms.BookEntry]:
        return self._gateway.all_entries()
