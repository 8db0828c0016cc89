"""The floor: bare drivers that write exactly the rows and messages of one confirmed order of three products.

One thread writes serially, without state machine, inbox check, locks, retries or JSON encoding, so the time is that of
PostgreSQL, Redis and Kafka alone. The steps have the order of the saga, and each is durable before the next one: rows
by COPY and a commit, then the message with `acks=all`. The floor leaves out temporary rows (outbox, tasks) and updates,
so it is as fast as possible.

It changes only if an order leaves other rows or messages (`ROWS`, `TOPICS`); a test compares them with a real order.

    python benchmarks/floor.py      # alone, on servers of its own
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any
from uuid import uuid4

import attrs
import psycopg
from confluent_kafka import KafkaError, KafkaException, Producer
from redis import Redis

from oms.adapters.system.clock import SystemIds
from oms.testing.bench.orders import ITEMS, PRODUCTS, lines

ROWS: Mapping[str, Mapping[str, int]] = {
    "oms_order": {"orders": 1, "order_history": 4, "inbox": 3},
    "oms_inventory": {"reservations": 1, "stock_ledger": 2 * ITEMS, "inbox": 2},
    "oms_payment": {"payments": 1, "inbox": 1},
    "oms_notification": {"notifications": 2, "inbox": 2},
}
"""The number of rows that an order leaves, by schema and table; in `stock` and `gate` rows are only changed."""

TOPICS = ("order.created", "inventory.reserved", "payment.success", "order.confirmed")
"""The topics in which an order leaves a message."""

PREFIX = "floor."
"""The prefix of the floor's topics and Redis keys, so that a system on the same servers doesn't read them."""

BATCHES = (1, 50, 200, 500, 1000)


@attrs.frozen
class Pace:
    """The speed of the floor with one batch size."""

    batch: int
    orders_per_s: float
    batch_ms: float
    """Median time of one batch: at batch 1, the serial latency of an order."""

    cpu_ms: float = 0.0
    """CPU time per order of this process and the servers, to compare batch sizes on a busy machine."""


class Floor:
    """Writes orders to the three servers; `postgres_url` is a database in which `oms setup` has created the tables."""

    def __init__(self, postgres_url: str, redis_url: str, kafka_bootstrap: str) -> None:
        self._sql = psycopg.connect(postgres_url)
        self._redis = Redis.from_url(redis_url, decode_responses=True)
        # The same linger time as in `oms`; the queue holds the largest batch.
        self._producer = Producer({"bootstrap.servers": kafka_bootstrap, "acks": "all", "linger.ms": "1"})
        self._number = 0
        self._names: dict[tuple[str, str], list[str]] = {}

    def prepare(self) -> None:
        """Create the products, with enough stock for all orders."""
        with self._sql.cursor() as cursor:
            rows = [(sku,) for sku in PRODUCTS]
            cursor.executemany(
                "INSERT INTO oms_inventory.stock VALUES (%s, 1000000000, 0) ON CONFLICT DO NOTHING", rows
            )
        self._sql.commit()

    def measure(self, batch: int, seconds: float, cpu_s: Callable[[], float] = time.process_time) -> Pace:
        """Write at least three batches, for this many seconds. `cpu_s` returns the CPU time of all processes so far."""
        took: list[float] = []
        self.run(batch)
        began, used_s = time.perf_counter(), cpu_s()
        while (now := time.perf_counter()) < began + seconds or len(took) < 3:
            self.run(batch)
            took.append(time.perf_counter() - now)
        orders = batch * len(took)
        return Pace(batch, orders / sum(took), median(took) * 1000, (cpu_s() - used_s) * 1000 / orders)

    def run(self, batch: int) -> None:
        """Place, reserve, charge, confirm and sell a batch of orders, and notify their customers."""
        orders = [Lines(self._number + index) for index in range(batch)]
        self._number += batch
        order, inventory, payment, notification = ROWS
        sold = _sums(orders)

        self._rows(order, orders, ("orders", Lines.order), ("order_history", Lines.placed))
        self._send("order.created", orders)
        self._hold(orders, sold)
        reserved = (("reservations", Lines.reservation), ("stock_ledger", Lines.held), ("inbox", Lines.first))
        self._rows(inventory, orders, *reserved, moved=[(0, units, sku) for sku, units in sold])
        self._send("inventory.reserved", orders)
        self._rows(order, orders, ("order_history", Lines.reserved), ("inbox", Lines.first_two))
        self._rows(payment, orders, ("payments", Lines.payment), ("inbox", Lines.first))
        self._send("payment.success", orders)
        self._rows(order, orders, ("order_history", Lines.paid), ("inbox", Lines.third))
        self._send("order.confirmed", orders)
        self._rows(
            inventory, orders, ("stock_ledger", Lines.sold), ("inbox", Lines.second),
            moved=[(-units, -units, sku) for sku, units in sold],
        )  # fmt: skip
        self._settle(orders)
        self._rows(notification, orders, ("notifications", Lines.notifications), ("inbox", Lines.first_two))

    def fill(self, orders: int, *, batch: int = 10_000, progress: Callable[[int], None] = lambda _: None) -> None:
        """Write the rows of orders that ended long ago, without messages: a history. Ids are in the order of time."""
        ids = SystemIds()
        for start in range(0, orders, batch):
            some = [Lines(self._number + index, ids.order_id()) for index in range(min(batch, orders - start))]
            self._number += len(some)
            for schema, tables in _ALL.items():
                self._rows(schema, some, *tables)
            progress(len(some))

    def close(self) -> None:
        """Close the connections."""
        self._sql.close()
        self._redis.close()

    def _rows(
        self,
        schema: str,
        orders: Sequence[Lines],
        *tables: tuple[str, Callable[[Lines], str]],
        moved: Sequence[tuple[int, int, str]] = (),
    ) -> None:
        with self._sql.cursor() as cursor:
            for table, made in tables:
                rows = "".join(map(made, orders))
                with cursor.copy(f"COPY {schema}.{table} ({self._columns(schema, table, rows)}) FROM STDIN") as copy:
                    copy.write(rows)
            if moved:
                cursor.execute(_MOVE, tuple(map(list, zip(*moved, strict=True))))
        self._sql.commit()

    def _columns(self, schema: str, table: str, rows: str) -> str:
        """Return the names of the columns that these rows have: the table's first ones. The others are NULL."""
        if (schema, table) not in self._names:
            with self._sql.cursor() as cursor:
                cursor.execute(_COLUMNS, (schema, table))
                self._names[schema, table] = [name for (name,) in cursor.fetchall()]
        wanted = rows.partition("\n")[0].count("\t") + 1
        return ", ".join(f'"{name}"' for name in self._names[schema, table][:wanted])

    def _send(self, topic: str, orders: Sequence[Lines]) -> None:
        failed: list[KafkaError] = []

        def reported(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failed.append(error)

        for order in orders:
            self._producer.produce(
                PREFIX + topic, order.value, order.id, headers=_HEADERS, on_delivery=reported
            )  # fmt: skip
        self._producer.flush()
        if failed:
            raise KafkaException(failed[0])

    def _hold(self, orders: Sequence[Lines], sold: Sequence[tuple[str, int]]) -> None:
        with self._redis.pipeline(transaction=False) as pipeline:
            for sku, units in sold:
                pipeline.hincrby(PREFIX + "available", sku, -units)
            pipeline.hset(PREFIX + "answers", mapping={order.id: order.answer for order in orders})
            pipeline.execute()

    def _settle(self, orders: Sequence[Lines]) -> None:
        now = time.time() * 1000
        self._redis.zadd(PREFIX + "expires", {order.id: now for order in orders})


_COLUMNS = """
SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position
"""

_MOVE: Any = """
UPDATE oms_inventory.stock SET on_hand = stock.on_hand + moved.on_hand, held = stock.held + moved.held
FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS moved (on_hand, held, sku) WHERE stock.sku = moved.sku
"""

_HEADERS: Any = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e566c742-6ece-5009-8203-84400a438fc0"),
    ("ce_type", b"inventory.reserved"),
    ("ce_source", b"/oms/inventory"),
    ("ce_time", b"2026-11-25T15:48:33.826336+00:00"),
    ("ce_subject", b"01a21364-f767-7373-9164-f9a06c1e96f6"),
    ("content-type", b"application/json"),
    ("oms_schema", b"1"),
    ("oms_causation_id", b"e566c742-6ece-5009-8203-84400a438fc0"),
]
"""Headers with as many bytes as those of `oms`."""


