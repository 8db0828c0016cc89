"""The harness for a user's own tests: `Shop`, the pytest fixture `shop` that makes one, and `hunt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oms.testing.hunted import HuntedShop
    from oms.testing.hunting import hunt
    from oms.testing.shop import Shop

__all__ = ["HuntedShop", "Shop", "hunt"]


def __getattr__(name: str) -> object:
    if name == "Shop":
        from oms.testing.shop import Shop

        return Shop
    if name == "hunt":
        from oms.testing.hunting import hunt

        return hunt
    if name == "HuntedShop":
        from oms.testing.hunted import HuntedShop

        return HuntedShop
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
