"""Names from the host's clock and randomness."""

from __future__ import annotations

import sys

from oms.domain.values import OrderId
from oms.ports.clock import Ids

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7


class SystemIds(Ids):
    """Version 7 UUIDs: new rows land at the end of an index instead of all over it."""

    def order_id(self) -> OrderId:
        """A new order's id."""
        return OrderId(str(uuid7()))

    def token(self) -> str:
        """A new opaque name."""
        return str(uuid7())
