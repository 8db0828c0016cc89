"""An order system with a shipping step of its own: `examples/shipping` adds it without touching `oms`.

python examples/own_service.py
"""

from __future__ import annotations

from shipping import PaperCarrier, subscribe

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


if __name__ == "__main__":
    main()
