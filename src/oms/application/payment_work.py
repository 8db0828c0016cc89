"""The payment service's unit of work: locked payments, and the changes that handlers decide."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from oms.domain.events import Event, PaymentFailed, PaymentSucceeded
from oms.domain.payment import Payment
from oms.domain.state_machine import Transition
from oms.domain.values import OrderId
from oms.engine.recorded_changes import IdentityMap, RecordedChanges
from oms.ports.messages import AnyEvent
from oms.ports.stores.payment import PaymentTransaction

_NOTES: Mapping[type[Event], str] = {PaymentSucceeded: "Payment success", PaymentFailed: "Payment failed"}


class PaymentWork:
    """Locked payments, and the changes that handlers decide."""

    def __init__(self, transaction: PaymentTransaction, now: datetime) -> None:
        self.changes = RecordedChanges()
        self.now = now
        self._transaction = transaction
        self._payments: IdentityMap[OrderId, Payment] = IdentityMap(lambda order_id: Payment(order_id=order_id))

    def load(self, events: Sequence[AnyEvent]) -> None:
        """Lock the payments of these events' orders."""
        self.lock({event.order_id for event in events})

    def lock(self, ids: Collection[OrderId]) -> None:
        """Lock payments by order."""
        self._payments.load(self._transaction.lock_payments(ids))

    def __getitem__(self, order_id: OrderId) -> Payment:
        return self._payments[order_id]

    def save(self, transition: Transition[Payment]) -> Payment:
        """Record a transition; nothing is written before `flush`."""
        payment = self.changes.take(transition, transition.aggregate.order_id)
        self._payments[payment.order_id] = payment
        for event in transition.events:
            note = _NOTES.get(type(event), event.topic)
            self.changes.note(note, order_id=payment.order_id)
        return payment

    def flush(self) -> None:
        """Write payments."""
        changes = self._payments.changes()
        if changes:
            self._transaction.save_payments(changes)