class Lines:
    """The rows of one order as lines of COPY's text format, with the first columns of each table, in its order."""

    def __init__(self, number: int, order_id: str = "") -> None:
        self.id = order_id or str(uuid4())
        self.at = datetime.now(UTC).isoformat()
        self.messages = [str(uuid4()) for _ in range(3)]
        self.skus = lines(number)
        self.items = "{" + ",".join(f'"{sku}":{units}' for sku, units in self.skus) + "}"
        self.value = f'{{"orderId":"{self.id}","userId":"bench","totalAmount":12.50,"items":{self.items}}}'.encode()
        self.answer = "HELD " + " ".join(f"{sku} {units}" for sku, units in self.skus)

    def order(self) -> str:
        """The order in its final state."""
        i, at = self.id, self.at
        return f"{i}\tCONFIRMED\t4\tbench\t1250\tUSD\t{self.items}\t\\N\t{at}\t{at}\t{at}\t\\N\t\t\\N\n"

    def placed(self) -> str:
        """The history entry of the acceptance."""
        return f"{self.id}\t1\t{self.at}\tplace\tABSENT\tCREATED\t\n"

    def reserved(self) -> str:
        """The history entries of the order's own event, and of its reservation."""
        i, at = self.id, self.at
        return (
            f"{i}\t2\t{at}\torder.created\tCREATED\tCREATED\t\n{i}\t3\t{at}\tinventory.reserved\tCREATED\tRESERVED\t\n"
        )

    def paid(self) -> str:
        """The history entry of the confirmation."""
        return f"{self.id}\t4\t{self.at}\tpayment.success\tRESERVED\tCONFIRMED\t\n"

    def first(self) -> str:
        """The inbox row of the first message."""
        return f"inventory-group\t{self.messages[0]}\t{self.at}\n"

    def second(self) -> str:
        """The inbox row of the second message."""
        return f"inventory-group\t{self.messages[1]}\t{self.at}\n"

    def first_two(self) -> str:
        """The inbox rows of the first two messages."""
        return self.first() + self.second()

    def third(self) -> str:
        """The inbox row of the third message."""
        return f"inventory-group\t{self.messages[2]}\t{self.at}\n"

    def reservation(self) -> str:
        """The reservation in its final state."""
        return f"{self.id}\tCOMMITTED\t{self.items}\t{self.at}\n"

    def held(self) -> str:
        """The ledger rows of the hold."""
        return "".join(f"{self.id}\t{sku}\tHOLD\t0\t{units}\t{self.at}\n" for sku, units in self.skus)

    def sold(self) -> str:
        """The ledger rows of the sale."""
        return "".join(f"{self.id}\t{sku}\tCOMMIT\t-{units}\t-{units}\t{self.at}\n" for sku, units in self.skus)

    def payment(self) -> str:
        """The payment in its final state."""
        return f"{self.id}\tCAPTURED\tbench\t1250\tUSD\t{{}}\tsim-oms-{self.id}\t{self.at}\n"

    def notifications(self) -> str:
        """Both notifications."""
        i, at = self.id, self.at
        kinds = ("payment.success", "order.confirmed")
        return "".join(f"{i}:{kind}\t{i}\t{kind}\tbench\t1250\tUSD\t\\N\t{{}}\t{at}\t{at}\n" for kind in kinds)


