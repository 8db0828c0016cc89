"""A shop's own gateway for tests: it hangs, fails or captures as the file in OMS_TEST_GATEWAY says."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import oms


class Gateway(oms.PaymentGateway):
    """Every call reads the file first."""

    def __init__(self) -> None:
        self._mood = Path(os.environ["OMS_TEST_GATEWAY"])

    def _answer(self, well: Any) -> Any:
        mood = self._mood.read_text()
        if mood == "hangs":
            threading.Event().wait()
        if mood == "fails":
            raise KeyError("a bug in the gateway")
        return well

    def charge(self, _charge: oms.Charge) -> Any:
        return self._answer(oms.Captured("moody-1"))

    def lookup(self, _lookup: oms.Lookup) -> Any:
        return self._answer(oms.Captured("moody-1"))

    def void(self, _void: oms.Void) -> Any:
        return self._answer(oms.Voided())

    def refund(self, _refund: oms.Refund) -> Any:
        return self._answer(oms.Refunded())
