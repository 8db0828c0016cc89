"""The searches of `make test`: what is exhausted is proved within its bound, and the seeds go deeper."""

from __future__ import annotations

import pytest

from oms.testing.sim.campaign import campaign, digest
from oms.testing.sim.scope import Scope
from oms.testing.sim.search import exhaustive, seeded, swarm
from oms.testing.sim.tally import COUNTED


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_order_two_deviations() -> None:
    done = campaign(exhaustive(Scope(), 2))
    print(f"one order, 2 coarse: {done.schedules} schedules, {done.pruned} left half-way")

    assert done.first is None
    assert done.schedules > 5000


@pytest.mark.hunts
@pytest.mark.timeout(900)
def test_two_orders_on_one_unit_one_deviation_at_any_point() -> None:
    done = campaign(exhaustive(Scope(orders=2, units=1, fine=True), 1))
    print(f"two orders on one unit, 1 fine: {done.schedules} schedules, {done.pruned} left half-way")

    assert done.first is None
    assert done.schedules > 1000


@pytest.mark.slow
def test_three_hundred_seeds_and_the_first_ones_twice() -> None:
    done = campaign(swarm(range(300)))

    assert done.first is None, done.first
    assert done.tally["confirmed"] >= done.orders / 2
    for seed in range(40):
        assert digest(*seeded(seed))[0] == digest(*seeded(seed))[0], f"seed {seed}"


@pytest.mark.hunts
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(4))
def test_two_thousand_seeds(part: int) -> None:
    done = campaign(swarm(range(part * 500, (part + 1) * 500)))

    assert done.first is None, done.first
    assert [name for name in COUNTED if done.tally[name] == 0] == []
    assert done.tally["confirmed"] >= done.orders / 2


@pytest.mark.hunts
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(4))
def test_two_thousand_seeds_are_the_same_runs_to_the_byte(part: int) -> None:
    for seed in range(part * 500, (part + 1) * 500):
        assert digest(*seeded(seed))[0] == digest(*seeded(seed))[0], f"seed {seed}"
