"""The memory profile against a bare loop: orders per second from placement to the last notification, on one thread.

    python benchmarks/memory.py [--orders 5000] [--rounds 5]

The loop passes the same messages of the same orders between four services that are a dictionary of frozen records each:
it checks states and stock, and does nothing else. No transaction, no inbox, no outbox, no task, no history, no
retry. It is measured twice: with the bytes of the messages, written and read by the same codec as in `oms`, and with
the events handed over as they are. It writes no log. Rounds alternate, and the best of each counts: first with the
defaults of Python's garbage collector, which scans all objects in memory again and again, then with the settings of
`oms serve`. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import Enum, auto

import attrs
from oms.testing.sim.world import Silence

from oms.adapters.memory import CountedIds, ManualClock
from oms.adapters.wire.codec import JsonCodec
from oms.domain.commands import PlaceOrder
from oms.domain.events import InventoryReserved, OrderConfirmed, OrderCreated, PaymentSucceeded
from oms.domain.money import Currency, Money
from oms.domain.terms import Terms
from oms.domain.values import OrderId, Sku
from oms.entrypoints.serve import rarely_collect
from oms.ports.messages import AnyEvent, Cause, Outgoing, Record
from oms.testing.bench.floor import TOPICS
from oms.testing.bench.orders import PRODUCTS, lines
from oms.testing.shop import Shop

USD = Currency.of("USD")
PLENTY = 10**9
BATCH = 500


class State(Enum):
    CREATED = auto()
    RESERVED = auto()
    HELD = auto()
    COMMITTED = auto()
    CAPTURED = auto()
    CONFIRMED = auto()


@attrs.frozen
class Row:
    """An order, a reservation or a payment."""

    id: OrderId
    terms: Terms
    state: State


@attrs.frozen
class Stock:
    on_hand: int
    held: int


class ByBytes:
    """Messages as in `oms`: written and read by its codec."""

    def __init__(self, at: datetime) -> None:
        self._codec, self._at = JsonCodec(USD), at

    def write(self, event: AnyEvent) -> Outgoing:
        return self._codec.encode(event, Cause(), self._at)

    def read(self, message: Outgoing) -> AnyEvent:
        found = self._codec.decode(Record(message.topic, 0, 0, message.key, message.value, message.headers)).event
        assert found is not None
        return found


class AsTheyAre:
    """Events handed over."""

    def write(self, event: AnyEvent) -> AnyEvent:
        return event

    def read(self, message: AnyEvent) -> AnyEvent:
        return message


class Loop:
    """Four services, each a dictionary; a topic is a list."""

    def __init__(self, wire: ByBytes | AsTheyAre) -> None:
        self._wire = wire
        self._ids = CountedIds()
        self.topics: dict[str, list[object]] = defaultdict(list)
        self._read: dict[tuple[str, str], int] = defaultdict(int)
        self.orders: dict[OrderId, Row] = {}
        self.reservations: dict[OrderId, Row] = {}
        self.payments: dict[OrderId, Row] = {}
        self.stock: dict[Sku, Stock] = {Sku(sku): Stock(PLENTY, 0) for sku in PRODUCTS}
        self.book: dict[str, int] = {}
        self.notified: list[tuple[OrderId, str]] = []

    def place(self, commands: Iterable[PlaceOrder]) -> None:
        for command in commands:
            order = self._ids.order_id()
            self.orders[order] = Row(order, command.terms, State.CREATED)
            self._publish(OrderCreated(order, command.terms))

    def run(self) -> None:
        """Each topic to its end, for each service that listens to it, in the order of the saga."""
        self._each("order.created", self._echo)
        self._each("order.created", self._reserve)
        self._each("inventory.reserved", self._reserved)
        self._each("inventory.reserved", self._charge)
        self._each("payment.success", self._confirm)
        self._each("payment.success", self._tell)
        self._each("order.confirmed", self._commit)
        self._each("order.confirmed", self._tell)

    def _publish(self, event: AnyEvent) -> None:
        self.topics[event.topic].append(self._wire.write(event))

    def _each(self, topic: str, handle: Callable[..., None]) -> None:
        read, messages, start = self._wire.read, self.topics[topic], self._read[handle.__name__, topic]
        for message in messages[start:]:
            handle(read(message))  # type: ignore[arg-type]
        self._read[handle.__name__, topic] = len(messages)

    def _echo(self, event: OrderCreated) -> None:
        if event.order_id not in self.orders:
            self.orders[event.order_id] = Row(event.order_id, event.terms, State.CREATED)

    def _reserve(self, event: OrderCreated) -> None:
        if event.order_id in self.reservations:
            return
        items = event.terms.items.items()
        if any(self.stock[sku].on_hand - self.stock[sku].held < units for sku, units in items):
            raise AssertionError("there is stock for all")
        for sku, units in items:
            level = self.stock[sku]
            self.stock[sku] = Stock(level.on_hand, level.held + units)
        self.reservations[event.order_id] = Row(event.order_id, event.terms, State.HELD)
        self._publish(InventoryReserved(event.order_id, event.terms))

    def _reserved(self, event: InventoryReserved) -> None:
        row = self.orders[event.order_id]
        if row.state is State.CREATED:
            self.orders[row.id] = Row(row.id, row.terms, State.RESERVED)

    def _charge(self, event: InventoryReserved) -> None:
        if event.order_id in self.payments:
            return
        key = f"oms-{event.order_id}"
        self.book[key] = event.terms.total.minor
        self.payments[event.order_id] = Row(event.order_id, event.terms, State.CAPTURED)
        self._publish(PaymentSucceeded(event.order_id, event.terms.user_id, event.terms.total, f"sim-{key}"))

    def _confirm(self, event: PaymentSucceeded) -> None:
        row = self.orders[event.order_id]
        if row.state is State.RESERVED:
            self.orders[row.id] = Row(row.id, row.terms, State.CONFIRMED)
            self._publish(OrderConfirmed(row.id, row.terms))

    def _commit(self, event: OrderConfirmed) -> None:
        row = self.reservations[event.order_id]
        if row.state is State.HELD:
            for sku, units in row.terms.items.items():
                level = self.stock[sku]
                self.stock[sku] = Stock(level.on_hand - units, level.held - units)
            self.reservations[row.id] = Row(row.id, row.terms, State.COMMITTED)

    def _tell(self, event: AnyEvent) -> None:
        self.notified.append((event.order_id, event.topic))


def commands(count: int) -> Sequence[PlaceOrder]:
    return [PlaceOrder.of("bench", Money.of("12.5", USD), dict(lines(number))) for number in range(count)]


def handfuls(wanted: Sequence[PlaceOrder]) -> Iterator[Sequence[PlaceOrder]]:
    """As many at once as a batch of `oms` takes."""
    return (wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH))


def loop_s(wire: ByBytes | AsTheyAre, wanted: Sequence[PlaceOrder]) -> float:
    """CPU seconds of the loop for these orders."""
    loop = Loop(wire)
    begun = time.process_time()
    for some in handfuls(wanted):
        loop.place(some)
        loop.run()
    took = time.process_time() - begun
    assert all(row.state is State.CONFIRMED for row in loop.orders.values())
    assert {topic: len(found) for topic, found in loop.topics.items()} == dict.fromkeys(TOPICS, len(wanted))
    assert len(loop.notified) == 2 * len(wanted)
    return took


def profile_s(wanted: Sequence[PlaceOrder]) -> float:
    """CPU seconds of the memory profile for these orders; every promise is checked afterwards."""
    shop = Shop(default_stock=PLENTY, telemetry=Silence())
    shop.run()
    placed = []
    begun = time.process_time()
    for some in handfuls(wanted):
        placed += [shop.app.orders.submit(command) for command in some]
        shop.run()
    took = time.process_time() - begun
    assert all(shop.status(one.result()) == "CONFIRMED" for one in placed)
    assert sorted(shop.topics(placed[0].result())) == sorted(TOPICS)
    assert len(shop.notifications(placed[0].result())) == 2
    shop.check()
    return took


def compared(wanted: Sequence[PlaceOrder], rounds: int) -> dict[str, object]:
    """Orders a second of CPU, and the ratios."""
    took: dict[str, list[float]] = defaultdict(list)
    at = ManualClock().now()
    for _ in range(rounds):
        took["profile"].append(profile_s(wanted))
        took["loop"].append(loop_s(ByBytes(at), wanted))
        took["loop_without_bytes"].append(loop_s(AsTheyAre(), wanted))
    rates = {name: len(wanted) / min(seconds) for name, seconds in took.items()}
    return {
        "orders_per_cpu_s": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(rates["profile"] / rates["loop"], 3),
        "ratio_without_bytes": round(rates["profile"] / rates["loop_without_bytes"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    wanted = commands(asked.orders)
    found = {"orders": asked.orders, "as Python collects": compared(wanted, asked.rounds)}
    rarely_collect()
    print(json.dumps({**found, "as oms serve collects": compared(wanted, asked.rounds)}, indent=1))


if __name__ == "__main__":
    main()
