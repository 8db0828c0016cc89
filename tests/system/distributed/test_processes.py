"""What happens to an order on four real processes and real servers, as its customer sees it over HTTP."""

from __future__ import annotations

import json
import signal
import time
import uuid
from collections import Counter
from functools import partial
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from oms.domain.saga import routes
from oms.testing.bench.usage import usage_of
from tests.support.cluster import OPEN, SERVICES, Cluster, Worker, request
from tests.support.files import WIRE
from tests.support.serving import Load, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PARTITIONS = 4  # the default of `oms setup`


def place(cluster: Cluster, items: dict[str, int], *, user: str = "ann", amount: float = 12.5) -> str:
    status, order = request(cluster.of("order")[0].port, "POST", "/orders", {
        "userId": user, "amount": amount, "items": items,
    })  # fmt: skip
    assert status == 201, order
    return str(order["id"])


def order(cluster: Cluster, order_id: str) -> dict[str, Any]:
    status, found = cluster.of("order")[0].get(f"/orders/{order_id}")
    assert status == 200, found
    return dict(found)


def ended(cluster: Cluster, order_id: str, timeout_s: float = 30) -> str:
    wait_for(lambda: order(cluster, order_id)["status"] not in OPEN, f"{order_id} settles", timeout_s)
    return str(order(cluster, order_id)["status"])


def late_timers(worker: Worker) -> float:
    """The counter `oms_late_timers_total` of an order process, which is exported from its start."""
    lines = worker.get("/metrics")[1].decode().splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith("oms_late_timers_total ")]
    return float(value)


def says(worker: Worker, line: str) -> bool:
    return line in worker.log.read_text()


def stock(cluster: Cluster, sku: str) -> dict[str, Any]:
    return dict(cluster.of("inventory")[0].get(f"/stock/{sku}")[1])


def cancel(cluster: Cluster, order_id: str, by: str = "customer") -> int:
    return request(cluster.of("order")[0].port, "POST", f"/orders/{order_id}/cancel", {"by": by})[0]


@pytest.fixture(scope="module", autouse=True)
def never_answered(cluster: Cluster) -> str:
    """An order that meets its deadline while the others are tested."""
    return place(cluster, {"walnut": 2}, user="silent")


def test_an_order_is_reserved_paid_confirmed_and_told(cluster: Cluster) -> None:
    assert ended(cluster, place(cluster, {"apple": 2, "pear": 1})) == "CONFIRMED"
    wait_for(lambda: stock(cluster, "apple")["held"] == 0, "the stock is sold")
    assert stock(cluster, "apple") == {"productId": "apple", "onHand": 98, "held": 0, "available": 98}
    lines = {"inventory": "Inventory reserved", "payment": "Payment success", "notification": "Notification sent"}
    for service, line in lines.items():
        wait_for(partial(says, cluster.of(service)[0], line), line)


def test_one_short_line_holds_nothing(cluster: Cluster) -> None:
    assert ended(cluster, place(cluster, {"plum": 1, "quince": 101})) == "REJECTED"
    assert stock(cluster, "plum")["available"] == 100


def test_two_lines_of_one_product_are_summed_before_the_check(cluster: Cluster) -> None:
    order_id = str(uuid.uuid4())
    text = f'{{"orderId":"{order_id}","userId":"u","totalAmount":1,"items":{{"peach":60,"peach":60}}}}'
    produce(cluster, "order.created", text.encode())
    wait_for(lambda: cluster.of("order")[0].get(f"/orders/{order_id}")[0] == 200, "it is adopted")
    assert ended(cluster, order_id) == "REJECTED"
    assert stock(cluster, "peach")["available"] == 100


def test_an_order_of_many_products(cluster: Cluster) -> None:
    assert ended(cluster, place(cluster, {f"many-{number}": number % 7 + 1 for number in range(100)})) == "CONFIRMED"
    wait_for(lambda: stock(cluster, "many-6")["onHand"] == 93, "the stock is sold")


def test_a_declined_orders_stock_comes_back(cluster: Cluster) -> None:
    assert ended(cluster, place(cluster, {"cherry": 7}, user="declined")) == "CANCELLED"
    wait_for(lambda: stock(cluster, "cherry")["available"] == 100, "the stock is back")


