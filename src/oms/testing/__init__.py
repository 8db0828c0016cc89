"""The harness for a user's own tests: `Shop`, and the pytest fixture `shop` that makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oms.testing.shop import Shop

__all__ = ["Shop"]


def __getattr__(name: str) -> object:
    if name == "Shop":
        from oms.testing.shop import Shop

        return Shop
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
