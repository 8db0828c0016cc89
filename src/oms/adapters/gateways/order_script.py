"""Scripts failures of the simulated gateway for the calls of one order."""

from __future__ import annotations

import attrs

from oms.adapters.gateways.script import Behaviour, Rule, Script


@attrs.frozen
class OrderScript:
    """Adds rules for the calls of one order to a script."""

    _script: Script
    order_id: str

    def decline(self) -> None:
        """Decline the charge."""
        self._script.add(Rule(Behaviour.DECLINE, self.order_id))

    def delay(self, seconds: float) -> None:
        """Respond after `seconds` seconds."""
        self._script.add(Rule(Behaviour.DELAY, self.order_id, seconds=seconds))

    def no_answer_before_charge(self, times: int = 1) -> None:
        """Lose the call before it takes effect."""
        self._script.add(Rule(Behaviour.NO_ANSWER_BEFORE_CHARGE, self.order_id, times=times))

    def no_answer_after_charge(self, times: int = 1) -> None:
        """Capture, and lose the response."""
        self._script.add(Rule(Behaviour.NO_ANSWER_AFTER_CHARGE, self.order_id, times=times))

    def late(self, seconds: float) -> None:
        """Capture, lose the response, and let a lookup find the charge only after `seconds` seconds."""
        self._script.add(Rule(Behaviour.LATE, self.order_id, times=1, seconds=seconds))

    def refuse(self, times: int = 1) -> None:
        """Respond 503 the next `times` times."""
        self._script.add(Rule(Behaviour.REFUSE, self.order_id, times=times))

    def unreachable(self, times: int = 1) -> None:
        """Refuse the connection the next `times` times: the charge certainly isn't made."""
        self._script.add(Rule(Behaviour.UNREACHABLE, self.order_id, times=times))

    def refuse_refund(self, reason: str = "refused", times: int = 1) -> None:
        """Decline the next `times` refunds, for this reason. The answer to a refund's key is final."""
        self._script.add(Rule(Behaviour.REFUSE_REFUND, self.order_id, times=times, reason=reason))

    def no_answer_before_refund(self, times: int = 1) -> None:
        """Lose the call of a refund before it takes effect."""
        self._script.add(Rule(Behaviour.NO_ANSWER_BEFORE_REFUND, self.order_id, times=times))

    def no_answer_after_refund(self, times: int = 1) -> None:
        """Refund, and lose the response."""
        self._script.add(Rule(Behaviour.NO_ANSWER_AFTER_REFUND, self.order_id, times=times))

    def late_refund(self, seconds: float) -> None:
        """Refund, lose the response, and let a lookup find the refund only after `seconds` seconds."""
        self._script.add(Rule(Behaviour.LATE_REFUND, self.order_id, times=1, seconds=seconds))

    def capture_anyway(self) -> None:
        """Answer `Voided` to the void, and capture the charge all the same, against the contract."""
        self._script.add(Rule(Behaviour.CAPTURE_ANYWAY, self.order_id, times=1))
