"""Every point of every path is crashed once and recovered; the whole table is in docs/crash-table.md."""

from __future__ import annotations

import pytest

from oms.testing.sim.crash_table import CALM, PARTS, Path, crashes, paths
from oms.testing.sim.faults import DIES


def held(path: Path, every: int = 1) -> int:
    """How many deaths there were; each was really died, and broke nothing."""
    count = 0
    for crash in crashes(path, every):
        count += 1
        assert crash.outcome.violations == (), (crash.path, crash.point)
        assert [one.option for one in crash.outcome.deviations if one.option == DIES] == [DIES]
    return count


def test_every_tenth_point_of_the_calm_path() -> None:
    assert held(CALM, every=10) > 20


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.name)
def test_every_twentieth_point_of_a_path_with_shipments_and_refunds(path: Path) -> None:
    assert held(path, every=20) > 20


@pytest.mark.slow
@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.name)
def test_a_path_with_shipments_and_refunds(path: Path) -> None:
    assert held(path) > 400


@pytest.mark.slow
def test_the_calm_path() -> None:
    assert held(CALM) > 200


@pytest.mark.hunts
@pytest.mark.timeout(1800)
def test_every_path() -> None:
    ways = paths()

    assert len(ways) >= 6
    for path in ways:
        for crash in crashes(path):
            assert crash.outcome.violations == (), (crash.path, crash.point)