def test_no_answer_after_the_charge_is_one_charge(cluster: Cluster) -> None:
    assert ended(cluster, place(cluster, {"fig": 1}, user="lost-answer"), 60) == "CONFIRMED"


def test_a_cancel_before_anything_happened(cluster: Cluster) -> None:
    inventory = cluster.of("inventory")[0]
    inventory.signal(signal.SIGSTOP)
    try:
        order_id = place(cluster, {"olive": 3})
        assert cancel(cluster, order_id) == 202
        assert ended(cluster, order_id) == "CANCELLED"
    finally:
        inventory.signal(signal.SIGCONT)
    marker = place(cluster, {"olive": 1})
    assert ended(cluster, marker) == "CONFIRMED"
    wait_for(lambda: stock(cluster, "olive")["available"] == 99, "only the other order's units are sold")


def test_a_cancel_during_the_payment(cluster: Cluster) -> None:
    order_id = place(cluster, {"lime": 1}, user="slow")
    wait_for(lambda: order(cluster, order_id)["status"] == "RESERVED", "it is reserved")
    assert cancel(cluster, order_id) == 202
    assert ended(cluster, order_id) == "CANCELLED"
    wait_for(lambda: stock(cluster, "lime")["available"] == 100, "the stock is back")


def test_an_operator_cancels_a_confirmed_order(cluster: Cluster) -> None:
    order_id = place(cluster, {"date": 5})
    assert ended(cluster, order_id) == "CONFIRMED"
    assert cancel(cluster, order_id) == 409
    assert cancel(cluster, order_id, by="operator") == 202
    assert ended(cluster, order_id) == "CANCELLED"
    wait_for(lambda: stock(cluster, "date")["available"] == 100, "it is restocked")


def test_more_buyers_than_units(cluster: Cluster) -> None:
    ids = [place(cluster, {"melon": 10}) for _ in range(15)]
    outcomes = [ended(cluster, order_id) for order_id in ids]
    assert (outcomes.count("CONFIRMED"), outcomes.count("REJECTED")) == (10, 5)


def test_a_foreign_producers_order_is_adopted_and_ends(cluster: Cluster) -> None:
    """The captured message of the system replaced, under a fresh id, and twice: without key and headers."""
    body = json.loads((WIRE / "order.created.json").read_text())
    body["orderId"] = order_id = str(uuid.uuid4())
    produce(cluster, "order.created", json.dumps(body).encode(), times=2)
    wait_for(lambda: cluster.of("order")[0].get(f"/orders/{order_id}")[0] == 200, "it is adopted")
    assert ended(cluster, order_id) == "CONFIRMED"


def test_the_captured_request_gets_the_captured_answer(cluster: Cluster) -> None:
    sent = json.loads((WIRE / "post-order.request.json").read_text())
    status, answer = request(cluster.of("order")[0].port, "POST", "/orders", sent)
    captured = json.loads((WIRE / "post-order.response.json").read_text())
    assert status == 201
    assert {name: answer[name] for name in captured if name != "id"} == {
        name: value for name, value in captured.items() if name != "id"
    }
    assert ended(cluster, answer["id"]) == "CONFIRMED"


def test_every_message_of_an_order_twice_has_every_effect_once(cluster: Cluster) -> None:
    order_id = place(cluster, {"mango": 4})
    assert ended(cluster, order_id) == "CONFIRMED"
    wait_for(lambda: stock(cluster, "mango")["held"] == 0, "the stock is sold")
    wait_for(lambda: all_read(cluster), "the user is notified of both")
    counts = [one.log.read_text().count(order_id) for one in cluster.of("notification")]
    before = order(cluster, order_id)
    producer = Producer({"bootstrap.servers": cluster.kafka_bootstrap})
    for topic in ("order.confirmed", "payment.success", "inventory.reserved", "order.created"):
        for record in records(cluster, topic):
            if record.key() == order_id.encode():
                producer.produce(topic, record.value(), record.key(), headers=record.headers())
    assert producer.flush(10) == 0
    assert ended(cluster, place(cluster, {"mango": 1})) == "CONFIRMED"
    wait_for(lambda: stock(cluster, "mango")["held"] == 0, "the other order's stock is sold")
    wait_for(lambda: all_read(cluster), "every repeat has been read")
    assert order(cluster, order_id) == before
    assert stock(cluster, "mango") == {"productId": "mango", "onHand": 95, "held": 0, "available": 95}
    assert [one.log.read_text().count(order_id) for one in cluster.of("notification")] == counts


