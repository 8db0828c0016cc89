"""An order system with a shipping step of its own: `examples/shipping` adds it without touching `oms`.

    python examples/own_service.py

`simulated` and `hasty` are scenarios for the simulator, the second one with a mistake that it finds:

    cd examples && oms sim --own own_service:hasty
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from shipping import PaperCarrier, subscribe
from shipping import hasty as first_try

import oms
from oms.testing import Shop


def main() -> tuple[list[str], dict[str, str]]:
    carrier, shop = PaperCarrier(), Shop()
    subscribe(shop.app, carrier)
    kept = shop.place({"lamp": 1}, metadata={"address": "1 Quay"})
    sent_back = shop.place({"lamp": 1}, metadata={"address": "2 Quay"})
    shop.run()
    shop.cancel(sent_back, by_operator=True)
    shop.run()
    shop.check()
    (first, *_) = [event for event in shop.published("shipping.booked") if isinstance(event, oms.CustomEvent)]
    print("booked:", first.body["parcel"], "| on the road:", carrier.on_the_road)
    return carrier.on_the_road, {"kept": shop.status(kept), "sent back": shop.status(sent_back)}


def simulated(app: oms.App) -> Callable[[], None]:
    """The correct step: an order has at most one parcel, and no call to the carrier is lost."""
    carrier = PaperCarrier()
    subscribe(app, carrier)

    def check() -> None:
        assert len(set(carrier.on_the_road)) == len(carrier.on_the_road)
        assert set(carrier.called_off) <= set(carrier.parcels), "a parcel was called off that was never booked"

    return check


def hasty(app: oms.App) -> Callable[[], None]:
    """The step of `shipping/hasty.py`."""
    van: list[str] = []
    first_try.subscribe(app, van)

    def check() -> None:
        twice = [order for order, parcels in Counter(van).items() if parcels > 1]
        assert not twice, f"shipped twice: {twice}"

    return check


if __name__ == "__main__":
    main()
