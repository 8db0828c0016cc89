"""A pair of functions that map the events of a topic to payloads and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from oms.adapters.wire.payloads import Payload
from oms.domain.events import Event
from oms.domain.money import Currency
from oms.domain.values import OrderId


@attrs.frozen
class Shape:
    """How the events of a topic are mapped. `to_event` gets a checked order id."""

    payload: type[Payload]
    to_wire: Callable[[Any], Payload]
    to_event: Callable[[type[Any], OrderId, Any, Currency], Event]
