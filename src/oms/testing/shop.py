"""The whole system in one process for a test: virtual time, a scripted gateway, and nothing that moves by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from oms.adapters.gateways.simulated import MemoryBook, SimulatedGateway
from oms.adapters.memory.calls import SequentialCalls
from oms.adapters.memory.clock import CountedIds, ManualClock
from oms.adapters.memory.signals import RecordingSignals
from oms.application import promises
from oms.domain.commands import CancelOrder
from oms.domain.order import Order, OrderState
from oms.domain.stock import Stock
from oms.entrypoints.app import App, create
from oms.entrypoints.desks import TRUSTED
from oms.ports.broker import log_kept
from oms.ports.clock import Ids
from oms.ports.messages import AnyEvent, Codec, Headers, Outgoing, Record, Undecodable
from oms.ports.plugs import Notification, Principal
from oms.ports.store import DeadLetter
from oms.settings import Settings


class Shop:
    """An order system to test against. `place` accepts an order, `run` lets everything happen that can now.

    Time stands still until `advance`. The gateway captures every charge unless it is told otherwise
    (`shop.gateway.decline_next()`); every product has 100 units unless `shop.app.stock.set` says so.
    Keyword arguments are those of `oms.create`: own plugs, or single settings.
    """

    def __init__(self, **given: Any) -> None:
        self.clock: ManualClock = given.pop("clock", None) or ManualClock()
        self.ids: Ids = given.pop("ids", None) or CountedIds()
        self.signals = RecordingSignals()
        self.gateway = SimulatedGateway(MemoryBook(), self.clock, success_rate=1.0, wait=_no_wait)
        plugs: dict[str, Any] = {
            "clock": self.clock,
            "ids": self.ids,
            "signals": self.signals,
            "gateway": self.gateway,
            "calls": lambda _name: SequentialCalls(500),
        }
        settings = given.pop("settings", None) or Settings(profile="memory")
        self.app: App = create(settings, **{**plugs, **given})

    # -- what a customer does

    def place(
        self,
        items: Mapping[str, int] | None = None,
        *,
        amount: Decimal | int | str = 100,
        user: str = "customer-1",
        metadata: Mapping[str, str] | None = None,
        key: str | None = None,
        caller: Principal = TRUSTED,
    ) -> Order:
        """Place an order; it is accepted when this returns, and nothing else has happened yet."""
        command = self.app.draft(user, amount, items or {"apple": 1}, metadata)
        return self.app.orders.place(command, caller=caller, key=key)

    def cancel(self, order: Order | str, *, by_operator: bool = False, caller: Principal = TRUSTED) -> Order:
        """Cancel an order, as its customer or as an operator."""
        return self.app.orders.cancel(CancelOrder(_id(order), by_operator), caller=caller)

    def publish(self, topic: str, value: bytes, key: bytes | None = None, headers: Headers = ()) -> None:
        """Put bytes into the log as a foreign producer would."""
        self.log.publish([Outgoing(topic, key, value, headers)])

    # -- what time does

    def run(self) -> int:
        """Let everything happen that can happen now; how much moved."""
        return self.app.run()

    def advance(self, **time: float) -> None:
        """Let time pass (`minutes=15`), stopping at every moment at which something falls due on the way."""
        until = self.clock.now() + timedelta(**time)
        self.run()
        while (due := self._due_before(until)) is not None:
            self.clock.set(due)
            self.run()
        self.clock.set(until)
        self.run()

    # -- what can be seen

    def order(self, order: Order | str) -> Order:
        """An order as it is now."""
        return self.app.orders.get(_id(order))

    def status(self, order: Order | str) -> str:
        """An order's state by name: `CONFIRMED`."""
        return self.order(order).state.value

    def stock(self, sku: str) -> Stock:
        """A product as it is now; one that nobody named yet raises `NotFound`."""
        return self.app.stock.get(sku)

    def published(self, topic: str | None = None) -> Sequence[AnyEvent]:
        """The events in the log, of one topic or all of them, in the order in which they were published.

        What can't be read is no event, and no more is the copy of a dead letter.
        """
        found = (self._event_in(record) for record in self.log.all_records() if topic in (None, record.topic))
        return [event for event in found if event is not None]

    def topics(self, order: Order | str) -> Sequence[str]:
        """What was published of an order, sorted by topic."""
        return sorted(event.topic for event in self.published() if event.order_id == _id(order))

    def notifications(self, order: Order | str) -> Sequence[Notification]:
        """What the customer was told, by kind."""
        store: Any = self.app.system.parts["notification"].service.store
        return [notification for notification, sent_at in store.notifications(_id(order)) if sent_at]

    def parked(self) -> Sequence[DeadLetter]:
        """The dead letters that wait for an operator."""
        return [letter for _, letter in self.app.dead_letters.page()]

    @property
    def log(self) -> Any:
        """The log itself: a `Broker` that shows its records."""
        return self.app.system.container.broker()

    def report(self) -> promises.Report:
        """The promises, checked against everything that is on record."""
        return promises.check(
            self.app.evidence,
            self.app.system.container.codec(),
            now=self.clock.now(),
            deadline_s=self.app.settings.order_deadline_s,
            settle_s=self.app.settings.settle_s,
            kept_s=log_kept(self.app.settings.retention_days).total_seconds(),
        )

    def check(self) -> None:
        """Raise `AssertionError` with the list of promises that don't hold."""
        broken = self.report().violations
        if broken:
            raise AssertionError("promises broken:\n" + "\n".join(f"  {violation}" for violation in broken))

    def _event_in(self, record: Record) -> AnyEvent | None:
        codec: Codec = self.app.system.container.codec()
        try:
            return codec.decode(record).event
        except Undecodable:
            return None

    def _due_before(self, until: datetime) -> datetime | None:
        due = self.app.next_due()
        return due if due is not None and self.clock.now() < due <= until else None


def _id(order: Order | str) -> Any:
    return order.id if isinstance(order, Order) else order


def _no_wait(_seconds: float) -> None:
    """Virtual time: a delay is over at once."""


SETTLED = frozenset(state.value for state in OrderState if state.settled)
