"""The search kills every planted fault; how many schedules that took is printed, and kept in `docs/bug-zoo.md`."""

from __future__ import annotations

import pytest

from tests.testing.sim.zoo import ZOO, killed

QUICK = (
    "late payment confirms",
    "no inbox",
    "no refund",
    "hold not given back",
    "committed past a failed message",
    "refund paid twice after a lost response",
    "refund retried under a new key",
    "restocked twice after a purged inbox",
    "completed twice",
    "shipped beyond what is left",
    "second parcels notification dropped",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_one(name: str) -> None:
    assert killed(ZOO[name]) is not None


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(set(ZOO) - set(QUICK)))
def test_every_planted_fault(name: str) -> None:
    kill = killed(ZOO[name])

    assert kill is not None, f"{name} wasn't found: {ZOO[name].what}"
    print(f"{name}: {kill}")
