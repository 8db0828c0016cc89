"""The searches of `make test`: what is exhausted is proved within its bound, and the seeds go deeper.

Each prints how many schedules there are in its scope (`pytest -rP`); docs/simulator.md has the figures.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import product

import attrs
import pytest

from oms.testing.sim.campaign import Campaign, campaign, digest
from oms.testing.sim.operators import OPERATIONS
from oms.testing.sim.scope import ONE_OF_EACH, Scope
from oms.testing.sim.search import Found, exhaustive, seeded, seeded_plan, swarm
from oms.testing.sim.tally import COUNTED, COUNTED_AFTER_CONFIRMATION

ONE_UNIT = Scope(orders=2, units=1)
ONE_UNIT_FINE = Scope(orders=2, units=1, fine=True)


def searched(name: str, schedules: Iterable[Found]) -> Campaign:
    begun = time.process_time()
    done = campaign(schedules)
    took = time.process_time() - begun
    left = f"{done.pruned} left early" if done.pruned else f"{done.orders} orders"
    print(f"{name}: {done.schedules} schedules ({left}) in {took:.0f} s of CPU, {done.schedules / took:.0f} a second")
    assert done.first is None, done.first.outcome.violations
    return done


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_order_three_deviations() -> None:
    assert searched("one order, 3 deviations", exhaustive(Scope(), 3)).schedules > 100_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_order_two_deviations_at_any_point() -> None:
    assert searched("one order, 2 deviations, fine", exhaustive(Scope(fine=True), 2)).schedules > 50_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_orders_on_one_unit_two_deviations() -> None:
    assert searched("two orders for one unit, 2 deviations", exhaustive(ONE_UNIT, 2)).schedules > 10_000


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(4))
def test_two_thousand_seeds_each_twice(part: int) -> None:
    def twice() -> Iterable[Found]:
        for seed in range(part * 500, (part + 1) * 500):
            scope, tape = seeded(seed)
            first, outcome = digest(scope, tape)
            assert digest(*seeded(seed))[0] == first, f"seed {seed} isn't the same run to the byte"
            yield Found(scope, outcome, seed, seed)

    done = searched(f"seeds {part * 500} to {part * 500 + 499}, each twice", twice())

    assert [name for name in COUNTED if done.tally[name] == 0] == []
    assert done.tally["confirmed"] >= done.orders / 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_parcel_a_cancelled_unit_and_a_return_one_deviation_at_any_point() -> None:
    scope = attrs.evolve(ONE_OF_EACH, fine=True)
    assert searched("a parcel, a cancelled unit, a return, 1 deviation, fine", exhaustive(scope, 1)).schedules > 1500


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_seeds_with_shipments_and_refunds_each_twice() -> None:
    def twice() -> Iterable[Found]:
        for seed in range(200):
            scope, tape = seeded_plan(seed)
            first, outcome = digest(scope, tape)
            assert digest(*seeded_plan(seed))[0] == first, f"seed {seed} isn't the same run to the byte"
            yield Found(scope, outcome, seed, seed)

    searched("seeds 0 to 199 with shipments and refunds, each twice", twice())


@pytest.mark.hunts
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(2))
def test_two_thousand_seeds_with_shipments_and_refunds(part: int) -> None:
    first = part * 1000
    done = searched(f"seeds {first} to {first + 999}, parts", swarm(range(first, first + 1000), plans=True))

    assert [name for name in (*COUNTED, *COUNTED_AFTER_CONFIRMATION) if done.tally[name] == 0] == []


@pytest.mark.hunts
@pytest.mark.timeout(3600)
def test_a_parcel_a_cancelled_unit_and_a_return_two_deviations() -> None:
    done = searched("a parcel, a cancelled unit, a return, 2 deviations", exhaustive(ONE_OF_EACH, 2))
    assert done.schedules > 100_000


@pytest.mark.hunts
@pytest.mark.timeout(3600)
def test_every_plan_of_two_operations_one_deviation() -> None:
    plans = (attrs.evolve(ONE_OF_EACH, plan=plan) for plan in product(OPERATIONS, repeat=2))
    done = searched(
        "every plan of two operations, 1 deviation", (one for scope in plans for one in exhaustive(scope, 1))
    )
    assert done.schedules > 40_000


@pytest.mark.hunts
@pytest.mark.timeout(3600)
def test_two_orders_on_one_unit_three_deviations() -> None:
    assert searched("two orders for one unit, 3 deviations", exhaustive(ONE_UNIT, 3)).schedules > 200_000


@pytest.mark.hunts
@pytest.mark.timeout(3600)
def test_two_orders_on_one_unit_two_deviations_at_any_point() -> None:
    assert searched("two orders for one unit, 2 deviations, fine", exhaustive(ONE_UNIT_FINE, 2)).schedules > 100_000


@pytest.mark.hunts
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(4))
def test_twenty_thousand_seeds(part: int) -> None:
    first = 2000 + part * 5000
    done = searched(f"seeds {first} to {first + 4999}", swarm(range(first, first + 5000)))

    assert done.tally["confirmed"] >= done.orders / 2
