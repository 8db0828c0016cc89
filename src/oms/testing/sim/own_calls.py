"""A shop's own gateway and notifier in a simulation: each call, or its response, may be lost on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from oms.ports.extensions import Notification, Notifier, PaymentGateway, Unanswered
from oms.testing.sim.gateway import AFTER, BEFORE, CALLS, Draw


class LossyGateway(PaymentGateway):
    """Passes each call to the shop's gateway, unless the schedule loses the call or its response.

    `armed` holds a test's own decisions about the next charges, each with the function to call when it happens.
    """

    def __init__(self, gateway: Any, draw: Draw) -> None:
        self._gateway, self._draw = gateway, draw
        self.armed: deque[tuple[str, Callable[[], object]]] = deque()

    def charge(self, charge: Any) -> Any:
        """Charge, or leave the outcome unknown."""
        if not self.armed:
            return self._call("charge", charge)
        what, happened = self.armed.popleft()
        happened()
        return self._pass("charge", charge, what)

    def lookup(self, lookup: Any) -> Any:
        """Look a charge up, or return no result."""
        return self._call("lookup", lookup)

    def void(self, void: Any) -> Any:
        """Void, or leave the outcome unknown."""
        return self._call("void", void)

    def refund(self, refund: Any) -> Any:
        """Refund, or leave the outcome unknown."""
        return self._call("refund", refund)

    def _call(self, name: str, request: Any) -> Any:
        return self._pass(name, request, CALLS[self._draw(f"gateway {name}", CALLS)])

    def _pass(self, name: str, request: Any, what: str) -> Any:
        if what == BEFORE:
            return Unanswered("simulated: the call was lost")
        answer = getattr(self._gateway, name)(request)
        return Unanswered("simulated: the answer was lost") if what == AFTER else answer


class LossyNotifier(Notifier):
    """Passes each notification to the shop's notifier, unless the schedule loses the call or its response."""

    def __init__(self, notifier: Notifier, draw: Draw) -> None:
        self._notifier, self._draw = notifier, draw

    def send(self, notification: Notification) -> None:
        """Deliver the notification, or raise an error."""
        what = CALLS[self._draw("gateway notifier", CALLS)]
        if what != BEFORE:
            self._notifier.send(notification)
        if what != CALLS[0]:
            raise ConnectionError(f"simulated: {what}")


@attrs.frozen
class OwnCalls:
    """The shop's own gateway and notifier, which a system calls in place of the simulated ones."""

    gateway: PaymentGateway | None = None
    notifier: Notifier | None = None


NOTHING_OWN = OwnCalls()
