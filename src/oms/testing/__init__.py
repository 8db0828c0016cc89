"""The harness for users' tests: `Shop`, the pytest fixture `shop` that makes a `Shop`, and `hunt`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oms.testing.aggregates import given
    from oms.testing.expect import Unmet
    from oms.testing.faults import NeverHappened
    from oms.testing.hunted import HuntedShop
    from oms.testing.hunting import hunt
    from oms.testing.own_step import given_step
    from oms.testing.shop import Shop
    from oms.testing.shop_protocol import AnyShop
    from oms.testing.sim.rolling_upgrade import rolling_upgrade

__all__ = ["AnyShop", "HuntedShop", "NeverHappened", "Shop", "Unmet", "given", "given_step", "hunt", "rolling_upgrade"]

_WHERE = {
    "AnyShop": "oms.testing.shop_protocol",
    "HuntedShop": "oms.testing.hunted",
    "NeverHappened": "oms.testing.faults",
    "Shop": "oms.testing.shop",
    "Unmet": "oms.testing.expect",
    "rolling_upgrade": "oms.testing.sim.rolling_upgrade",
    "given": "oms.testing.aggregates",
    "given_step": "oms.testing.own_step",
    "hunt": "oms.testing.hunting",
}


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
