"""A shipment: one parcel with some units of an order."""

from __future__ import annotations

from datetime import datetime

import attrs

from oms.domain.values import Items


@attrs.frozen
class Shipment:
    """Units that left the warehouse together. `carrier` and `tracking_number` are for the customer."""

    id: str
    items: Items
    at: datetime
    carrier: str | None = None
    tracking_number: str | None = None