_ALL: Mapping[str, Sequence[tuple[str, Callable[[Lines], str]]]] = {
    "oms_order": (
        ("orders", Lines.order),
        ("order_history", lambda one: one.placed() + one.reserved() + one.paid()),
        ("inbox", lambda one: one.first_two() + one.third()),
    ),
    "oms_inventory": (
        ("reservations", Lines.reservation),
        ("stock_ledger", lambda one: one.held() + one.sold()),
        ("inbox", Lines.first_two),
    ),
    "oms_payment": (("payments", Lines.payment), ("inbox", Lines.first)),
    "oms_notification": (("notifications", Lines.notifications), ("inbox", Lines.first_two)),
}


def _sums(orders: Sequence[Lines]) -> list[tuple[str, int]]:
    sums: dict[str, int] = {}
    for order in orders:
        for sku, units in order.skus:
            sums[sku] = sums.get(sku, 0) + units
    return sorted(sums.items())


def measured(floor: Floor, *, seconds: float = 3.0, cpu_s: Callable[[], float] = time.process_time) -> list[Pace]:
    """Measure the pace of each batch size, on servers with tables and topics."""
    try:
        floor.prepare()
        return [floor.measure(batch, seconds, cpu_s) for batch in BATCHES]
    finally:
        floor.close()


def make_topics(bootstrap: str, partitions: int = 4) -> None:
    """Create the floor's topics."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})  # must stay referenced until its requests are done
    made = admin.create_topics([NewTopic(PREFIX + topic, partitions, 1) for topic in TOPICS])
    for future in made.values():
        try:
            future.result(30)
        except KafkaException as error:
            if not isinstance(error.args[0], KafkaError) or error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise
    while not made.keys() <= admin.list_topics(timeout=30).topics.keys():  # a broker knows them a little later
        time.sleep(0.05)
