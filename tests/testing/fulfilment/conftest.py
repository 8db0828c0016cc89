"""The shops in which the scenarios of shipments and refunds run: in memory, and in files of one machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oms.testing import Shop


@pytest.fixture(params=["memory", "embedded"])
def any_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop() if request.param == "memory" else Shop(profile="embedded", data=tmp_path / "data")
    with shop:
        yield shop
