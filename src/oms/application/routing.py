"""The routing table: which consumer group handles which topics.

Each service defines its routes next to its handlers. A test compares the table with the saga and fails if either has a
route that the other lacks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from oms.application import inventory, notifications, orders, payments


@attrs.frozen
class Consumes:
    """The consumer group of a service, and its topics."""

    group: str
    topics: Collection[str]


ROUTING: Mapping[str, Consumes] = {
    "order": Consumes(orders.GROUP, tuple(orders.ROUTES)),
    "inventory": Consumes(inventory.GROUP, tuple(inventory.ROUTES)),
    "payment": Consumes(payments.GROUP, tuple(payments.ROUTES)),
    "notification": Consumes(notifications.GROUP, tuple(notifications.ROUTES)),
}
