"""The tables in docs/ that `scripts/sim_tables.py` makes name what there is; making them anew takes minutes."""

from __future__ import annotations

import re

from oms.testing.sim.crash_table import CALM, points
from oms.testing.sim.scope import FAULTS
from tests.support.files import DOCS
from tests.testing.sim.zoo import ZOO


def rows(name: str) -> list[list[str]]:
    lines = (DOCS / name).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def test_the_bug_zoo_is_the_one_in_the_docs() -> None:
    documented = {name: what for name, what, *_ in rows("bug-zoo.md")[2:]}

    assert documented == {fault.name: fault.what for fault in ZOO.values()}


def test_every_planted_fault_was_found() -> None:
    for name, _, found, promise in rows("bug-zoo.md")[2:]:
        assert re.fullmatch(r"(schedule|seed) \d+", found), name
        assert promise, name


def test_the_calm_path_calls_nothing_that_the_crash_table_lacks() -> None:
    documented = {(service, call.strip("`")) for service, call, *_ in rows("crash-table.md")}

    assert {(point.service, point.call) for point in points(CALM)} - documented == set()


def test_every_promise_held_after_every_crash() -> None:
    deaths = [row for row in rows("crash-table.md") if len(row) == 4 and row[2].isdigit()]

    assert len(deaths) > 50
    assert all(died == held for _, _, died, held in deaths)


def test_the_simulators_page_names_every_kind_of_fault() -> None:
    named = {name.strip("`") for name, *_ in rows("simulator.md")}

    assert set(FAULTS) <= named
