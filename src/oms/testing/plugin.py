"""The pytest plugin: the fixture `shop`, a whole order system for one test.

Loaded by every pytest run of an environment that has `oms`, so it imports nothing heavy before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from oms.testing.shop import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    """An order system in memory with virtual time and a scripted gateway; see `oms.testing.Shop`."""
    from oms.testing.shop import Shop

    made = Shop()
    yield made
    made.app.stop()
