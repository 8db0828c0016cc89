"""Names from the host's clock and randomness."""

from __future__ import annotations

import uuid_utils

from oms.domain.values import OrderId
from oms.ports.clock import Ids

uuid7 = uuid_utils.uuid7
"""Written in Rust, and so is its text: a fifth of what the standard library's takes."""


class SystemIds(Ids):
    """Version 7 UUIDs: new rows land at the end of an index instead of all over it."""

    def order_id(self) -> OrderId:
        return OrderId(str(uuid7()))

    def token(self) -> str:
        return str(uuid7())
