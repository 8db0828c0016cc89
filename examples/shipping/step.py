"""Book a parcel for a confirmed order, and cancel the parcel if the order is cancelled later.

The two events may come in either order and more than once. The document that the step saved for the
order decides: a cancellation that arrives first saves a note, which the later confirmation reads.
"""

from __future__ import annotations

from typing import cast

import oms
from shipping.carrier import Carrier

GROUP = "shipping"


def subscribe(app: oms.App, carrier: Carrier) -> None:
    """Add the step to an order system, before that is started."""
    calls = {
        "book": oms.OutsideCall(run=lambda order_id, asked: carrier.book(order_id, str(asked["address"])), then=booked),
        "call off": oms.OutsideCall(run=lambda order_id, _asked: carrier.call_off(order_id)),
    }
    app.subscribe("order.confirmed", group=GROUP, handler=confirmed, calls=calls, publishes=["shipping.booked"])
    app.subscribe("order.cancelled", group=GROUP, handler=cancelled)


def confirmed(event: oms.AnyEvent, step: oms.StepContext) -> None:
    if step.state is not None:
        return
    order = cast("oms.OrderConfirmed", event)
    step.save({"status": "booking"})
    step.call("book", address=order.terms.metadata.get("address", "the counter"))


def booked(parcel: object, step: oms.StepContext) -> None:
    if step.state == {"status": "called off"}:
        step.call("call off")
        return
    step.save({"status": "booked", "parcel": parcel})
    step.publish("shipping.booked", parcel=parcel)


def cancelled(_event: oms.AnyEvent, step: oms.StepContext) -> None:
    before, after = step.state, {"status": "called off"}
    step.save(after)
    if before is not None and before != after:
        step.call("call off")
