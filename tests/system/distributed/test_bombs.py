"""Compressed messages that are larger than the memory of the process that reads them, in one batch with good ones.

The topic has no protection, as one that another system made. `oms run` runs in a memory limit, five lives at most.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from oms.adapters.wire.codec import JsonCodec
from oms.domain.events import OrderRejected, Reason
from oms.domain.money import Currency, Money
from oms.domain.values import OrderId, UserId
from oms.ports.messages import Cause
from tests.support.cluster import Cluster, Worker
from tests.support.stack import Stack, own_stack

pytestmark = [pytest.mark.faults, pytest.mark.servers, pytest.mark.timeout(300)]

TOPIC = OrderRejected.topic
MIB = 2**20
LIVES = 5
EUR = Currency.of("EUR")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with own_stack(tmp_path_factory.mktemp("bombs")) as made:
        yield made


def notified(stack: Stack) -> set[str]:
    return {order for (order,) in stack.rows("SELECT order_id FROM oms_notification.notifications")}


def parked(stack: Stack) -> dict[int, str]:
    return dict(stack.rows(f"SELECT position, cause FROM oms_notification.dead_letters WHERE topic = '{TOPIC}'"))


def unprotect(bootstrap: str, topic: str) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in {"max.message.bytes": str(64 * MIB), "compression.type": "producer"}.items()
    ]
    resource_ = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.incremental_alter_configs([resource_]).values():
        future.result()


def send_in_one_batch(bootstrap: str, codec: str, values: Sequence[bytes]) -> list[int]:
    """Their offsets, in partition 0."""
    most = {"message.max.bytes": 10**9, "batch.size": 15 * 10**8, "queue.buffering.max.kbytes": 2 * 10**6}
    patient = {"linger.ms": 2000, "retries": 0, "message.timeout.ms": 30000}
    producer = Producer({"bootstrap.servers": bootstrap, "compression.codec": codec, **most, **patient})
    producer.list_topics(TOPIC, timeout=10)
    offsets: list[int] = []
    for value in values:
        producer.produce(TOPIC, value, partition=0, on_delivery=lambda _, message: offsets.append(message.offset()))
    producer.flush(60)
    assert len(offsets) == len(values)
    return offsets


def good(order: str) -> bytes:
    event = OrderRejected(OrderId(order), UserId("ann"), Money(500, EUR), Reason.OUT_OF_STOCK)
    return JsonCodec(EUR).encode(event, Cause(), datetime.now(UTC)).value


def live(cluster: Cluster, log: Path, limit: int, done: Callable[[], bool]) -> int:
    """Run the notification service in a memory limit until it is done, again after each death; its lives."""
    for life in range(1, LIVES + 1):
        worker = Worker("notification", cluster.settings(), log)
        worker.start(OMS_TEST_DATA_LIMIT=str(limit))
        cluster.workers.append(worker)
        assert worker.process is not None
        while worker.process.poll() is None:
            if done():
                assert worker.stop() == 0
                return life
            time.sleep(0.1)
    pytest.fail(f"not done in {LIVES} lives: {log.read_text(errors='replace')[-3000:]}")


@pytest.mark.parametrize(
    ("codec", "sizes_mib", "room_mib", "cause"),
    [
        ("gzip", [80, 80, 80], 480, "TooLarge"),
        ("zstd", [200], 440, "Unread"),
        ("gzip", [200], 390, "Unread"),
        ("gzip", [200], 690, "TooLarge"),
    ],
    ids=str,
)
def test_the_good_ones_are_handled_and_the_bombs_are_dead_letters(
    stack: Stack, codec: str, sizes_mib: Sequence[int], room_mib: int, cause: str
) -> None:
    unprotect(stack.kafka.url, TOPIC)
    name = f"{codec}-{len(sizes_mib)}-{room_mib}"
    before, after = f"order-{name}-before", f"order-{name}-after"
    bombs = [b"\0" * (size * MIB) for size in sizes_mib]
    _, *places, _ = send_in_one_batch(stack.kafka.url, codec, [good(before), *bombs, good(after)])

    def done() -> bool:
        return {before, after} <= notified(stack) and set(places) <= parked(stack).keys()

    log = stack.cluster.directory / f"{name}.log"
    lives = live(stack.cluster, log, room_mib * MIB, done)

    print(name, "lives", lives)
    assert [parked(stack)[place] for place in places] == [cause] * len(places)
    if lives > 1:
        alert_line = next(line for line in log.read_text().splitlines() if "processes died reading a partition" in line)
        assert (json.loads(alert_line)["topic"], json.loads(alert_line)["partition"]) == (TOPIC, 0)
