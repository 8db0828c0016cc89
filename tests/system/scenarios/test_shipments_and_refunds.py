"""Shipments, cancelled units, returns and refunds over HTTP, on each profile. The promises hold after each scenario."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import psycopg
import pytest
from confluent_kafka import Producer

from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.domain.saga import routes
from tests.support.cluster import SERVICES
from tests.support.serving import wait_for
from tests.system.scenarios import served_systems
from tests.system.scenarios.served_systems import ENDS_S, FourProcesses, HttpSystem

pytestmark = [pytest.mark.timeout(300)]

PROFILES = {
    "memory": served_systems.in_memory,
    "embedded": served_systems.embedded,
    "four processes": served_systems.four_processes,
}
ON_SERVERS = pytest.param("four processes", marks=pytest.mark.servers)
EACH = [pytest.param("memory"), pytest.param("embedded", marks=pytest.mark.slow), ON_SERVERS]


@pytest.fixture(scope="module", params=EACH)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpSystem]:
    with PROFILES[request.param](tmp_path_factory.mktemp("served")) as system:
        yield system


@pytest.fixture
def system(running: HttpSystem) -> Iterator[HttpSystem]:
    yield running
    running.check()


@attrs.frozen
class Placed:
    """A confirmed order of lamps, whose product no other order contains."""

    system: HttpSystem
    id: str
    sku: str

    def show(self) -> Any:
        status, order = self.system.send("GET", f"/orders/{self.id}")
        assert status == 200, order
        return order

    def ship(self, units: int | None = None, **more: Any) -> tuple[int, Any]:
        body = {} if units is None else {"items": {self.sku: units}}
        return self.system.send("POST", f"/orders/{self.id}/shipments", {**body, **more})

    def refund(self, kind: str, units: int = 0, *, process: int = 0, key: str = "", **more: Any) -> tuple[int, Any]:
        body = {"kind": kind, "reason": "a test", **({"items": {self.sku: units}} if units else {}), **more}
        return self.system.send("POST", f"/orders/{self.id}/refunds", body, key=key, process=process)

    def decide(self, what: str, of: str) -> tuple[int, Any]:
        return self.system.send("POST", f"/orders/{self.id}/payment/{what}", {"of": of, "why": "a test"})

    def refunds(self) -> Counter[str]:
        return Counter(refund["state"] for refund in self.show().get("refunds", ()))

    def counts(self) -> tuple[int, ...]:
        """The units that were ordered, cancelled, shipped and returned."""
        (line,) = self.show()["lines"]
        return line["ordered"], line["cancelled"], line["shipped"], line["returned"]

    def on_hand(self) -> int:
        """The units on hand once none is held: an order is confirmed a moment before its units are sold."""
        stock: Any = None

        def is_sold() -> bool:
            nonlocal stock
            stock = self.system.send("GET", f"/stock/{self.sku}")[1]
            return stock["held"] == 0

        wait_for(is_sold, "no unit is held", ENDS_S)
        return int(stock["onHand"])

    def has_on_hand(self, units: int) -> None:
        wait_for(lambda: self.on_hand() == units, f"{units} units of {self.sku} are on hand", ENDS_S)

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        wait_for(is_so, f"{what}: {self.id}", ENDS_S)

    def all_paid(self, number: int) -> None:
        self.until(lambda: self.refunds() == Counter(PAID=number), f"{number} refunds are paid")


def place(system: HttpSystem, units: int = 2, *, price: float = 10.0, shipping: float = 5.0, case: str = "") -> Placed:
    sku = f"lamp-{uuid.uuid4()}"
    body = {
        "userId": "ann",
        "amount": round(price + shipping, 2),
        "lines": [{"productId": sku, "quantity": units, "amount": price, "name": "Lamp"}],
        "charges": [{"kind": "shipping", "amount": shipping}],
        **({"metadata": {"case": case}} if case else {}),
    }
    status, order = system.send("POST", "/orders", body)
    assert status == 201, order
    placed = Placed(system, order["id"], sku)
    placed.until(lambda: placed.show()["status"] == "CONFIRMED", "it is confirmed")
    return placed


def refused(answer: tuple[int, Any]) -> tuple[int, str]:
    status, body = answer
    return status, body["code"]


def made(answer: tuple[int, Any]) -> Any:
    status, body = answer
    assert status in (201, 202), body
    return body


def test_two_parcels(system: HttpSystem) -> None:
    order = place(system)
    first = made(order.ship(1, carrier="DHL", trackingNumber="JD1"))
    assert (first["items"], first["carrier"], first["trackingNumber"]) == ({order.sku: 1}, "DHL", "JD1")
    assert order.show()["status"] == "FULFILLING"
    second = made(order.ship(1))
    shown = order.show()
    assert (shown["status"], order.counts()) == ("COMPLETED", (2, 0, 2, 0))
    assert shown["shipments"] == [first, second]
    assert (shown["refundedAmount"], shown["payment"]) == (0, {"state": "CAPTURED"})
    assert system.send("GET", f"/orders/{order.id}/shipments") == (200, [first, second])
    assert refused(order.ship()) == (409, "order_completed")
    assert order.on_hand() == 98


def test_a_unit_is_cancelled_before_and_between_two_parcels_but_not_after_the_last(system: HttpSystem) -> None:
    order = place(system, 4, price=40.0)
    assert made(order.refund("CANCEL", 1))["amount"] == 10
    made(order.ship(1))
    assert made(order.refund("CANCEL", 1))["amount"] == 10
    assert order.show()["status"] == "FULFILLING"
    made(order.ship())
    assert refused(order.refund("CANCEL", 1)) == (409, "order_completed")

    assert (order.show()["status"], order.counts()) == ("COMPLETED", (4, 2, 2, 0))
    order.all_paid(2)
    assert order.show()["refundedAmount"] == 20
    order.has_on_hand(98)


def test_both_units_are_cancelled_one_by_one(system: HttpSystem) -> None:
    order = place(system)
    made(order.refund("CANCEL", 1))
    assert refused(order.refund("CANCEL", 1, amount=5)) == (422, "amount_must_be_rest")
    assert made(order.refund("CANCEL", 1))["amount"] == 10

    assert (order.show()["status"], order.counts()) == ("COMPLETED", (2, 2, 0, 0))
    order.all_paid(2)
    assert order.show()["refundedAmount"] == 15
    order.has_on_hand(100)
    assert refused(system.send("POST", f"/orders/{order.id}/cancel", {"by": "operator"})) == (409, "order_settled")


@pytest.mark.parametrize(("restock", "on_hand"), [(None, 98), (True, 99)])
def test_a_return(system: HttpSystem, restock: bool | None, on_hand: int) -> None:
    order = place(system)
    assert refused(order.refund("RETURN", 1)) == (409, "not_enough_units")
    made(order.ship())
    made(order.refund("RETURN", 1, **({"restock": restock} if restock else {})))

    order.all_paid(1)
    assert (order.show()["status"], order.counts()) == ("COMPLETED", (2, 0, 2, 1))
    order.has_on_hand(on_hand)
    assert refused(order.refund("RETURN", 2)) == (409, "not_enough_units")


def test_goodwill_and_more_than_is_left(system: HttpSystem) -> None:
    order = place(system)
    assert refused(order.refund("GOODWILL")) == (422, "amount_required")
    assert refused(order.refund("GOODWILL", 1, amount=1)) == (422, "goodwill_has_no_items")
    made(order.refund("GOODWILL", amount=14))
    for more in ({"kind": "GOODWILL", "amount": 1.01}, {"kind": "CANCEL", "units": 1}):
        assert refused(order.refund(**more)) == (409, "refund_exceeds_total")  # type: ignore[arg-type]
    made(order.ship())
    made(order.refund("GOODWILL", amount=0))
    made(order.refund("GOODWILL", amount=1))

    order.all_paid(3)
    assert (order.show()["status"], order.show()["refundedAmount"]) == ("COMPLETED", 15)
    assert order.on_hand() == 98


def test_three_units_at_19_99_with_a_discount(system: HttpSystem) -> None:
    """49.99 for three units: the shares are 16.66, 16.66 and 16.67."""
    order = place(system, 3, price=49.99, shipping=4.9)
    amounts = [made(order.refund("CANCEL", 1))["amount"]]
    made(order.ship())
    amounts += [made(order.refund("RETURN", 1))["amount"] for _ in range(2)]

    assert amounts == [16.66, 16.66, 16.67]
    order.all_paid(3)
    assert (order.show()["totalAmount"], order.show()["refundedAmount"]) == (54.89, 49.99)


def test_ten_refunds_at_once_never_exceed_the_total(system: HttpSystem) -> None:
    order = place(system)

    def refund(number: int) -> tuple[int, Any]:
        return order.refund("GOODWILL", amount=4, key=f"{order.id}-{number}", process=number)

    with ThreadPoolExecutor(10) as callers:
        answers = list(callers.map(refund, range(10)))
        again = list(callers.map(refund, range(10)))
    assert Counter(status for status, _ in answers) == {201: 3, 409: 7}
    assert {body["code"] for status, body in answers if status == 409} == {"refund_exceeds_total"}
    assert [(status, body.get("id")) for status, body in again] == [(s, body.get("id")) for s, body in answers]
    order.all_paid(3)
    assert order.show()["refundedAmount"] == 12


def test_a_parcel_and_a_cancel_at_once_exclude_each_other(system: HttpSystem) -> None:
    order = place(system)

    def cancel() -> tuple[int, Any]:
        return system.send("POST", f"/orders/{order.id}/cancel", {"by": "operator"}, process=1)

    with ThreadPoolExecutor(2) as callers:
        shipped, cancelled = (caller.result() for caller in (callers.submit(order.ship, 1), callers.submit(cancel)))
    assert sorted((shipped[0] < 300, cancelled[0] < 300)) == [False, True], (shipped, cancelled)
    end = "FULFILLING" if shipped[0] < 300 else "CANCELLED"
    order.until(lambda: order.show()["status"] == end, f"it is {end}")


def test_a_refused_refund_is_retried(system: HttpSystem) -> None:
    order = place(system, case="refused once")
    refund = made(order.refund("GOODWILL", amount=3))["id"]
    order.until(lambda: order.refunds() == Counter(REFUSED=1), "the refund is refused")
    (shown,) = order.show()["refunds"]
    assert (shown["refusal"]["attempt"], shown["refusal"]["reason"]) == (1, "the account is closed")
    made(order.decide("retry", refund))
    order.all_paid(1)
    assert refused(order.decide("resolve", refund)) == (409, "nothing_refused")
    assert "outside" not in order.show()["refunds"][0]


def test_a_refund_that_is_refused_twice_is_resolved_by_hand(system: HttpSystem) -> None:
    order = place(system, case="refused")
    refund = made(order.refund("CANCEL", 1))["id"]

    def is_refused(attempt: int) -> bool:
        (shown,) = order.show()["refunds"]
        refusal = shown.get("refusal", {})
        return (refusal.get("attempt"), "instruction" in refusal) == (attempt, False)

    order.until(lambda: is_refused(1), "the first attempt is refused")
    made(order.decide("retry", refund))
    order.until(lambda: is_refused(2), "the second attempt is refused")
    made(order.decide("resolve", refund))
    order.all_paid(1)
    assert order.show()["refunds"][0]["outside"] is True
    order.has_on_hand(99)


@pytest.mark.parametrize("decision", ["retry", "resolve"])
def test_the_refund_of_a_cancelled_order_is_refused(system: HttpSystem, decision: str) -> None:
    order = place(system, case="whole refused" if decision == "retry" else "refused")
    made(system.send("POST", f"/orders/{order.id}/cancel", {"by": "operator"}))
    order.until(lambda: "refusal" in order.show()["payment"], "the refund is refused")
    assert order.show()["status"] == "CANCELLING"
    made(order.decide(decision, "whole"))
    order.until(lambda: order.show()["status"] == "CANCELLED", "it is cancelled")
    order.has_on_hand(100)


@pytest.mark.parametrize("case", ["answer lost", "call lost"])
def test_a_lost_answer_or_call_is_one_refund(system: HttpSystem, case: str) -> None:
    order = place(system, case=case)
    made(order.refund("GOODWILL", amount=3))
    order.all_paid(1)
    assert "refusal" not in order.show()["refunds"][0]


# -- repeated messages


@pytest.mark.parametrize("running", [ON_SERVERS], indirect=True)
@pytest.mark.parametrize("purged", [False, True])
def test_every_message_once_more(system: FourProcesses, purged: bool) -> None:
    """All records of the topics are appended again, also after the ids of the handled messages were purged."""
    order, retried = place(system, 3, price=30.0), place(system, case="refused")
    made(order.ship(1))
    made(order.refund("CANCEL", 1))
    made(order.ship())
    made(order.refund("RETURN", 1, restock=True))
    order.all_paid(2)
    refund = made(retried.refund("GOODWILL", amount=2))["id"]
    retried.until(lambda: retried.refunds() == Counter(REFUSED=1), "the refund is refused")
    made(retried.decide("resolve", refund))
    retried.all_paid(1)
    order.has_on_hand(99)
    system.check()
    before = [order.show(), retried.show()]
    handled = inbox(system)
    if purged:
        with psycopg.connect(system.cluster._record(), autocommit=True) as connection:
            for service in SERVICES:
                connection.execute(f"TRUNCATE oms_{service}.inbox")  # type: ignore[call-overload]
    again = repeat_messages(system)
    assert {"order.shipped", "order.refund_requested", "order.completed", "order.payment_instructed"} < set(again)
    assert {"payment.refund_paid", "payment.refund_failed"} < set(again)

    last = place(system)  # behind all repeats of the partitions that it uses
    made(last.ship())
    wait_for(lambda: all_read(system), "every repeat has been read", ENDS_S)
    assert [order.show(), retried.show()] == before
    assert order.on_hand() == 99
    system.check()
    assert inbox(system) > handled, "each message is remembered again"


def inbox(system: FourProcesses) -> int:
    """The number of messages that the services remember."""
    tables = " UNION ALL ".join(f"SELECT message_id FROM oms_{service}.inbox" for service in SERVICES)
    with psycopg.connect(system.cluster._record(), autocommit=True) as connection:
        row = connection.execute(f"SELECT count(*) FROM ({tables}) AS rows").fetchone()  # type: ignore[call-overload]
    return int(row[0])


def repeat_messages(system: FourProcesses) -> Counter[str]:
    """Append each record again; returns how many of each topic."""
    topics = list(routes())
    broker = KafkaBroker(system.settings.kafka, RecordingTelemetry(), topics=topics)
    try:
        records = list(broker.all_records())
    finally:
        broker.close()
    producer = Producer({"bootstrap.servers": system.cluster.kafka_bootstrap})
    for one in records:
        producer.produce(one.topic, one.value, one.key, headers=list(one.headers))
    assert producer.flush(10) == 0
    return Counter(one.topic for one in records)


def all_read(system: FourProcesses) -> bool:
    """Whether each service has committed the ends of its topics as offsets."""
    for service in SERVICES:
        topics = [topic for topic, services in routes().items() if service in services]
        broker = KafkaBroker(system.settings.kafka, RecordingTelemetry(), topics=topics)
        try:
            read, ends = broker.offsets(f"{service}-group"), broker.ends(topics)
        finally:
            broker.close()
        if any(read.get(place, 0) < end for place, end in ends.items()):
            return False
    return True
