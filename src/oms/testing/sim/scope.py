"""How large a simulated system is, and what may go wrong in it."""

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

FAULTS: Mapping[str, str] = {
    CRASH: "a worker dies, and another one starts in its place",
    REBALANCE: "a worker loses its partitions, in mid-batch as well",
    REPEAT: "a message is in the log once more",
    GARBAGE: "a foreign producer sends what is no message",
    GATE: "the stock gate is flushed, or restarts without its last second",
    GATEWAY: "the gateway declines, loses answers before or after the charge, knows of it late, answers 503",
    CANCEL: "a customer or an operator cancels",
    CLOCK: "time passes while there is work to do, or the clock is set back",
    ANSWERS: "a port fails, or its answer is lost: a commit with unknown outcome, a lost ack",
    PAUSES: "a worker stands still in the middle of its work, for a while or past the poll interval (a zombie)",
    FORGERY: "somebody else writes payment news of an order, with another amount or customer",
}
"""Every kind of fault. `answers` and `pauses` need a fine scope: they happen between the calls of a step."""

USUAL = frozenset(FAULTS) - {FORGERY}
"""The faults of a scope that names none. Only the order service can tell forged news: steps and notifications can't."""


@attrs.frozen
class Scope:
    """One system: `orders` orders of one unit of a product of which there are `units`; `workers` of each service.

    In a fine scope a worker can stop, fail or die before and after each port call; else only between whole steps.
    """

    orders: int = 1
    units: int = 1
    workers: Mapping[str, int] = attrs.field(factory=lambda: dict.fromkeys(SERVICES, 1))
    partitions: int = 1
    batch: int = 1
    fine: bool = False
    all_points: bool = False
    """Fine, and nothing is left out because it is equal to something else."""

    faults: frozenset[str] = USUAL
    each: int = 1
    """How often one fault may happen in a run (crash of the same worker, repeat of the same topic, ...)."""

    deadline_s: float = 900.0
    settle_s: float = 60.0
    steps: int = 400
    """After so many steps faults are off, and the system has to come to rest."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in a tape file."""
        plain = attrs.asdict(self)
        return {**plain, "faults": sorted(self.faults), "workers": dict(self.workers)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Scope:
        """Back from a tape file; `TypeError` where it isn't one of this version."""
        return cls(**{**found, "faults": frozenset(found["faults"])})


def pairs(**more: Any) -> Scope:
    """Two workers of each service."""
    return Scope(workers=dict.fromkeys(SERVICES, 2), **more)