def all_read(cluster: Cluster) -> bool:
    """Whether each service has kept that it is at the end of all it listens to."""
    for service in SERVICES:
        group = Consumer({"bootstrap.servers": cluster.kafka_bootstrap, "group.id": f"{service}-group"})
        try:
            topics = [topic for topic, services in routes().items() if service in services]
            places = [TopicPartition(topic, part) for topic in topics for part in range(PARTITIONS)]
            for kept in group.committed(places, timeout=10):
                low, high = group.get_watermark_offsets(TopicPartition(kept.topic, kept.partition), timeout=10)
                if high > max(kept.offset, low):
                    return False
        finally:
            group.close()
    return True


def test_old_messages_that_name_no_order_are_skipped(cluster: Cluster) -> None:
    before = {service: len(cluster.of(service)[0].get("/dead-letters")[1]) for service in SERVICES}
    produce(cluster, "payment.success", b'{"status":"SUCCESS"}')
    assert ended(cluster, place(cluster, {"kiwi": 1})) == "CONFIRMED"
    wait_for(lambda: all_read(cluster), "they have been read")
    assert {service: len(cluster.of(service)[0].get("/dead-letters")[1]) for service in SERVICES} == before


def test_a_key_gives_the_equal_answer_and_one_order(cluster: Cluster) -> None:
    body = {"userId": "ann", "amount": 3, "items": {"lemon": 1}}
    answers = [
        request(cluster.of("order")[0].port, "POST", "/orders", body, headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 201
    assert ended(cluster, answers[0][1]["id"]) == "CONFIRMED"
    wait_for(lambda: stock(cluster, "lemon")["available"] == 99, "it is sold once")


def test_bad_bytes_are_parked_and_block_nothing(cluster: Cluster) -> None:
    produce(cluster, "order.created", b"\xff not json")
    assert ended(cluster, place(cluster, {"kiwi": 1})) == "CONFIRMED"
    inventory = cluster.of("inventory")[0]
    wait_for(lambda: len(inventory.get("/dead-letters")[1]) >= 1, "it is parked")
    status, letter = request(
        inventory.port, "POST", f"/dead-letters/{inventory.get('/dead-letters')[1][0]['id']}/discard"
    )
    assert (status, letter["state"]) == (200, "DISCARDED")


def test_the_gate_can_be_rebuilt_while_orders_flow(cluster: Cluster) -> None:
    ids = [place(cluster, {"grape": 1}) for _ in range(5)]
    status, answer = request(cluster.of("inventory")[0].port, "POST", "/gate/rebuild")
    assert status == 200, answer
    ids += [place(cluster, {"grape": 1}) for _ in range(5)]
    assert [ended(cluster, order_id) for order_id in ids] == ["CONFIRMED"] * 10
    done = cluster.oms("reconcile", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"differences": []}), done.stdout + done.stderr


def test_two_relays_send_each_message_once(cluster: Cluster) -> None:
    """At least once is the promise; twice is for crashes, not for every day."""
    another = cluster.add("order")
    another.await_ready()
    load = [Load(worker.port, an_order, connections=8) for worker in (cluster.of("order")[0], another)]
    for one in load:
        one.start(150)
    for one in load:
        one.join()
    placed = {*load[0].accepted, *load[1].accepted}
    assert len(placed) == 300
    for one in placed:
        assert ended(cluster, one) in ("CONFIRMED", "REJECTED")
    for topic in ("order.created", "inventory.reserved", "payment.success", "order.confirmed"):
        wait_for(lambda topic=topic: placed <= sent(cluster, topic).keys(), f"{topic} is sent for all")  # type: ignore[misc]
        times = sent(cluster, topic)
        assert {times[one] for one in placed} == {1}, topic
    cluster.workers.remove(another)
    assert another.stop() == 0


def an_order(number: int) -> dict[str, object]:
    return {"userId": "two-relays", "amount": 5, "items": {f"sku-{number % 30}": 1}}


def sent(cluster: Cluster, topic: str) -> Counter[str]:
    """How often each key is in the topic."""
    return Counter((record.key() or b"").decode() for record in records(cluster, topic))


def records(cluster: Cluster, topic: str) -> list[Message]:
    """All that is in a topic."""
    consumer = Consumer({"bootstrap.servers": cluster.kafka_bootstrap, "group.id": f"reads-{uuid.uuid4()}"})
    try:
        numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {one: consumer.get_watermark_offsets(TopicPartition(topic, one), timeout=10) for one in numbers}
        consumer.assign([TopicPartition(topic, one, low) for one, (low, _) in ends.items()])
        found: list[Message] = []
        while len(found) < sum(high - low for low, high in ends.values()):
            record = consumer.poll(10)
            assert record is not None
            assert record.error() is None, record.error()
            found.append(record)
        return found
    finally:
        consumer.close()


def test_a_set_up_system_has_nothing_missing_and_a_second_set_up_changes_nothing(cluster: Cluster) -> None:
    for command in (("setup",), ("setup", "--check"), ("doctor",)):
        done = cluster.oms(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_a_service_at_rest_is_small_and_says_whose_routes_it_has(cluster: Cluster) -> None:
    sizes = {service: cluster.of(service)[0].memory_mb() for service in SERVICES}
    print(sizes)
    assert max(sizes.values()) < 100, sizes
    assert cluster.of("payment")[0].get("/orders")[0] == 404


def test_a_service_is_ready_within_three_seconds_of_cpu(cluster: Cluster) -> None:
    """By the clock it is as much where the machine is idle; a clock would fail where the machine is busy."""
    for service in SERVICES:
        another = cluster.add(service)
        seconds = another.await_ready()
        assert another.process is not None
        used = usage_of(another.process.pid).cpu_s
        cluster.workers.remove(another)
        assert another.stop() == 0
        print(f"{service}: ready after {seconds:.1f} s, {used:.1f} s of CPU")
        assert used < 3


def test_forged_payment_news_confirms_nothing(cluster: Cluster) -> None:
    """While the gateway says nothing of the true payment."""
    order_id = place(cluster, {"truffle": 1}, user="silent", amount=5000)
    for other in ({"amount": 0.01}, {"userId": "mallory"}):
        body = {"orderId": order_id, "userId": "silent", "amount": 5000, "paymentId": "forged", **other}
        produce(cluster, "payment.success", json.dumps(body).encode())

    def parked() -> list[str]:
        letters = cluster.of("order")[0].get("/dead-letters?service=order")[1]
        return [letter["cause"] for letter in letters if letter["orderId"] == order_id]

    wait_for(lambda: len(parked()) == 2, "both are parked")
    assert parked() == ["TermsMismatch"] * 2
    assert order(cluster, order_id)["status"] in OPEN


def produce(cluster: Cluster, topic: str, value: bytes, *, times: int = 1) -> None:
    producer = Producer({"bootstrap.servers": cluster.kafka_bootstrap})
    for _ in range(times):
        producer.produce(topic, value)
    assert producer.flush(10) == 0
    time.sleep(0.1)


def test_a_deadline_that_fires_after_the_end_changes_nothing_and_is_logged_and_counted(cluster: Cluster) -> None:
    before = sum(late_timers(worker) for worker in cluster.of("order"))
    order_id = place(cluster, {"sloe": 1})
    assert ended(cluster, order_id) == "CONFIRMED"
    timer = (
        "INSERT INTO oms_order.tasks (key, kind, payload, due_at, attempts, created_at, note)"
        " VALUES (%s, 'deadline', '', now(), 0, now(), '')"
    )
    with psycopg.connect(cluster._record(), autocommit=True) as connection:
        connection.execute(timer, [order_id])
    wait_for(lambda: says(cluster.of("order")[0], "deadline ignored"), "the timer has fired")
    wait_for(lambda: sum(late_timers(worker) for worker in cluster.of("order")) == before + 1, "it is counted")
    assert order(cluster, order_id)["status"] == "CONFIRMED"


def test_the_deadline_ends_an_order_that_the_gateway_never_answers(cluster: Cluster, never_answered: str) -> None:
    assert ended(cluster, never_answered, 120) == "CANCELLED"
    assert order(cluster, never_answered)["reason"] == "DEADLINE"
    wait_for(lambda: stock(cluster, "walnut")["available"] == 100, "the stock is back")
