"""The same step as its author first wrote it: it hands the parcel over in the handler, so a redelivery ships twice.

A handler runs again if its transaction didn't commit, so calls to other systems belong in `step.call`, with the order
as idempotency key. `oms sim --own own_service:hasty` finds the mistake.
"""

from __future__ import annotations

import oms

GROUP = "shipping"


def subscribe(app: oms.App, van: list[str]) -> None:
    def confirmed(event: oms.AnyEvent, step: oms.StepContext) -> None:
        van.append(event.order_id)
        step.save({"status": "sent"})

    app.subscribe("order.confirmed", group=GROUP, handler=confirmed)
