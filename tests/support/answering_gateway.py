"""A gateway for tests whose answers are given one by one, and which keeps the records that it got."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import oms

Answer = Callable[[], object]


class Gateway(oms.PaymentGateway):
    """Answers each call by a function; what isn't given answers as a gateway does that captured the charge."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = {
            "charge": lambda: oms.Captured("p-1"),
            "lookup": lambda: oms.Captured("p-1"),
            "void": lambda: oms.Captured("p-1"),
            "refund": oms.Refunded,
            **answers,
        }
        self.got: list[Any] = []

    def charge(self, charge: oms.Charge) -> Any:
        return self._answer("charge", charge)

    def lookup(self, lookup: oms.Lookup) -> Any:
        return self._answer("lookup", lookup)

    def void(self, void: oms.Void) -> Any:
        return self._answer("void", void)

    def refund(self, refund: oms.Refund) -> Any:
        return self._answer("refund", refund)

    def calls(self) -> list[str]:
        return [type(request).__name__.lower() for request in self.got]

    def _answer(self, call: str, request: object) -> object:
        self.got.append(request)
        return self.answers[call]()


class ByTurns:
    """Gives one answer after the other, and the last one for ever."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    def __call__(self) -> object:
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found
