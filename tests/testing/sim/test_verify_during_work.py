"""`oms verify` on a working system: whatever happens between two of its reads, it reports no false violation.

Each check is made while a schedule of the simulator goes on: before each read, the schedule makes some steps. A record
that is read too early, or too late, for the order of reads in `record_snapshot.py` is a wrong check, and is found here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import attrs
import pytest

from oms.operations import promises
from oms.operations.promises import Report
from oms.ports.evidence import Evidence
from oms.testing.sim.escape import sealed
from oms.testing.sim.run import Run
from oms.testing.sim.scope import AFTER_CONFIRMATION, FAULTS, PURGE, Scope
from oms.testing.sim.search import exhaustive, seeded, seeded_plan
from oms.testing.sim.simulated_system import SimulatedSystem
from tests.testing.sim.zoo import ZOO

SEEDS = range(120)
READS = ("at_one_moment", "offsets", "epoch")
ALL_FAULTS = Scope(faults=frozenset(FAULTS) - AFTER_CONFIRMATION)
LONG_S = 1e6
"""Time that passes while a worker is paused is no violation that verify has to find."""


class Moving:
    """A record whose system goes on before each read of it."""

    def __init__(self, record: Any, go_on: Callable[[], None]) -> None:
        self._record, self._go_on = record, go_on

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._record, name)
        if name.startswith("all_") or name in READS:
            self._go_on()
        return found


class Early:
    """A record that was read before everything else."""

    def __init__(self, record: Any, **seen: Any) -> None:
        self._record, self._seen = record, seen

    def __getattr__(self, name: str) -> Any:
        seen = self._seen.get(name)
        return getattr(self._record, name) if seen is None else lambda *_arguments: seen


SERVICES = ("order", "inventory", "payment", "notification")


def evidence_of(system: SimulatedSystem) -> Evidence:
    """The records through connections of their own, as another process has them."""
    own = {name: getattr(system.evidence, name).worker("verify") for name in SERVICES}
    return attrs.evolve(system.evidence, **own)


def moving(evidence: Evidence, go_on: Callable[[], None]) -> Evidence:
    names = (*SERVICES, "log", "book", "gate")
    return attrs.evolve(evidence, **{name: Moving(getattr(evidence, name), go_on) for name in names})


def report(system: SimulatedSystem, evidence: Evidence, settle_s: float = LONG_S) -> Report:
    now = system.clock.now()
    return promises.check(evidence, system.codec, now=now, deadline_s=LONG_S, settle_s=settle_s)


def checks(run: Run, seed: int, change: Callable[[Evidence], Evidence] = lambda evidence: evidence) -> Iterator[Report]:
    """A report after each step of a schedule, during which it makes more of them."""
    chance = random.Random(seed)
    more, rate = True, 0.0

    def go_on() -> None:
        nonlocal more
        while more and chance.random() < rate:
            more = run.go_on()

    while more:
        more, rate = run.go_on(), chance.choice((0.01, 0.05, 0.2))
        assert not run.violations, "the schedule itself is a right one"
        yield report(run.system, moving(change(evidence_of(run.system)), go_on))


def runs(seeds: range = SEEDS) -> Iterator[tuple[int, Run]]:
    for seed in seeds:
        scope, tape = seeded(seed, base=ALL_FAULTS)
        with sealed():
            yield seed, Run(scope, tape)


def runs_of_plans(seeds: range = SEEDS) -> Iterator[tuple[int, Run]]:
    """Runs in which operators ship and refund; no inbox is purged, because P9 would miss its messages."""
    for seed in seeds:
        scope, tape = seeded_plan(seed)
        with sealed():
            yield seed, Run(attrs.evolve(scope, faults=scope.faults - {PURGE}), tape)


def test_shipments_and_refunds_break_no_promise_while_they_are_checked() -> None:
    at_rest, states = 0, set[str]()
    for seed, run in runs_of_plans():
        for found in checks(run, seed):
            assert found.violations == (), (seed, run.steps, run.scope)
            assert {"P4", "P7", "P8", "P9", "P12"} <= set(found.checked)
            at_rest += found.quiet
            states |= found.orders.keys()
    assert {"CONFIRMED", "FULFILLING", "COMPLETED", "CANCELLED"} <= states
    assert at_rest > len(SEEDS) // 5, "both views of each refund are compared as well"


def test_a_right_system_breaks_no_promise_while_it_is_checked() -> None:
    at_rest = looks = 0
    for seed, run in runs():
        for found in checks(run, seed):
            assert found.violations == (), (seed, run.steps, run.scope)
            assert {"P4", "P7", "P8", "P9"} <= set(found.checked)
            looks += 1
            at_rest += found.quiet
    assert looks > 5 * len(SEEDS)
    assert at_rest > len(SEEDS) // 5, "the gate is compared as well"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_right_system_breaks_no_promise_while_it_is_checked_by_many_seeds() -> None:
    for seed, run in runs(range(1000, 4000)):
        for found in checks(run, seed):
            assert found.violations == (), (seed, run.steps, run.scope)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_shipments_and_refunds_break_no_promise_while_they_are_checked_by_many_seeds() -> None:
    for seed, run in runs_of_plans(range(1000, 3000)):
        for found in checks(run, seed):
            assert found.violations == (), (seed, run.steps, run.scope)


def early_book(evidence: Evidence) -> Evidence:
    assert evidence.book is not None
    return attrs.evolve(evidence, book=Early(evidence.book, all_entries=list(evidence.book.all_entries())))


def early_log(evidence: Evidence) -> Evidence:
    assert evidence.log is not None
    return attrs.evolve(evidence, log=Early(evidence.log, all_records=list(evidence.log.all_records())))


def early_inbox(evidence: Evidence) -> Evidence:
    """As if the positions of the groups were read after their inboxes."""
    records = {name: getattr(evidence, name) for name in SERVICES}
    return attrs.evolve(
        evidence, **{name: Early(one, all_inbox=list(one.all_inbox())) for name, one in records.items()}
    )


def early_orders(evidence: Evidence) -> Evidence:
    """As if the orders weren't of the moment of the answers to their callers."""
    return attrs.evolve(evidence, order=Early(evidence.order, all_orders=list(evidence.order.all_orders())))


