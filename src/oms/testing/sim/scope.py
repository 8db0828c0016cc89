"""The size of a simulated system, and the faults that may happen in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from oms.bootstrap.system import SERVICES

CRASH = "crash"
REBALANCE = "rebalance"
REPEAT = "repeat"
GARBAGE = "garbage"
GATE = "gate"
GATEWAY = "gateway"
CANCEL = "cancel"
CLOCK = "clock"
ANSWERS = "answers"
PAUSES = "pauses"
FORGERY = "forgery"
OPERATORS = "operators"
REFUSALS = "refusals"
PURGE = "purge"

FAULTS: Mapping[str, str] = {
    CRASH: "a worker dies, and another one starts in its place",
    REBALANCE: "a worker loses its partitions, also in the middle of a batch",
    REPEAT: "a message is appended to the log a second time",
    GARBAGE: "another producer writes bytes that are not a message",
    GATE: "the stock gate loses all its data, or restarts without its last second",
    GATEWAY: (
        "the gateway declines, responds with 503, loses responses before or after the charge, or finds a charge only"
        " later"
    ),
    CANCEL: "a customer or an operator cancels",
    CLOCK: "time passes while there is work to do, or the clock is set back",
    ANSWERS: "a port call fails, or succeeds and its response is lost",
    PAUSES: "a worker stops in the middle of a step, for a while or past the poll interval",
    FORGERY: "another producer writes payment events with a wrong amount or customer",
    OPERATORS: "an operator ships or refunds something that isn't in the plan of the scope",
    REFUSALS: "the gateway refuses a refund for good, and an operator retries it or resolves it",
    PURGE: "a message is appended to the message log a second time, after its inbox rows were purged",
}
"""Every kind of fault. `answers` and `pauses` need a fine scope: they happen between the calls of a step."""

AFTER_CONFIRMATION = frozenset({OPERATORS, REFUSALS, PURGE})
"""The faults that concern shipments and refunds."""

USUAL = frozenset(FAULTS) - {FORGERY} - AFTER_CONFIRMATION
"""The default faults of a scope: all but forgery, because only the order service can detect a forged event."""


@attrs.frozen
class Scope:
    """One system: `orders` orders of a product with `units` units; `workers` workers of each service.

    In a fine scope a worker can pause, fail or die before and after each port call; otherwise only between whole steps.
    """

    orders: int = 1
    units: int = 1
    quantity: int = 1
    """The units that each order wants. An order of several units has a line with an amount, and a charge."""

    plan: tuple[str, ...] = ()
    """The operations that operators carry out on each confirmed order, in this order (`operators.OPERATIONS`)."""

    workers: Mapping[str, int] = attrs.field(factory=lambda: dict.fromkeys(SERVICES, 1))
    partitions: int = 1
    batch: int = 1
    fine: bool = False
    all_points: bool = False
    """Makes the scope fine, and includes faults that equal a fault at a neighbouring point."""

    faults: frozenset[str] = USUAL
    each: int = 1
    """How often one fault may happen in a run (crash of the same worker, repeat of the same topic, ...)."""

    deadline_s: float = 900.0
    settle_s: float = 60.0
    steps: int = 400
    """After this number of steps no faults happen any more, and the system must come to rest."""

    def to_json(self) -> dict[str, Any]:
        """Return the scope in the format of tape files."""
        plain = attrs.asdict(self)
        return {**plain, "faults": sorted(self.faults), "workers": dict(self.workers)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Scope:
        """Read a scope from a tape file; raises `TypeError` if another version wrote it."""
        plan = tuple(found.get("plan", ()))
        return cls(**{**found, "faults": frozenset(found["faults"]), "plan": plan})


ONE_OF_EACH = Scope(
    units=2,
    quantity=2,
    plan=("ship one", "cancel one", "take one back"),
    faults=USUAL | AFTER_CONFIRMATION,
)
"""One order of two units: one is shipped, one is cancelled, and the shipped one comes back."""


def pairs(**more: Any) -> Scope:
    """Return a scope with two workers of each service."""
    return Scope(workers=dict.fromkeys(SERVICES, 2), **more)
