"""The shop of a hunted test: the same words as `Shop`, over a simulated world whose every choice is on a tape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from decimal import Decimal
from typing import Any

import attrs

from oms.application.parts import Parts
from oms.domain.commands import CancelOrder, PlaceOrder
from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.stock import Stock
from oms.entrypoints.app import App, create
from oms.entrypoints.desks import TRUSTED, Orders, StockDesk
from oms.ports.messages import AnyEvent
from oms.ports.plugs import Notification
from oms.ports.store import DeadLetter, DeadLetterState
from oms.settings import Settings
from oms.testing.sim.run import Listener, Outcome, Run
from oms.testing.sim.scope import Scope
from oms.testing.sim.tape import Tape
from oms.testing.sim.world import CODEC, CURRENCY, World

_SETTINGS = Settings(profile="memory")


class PromiseBroken(AssertionError):
    """A promise of `oms` itself doesn't hold; the hunted test's shop says so before its own assertions are reached."""


class HuntedShop:
    """An order system under one schedule. `app` takes own steps, before the first order is placed.

    `place`, `cancel` and `set_stock` are calm; in `run` and `advance` anything may happen that the hunt has faults for.
    """

    def __init__(self, scope: Scope, tape: Tape, listener: Listener | None = None) -> None:
        self.app: App = create(_SETTINGS)
        self._scope, self._tape, self._listener = attrs.evolve(scope, orders=0), tape, listener
        self._made: Run | None = None

    # -- what a customer does

    def place(
        self,
        items: Mapping[str, int] | None = None,
        *,
        amount: Decimal | int | str = 100,
        user: str = "customer-1",
        metadata: Mapping[str, str] | None = None,
    ) -> Order:
        """Place an order; it is accepted when this returns."""
        command = PlaceOrder.of(user, Money.of(amount, CURRENCY), items or {"apple": 1}, metadata)
        order = self._orders.place(command)
        self._world.customers.know(order.id)
        return order

    def cancel(self, order: Order | str, *, by_operator: bool = False) -> Order:
        """Cancel an order, as its customer or as an operator."""
        return self._orders.cancel(CancelOrder(_id(order), by_operator))

    def set_stock(self, sku: str, units: int) -> Stock:
        """Count a product."""
        parts = self._parts("inventory")
        store: Any = parts.service.store
        return StockDesk(parts, store, self._world.ids, self._pump).set(sku, units, caller=TRUSTED)

    # -- what time does

    def run(self) -> None:
        """Let everything happen, by the schedule, until nothing waits any more; time passes as it must."""
        self._run.to_rest()
        if self._run.violations:
            raise PromiseBroken("\n".join(map(str, self._run.violations)))

    def advance(self, **time: float) -> None:
        """Let time pass (`minutes=15`), after everything has come to rest, and then again."""
        self.run()
        self._world.clock.advance(timedelta(**time))
        self._run.version += 1
        self.run()

    # -- what can be seen

    def order(self, order: Order | str) -> Order:
        """An order as it is now."""
        found: Order = self._world.records["order"].orders.rows[_id(order)]
        return found

    def status(self, order: Order | str) -> str:
        """An order's state by name: `CONFIRMED`."""
        return self.order(order).state.value

    def stock(self, sku: str) -> Stock:
        """A product as it is now."""
        found: Stock = self._world.records["inventory"].stock.rows[sku]
        return found

    def published(self, topic: str | None = None) -> Sequence[AnyEvent]:
        """The events in the log, copies left out, of one topic or all of them."""
        messages = [CODEC.decode(one) for one in self._world.log.all_records() if topic in (None, one.topic)]
        return list({one.id: one.event for one in messages if one.event is not None}.values())

    def notifications(self, order: Order | str) -> Sequence[Notification]:
        """What the customer was told, by kind; each once, however often it was sent."""
        told = {one.id: one for one in self._world.notifier.sent if one.order_id == _id(order)}
        return sorted(told.values(), key=lambda one: one.kind)

    def parked(self) -> Sequence[DeadLetter]:
        """The dead letters that wait for an operator."""
        letters = [one for record in self._world.records.values() for one in record.dead_letters.rows.values()]
        return [one for one in letters if one.state is DeadLetterState.PARKED]

    # -- for the hunt

    def finished(self, failure: Exception | None) -> Outcome:
        """Heal, come to rest, check the promises; `failure` is what the test raised."""
        return self._run.finish(failure)

    @property
    def _run(self) -> Run:
        if self._made is None:
            self._made = Run(self._scope, self._tape, own=self.app.own_steps, listener=self._listener)
        return self._made

    @property
    def _world(self) -> World:
        return self._run.world

    @property
    def _orders(self) -> Orders:
        parts = self._parts("order")
        store: Any = parts.service.store
        return Orders(parts, store, self._world.customers.ids, self._pump)

    def _parts(self, service: str) -> Parts[Any]:
        return self._world.of(service)[0].parts

    def _pump(self, parts: Parts[Any], future: Future[Any]) -> None:
        """Nothing is by chance here: these are the words of the test, not what is hunted."""
        self._run.version += 1
        while not future.done():
            parts.advance_commands()


def _id(order: Order | str) -> Any:
    return order.id if isinstance(order, Order) else order