def early_payments(evidence: Evidence) -> Evidence:
    """As if payments that don't agree with the book weren't read again."""
    return attrs.evolve(evidence, payment=Early(evidence.payment, all_payments=list(evidence.payment.all_payments())))


@pytest.mark.parametrize(
    ("wrong", "promise"),
    [(early_book, "P4"), (early_log, "P7"), (early_inbox, "P9"), (early_payments, "P4")],
)
def test_another_order_of_reads_takes_shipments_and_refunds_for_a_fault(wrong: Any, promise: str) -> None:
    found = {
        violation.promise
        for seed, run in runs_of_plans(range(60))
        for one in checks(run, seed, wrong)
        for violation in one.violations
    }
    assert promise in found


@pytest.mark.parametrize(
    ("wrong", "promise"), [(early_book, "P4"), (early_log, "P7"), (early_inbox, "P9"), (early_orders, "P10")]
)
def test_another_order_of_reads_takes_work_for_a_fault(wrong: Any, promise: str) -> None:
    """The test above can fail: each of these reads has to be where it is."""
    found = {
        violation.promise
        for seed, run in runs(range(60))
        for one in checks(run, seed, wrong)
        for violation in one.violations
    }
    assert promise in found


AT_REST = (
    "no refund",
    "hold not given back",
    "committed past a failed message",
    "released before the money is settled",
)


@pytest.mark.parametrize("name", AT_REST)
def test_a_planted_fault_is_found_without_being_told_that_the_system_rests(name: str) -> None:
    fault = ZOO[name]
    with fault.plant():
        broken = next(found for found in exhaustive(fault.scope, fault.depth, shuffled=True) if found.outcome.broken)
        system = broken.outcome.system
        system.clock.advance(timedelta(hours=1))
        assert broken.outcome.broken in {one.promise for one in report(system, system.evidence, 60).violations}
