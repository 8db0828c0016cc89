"""The routing as one table: which consumer group handles which topics.

Each service keeps its lines beside its handlers. A test holds the table against the saga: a line that is missing on
either side fails.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from oms.application import inventory, notifications, orders, payments


@attrs.frozen
class Consumes:
    """One service's lines."""

    group: str
    topics: Collection[str]


ROUTING: Mapping[str, Consumes] = {
    "order": Consumes(orders.GROUP, tuple(orders.ROUTES)),
    "inventory": Consumes(inventory.GROUP, tuple(inventory.ROUTES)),
    "payment": Consumes(payments.GROUP, tuple(payments.ROUTES)),
    "notification": Consumes(notifications.GROUP, tuple(notifications.ROUTES)),
}
