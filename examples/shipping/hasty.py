"""The same step as its author first wrote it: it hands the parcel over in the handler, so a redelivery ships twice.

Handlers run again where their transaction didn't commit. What leaves the system must be a call (`step.call`), keyed by
the order. `oms sim --own own_service:hasty` finds this one.
"""

from __future__ import annotations

import oms

GROUP = "shipping"


def subscribe(app: oms.App, van: list[str]) -> None:
    def confirmed(event: oms.AnyEvent, step: oms.StepContext) -> None:
        van.append(event.order_id)
        step.save({"status": "sent"})

    app.subscribe("order.confirmed", group=GROUP, handler=confirmed)
