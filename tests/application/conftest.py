from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from oms.testing import Shop

NewShop = Callable[..., Shop]


@pytest.fixture(params=["memory", "embedded"])
def new_shop(request: pytest.FixtureRequest, tmp_path: Path) -> NewShop:
    """Makes shops of one profile; those of the embedded one share a directory."""
    if request.param == "memory":
        return Shop
    return lambda **given: Shop(profile="embedded", data=tmp_path, **given)
